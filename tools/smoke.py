"""Whether an installed hermetic works: imported, in its form, on SQLite, in threads and in asyncio.

    python tools/smoke.py [--compiled | --pure]

It is run by the interpreter of a fresh environment, far from the source: nothing but hermetic,
SQLAlchemy and aiosqlite is needed. Prints one line, and exits with 1 where something is not so.
"""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
import tempfile
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

# as a user's strictest settings would have them; not for what others import of their own
warnings.simplefilter("error")


def wrong_modules(*, compiled: bool) -> list[str]:
    """The modules that are not in the form that was asked for."""
    from hermetic.fast.modules import COMPILED, is_compiled

    found = []
    for name in COMPILED:
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            # of frames: Arrow is an extra
            if error.name is not None and not error.name.startswith("hermetic"):
                continue
            raise
        if is_compiled(module) is not compiled:
            found.append(name)
    return found


def work(url: str) -> list[Any]:
    """A scope that commits, one that is rolled back, and one of asyncio."""
    from hermetic import Database, Outcome

    with Database(url) as db:
        with db.session() as session:
            session.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name VARCHAR(20))")
            session.execute("INSERT INTO users (name) VALUES (:name)", {"name": "ann"})
        outcomes = [session.outcome]
        try:
            with db.session() as session:
                session.execute("INSERT INTO users (name) VALUES ('bob')")
                raise LookupError
        except LookupError:
            outcomes.append(session.outcome)
        assert outcomes == [Outcome.COMMITTED, Outcome.NOT_COMMITTED], outcomes
        return [*_names(db), *asyncio.run(_names_async(url))]


def _names(db: Any) -> list[Any]:
    with db.session(readonly=True) as session:
        return list(session.scalars("SELECT name FROM users"))


async def _names_async(url: str) -> list[Any]:
    from hermetic import Database

    async with Database(url) as db, db.session() as session:
        return list(await session.scalars("SELECT name FROM users"))


def page(name: str) -> str:
    """What the command prints of an error: its page has to be in the package."""
    command = [sys.executable, "-m", "hermetic.cli", "error", name]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def main(arguments: list[str]) -> int:
    import hermetic

    place = Path(hermetic.__file__).parent
    problems = []
    if "site-packages" not in place.parts:
        problems.append(f"{place} is no installed package")
    if metadata.version("hermetic") != hermetic.__version__:
        problems.append(f"version {metadata.version('hermetic')} holds {hermetic.__version__}")
    if not (place / "py.typed").exists():
        problems.append("py.typed is missing")
    if arguments:
        wrong = wrong_modules(compiled="--compiled" in arguments)
        problems += [f"{name} is not in the form {arguments[0]}" for name in wrong]
    with tempfile.TemporaryDirectory() as folder:
        found = work(f"sqlite:///{folder}/smoke.db")
    if found != ["ann", "ann"]:
        problems.append(f"what was written is {found}")
    if not page("hermetic.errors.NoScope").startswith("hermetic.NoScope, a ScopeError\n"):
        problems.append("hermetic error prints no page")
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    sys.stdout.write(f"hermetic {hermetic.__version__} {' '.join(arguments)}: ")
    sys.stdout.write("works\n" if not problems else f"{len(problems)} problems\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
