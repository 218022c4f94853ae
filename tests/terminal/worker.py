"""A worker of a service, which does what it is told, a line at a time, and says when it is done.

``python -m tests.terminal.worker URL [WATCH]``, with ``WATCH`` as a Watch's fields in JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from contextlib import ExitStack
from typing import Any

from hermetic import Database, Watch

_open = ExitStack()


def hold(db: Database) -> None:
    """Stay in a scope, with a connection."""
    session = _open.enter_context(db.session(name="holding", readonly=True))
    session.execute("SELECT 1")


def release(db: Database) -> None:
    """Leave it."""
    _open.close()


def work(db: Database) -> None:
    """Seven scopes."""
    for _ in range(7):
        with db.session(name="order", propagation="requires_new") as session:
            session.execute("SELECT 2")


def repeat(db: Database) -> None:
    """What is found, always at the same line."""
    with db.session(name="careless") as session:
        for _ in range(20):
            session.execute("SELECT 3")


def close(db: Database) -> None:
    """Close the Database."""
    db.close()


def threads(db: Database) -> None:
    """Which threads there are."""
    sys.stdout.write(" ".join(sorted(thread.name for thread in threading.enumerate())) + "\n")


def fork(db: Database) -> None:
    """Have a child that opens a scope of its own, says its number, and waits for a line."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    with db.session(name="in the child") as session:
        session.execute("SELECT 4")
        sys.stdout.write(f"{os.getpid()}\n")
        sys.stdout.flush()
        sys.stdin.readline()
    sys.exit(0)


def main() -> None:
    """Do what is told until nobody tells anything any more."""
    url, *rest = sys.argv[1:]
    options: dict[str, Any] = json.loads(rest[0]) if rest else {"service": "shop"}
    # a busy machine is slow by itself
    patient = {"slow": 3600.0, "held": 3600.0, "idle": 3600.0}
    watch = Watch(**{**patient, **options}) if options else None
    db = Database(url, name="shop", watch=watch)
    ways = {way.__name__: way for way in (hold, release, work, repeat, close, threads, fork)}
    for line in sys.stdin:
        ways[line.strip()](db)
        sys.stdout.write("done\n")
        sys.stdout.flush()
    release(db)
    db.close()


if __name__ == "__main__":
    main()
