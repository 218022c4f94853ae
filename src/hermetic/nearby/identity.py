"""What a process is called, and since when it is there. Its arguments may hold secrets: none of
them is told.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

SERVICE = "HERMETIC_SERVICE"

_LONGEST = 100


class _Process:
    since = time.time()

    @classmethod
    def forked(cls) -> None:
        cls.since = time.time()


os.register_at_fork(after_in_child=_Process.forked)


def command() -> str:
    """What was started: the program or the module, without arguments."""
    main = getattr(sys.modules.get("__main__"), "__spec__", None)
    if main is not None:
        return f"python -m {main.name.removesuffix('.__main__')}"[:_LONGEST]
    name = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else ""
    return "python -c" if name == "-c" else name[:_LONGEST] or "python"


def service(databases: Iterable[Any]) -> str:
    """By which name several processes are workers of one service."""
    named = os.environ.get(SERVICE, "").strip()
    if not named:
        for database in databases:
            watch = database.options.watch
            named = named or (watch.service if watch is not None else None) or ""
    return (named or command())[:_LONGEST]


def identity(databases: list[Any]) -> dict[str, Any]:
    """What a process says of itself."""
    return {
        "pid": os.getpid(),
        "service": service(databases),
        "command": command(),
        "since": _Process.since,
        "python": ".".join(map(str, sys.version_info[:3])),
        "hermetic": _version(),
        "databases": [database.name for database in databases],
    }


def _version() -> str:
    try:
        return version("hermetic")
    except PackageNotFoundError:  # run from a folder
        return ""
