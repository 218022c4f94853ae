"""The private folder that the sockets of one user's processes are in.

Whoever may write into it could pass for a process, and whoever may look into it could ask one. So
it is its user's alone, and one that is not is refused, whoever made it.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "HERMETIC_NEARBY"
OFF = frozenset({"0", "false", "no", "off"})
_ON = frozenset({"", "1", "true", "yes", "on"})

SUFFIX = ".socket"
# seconds after which a socket that nobody listens on is nobody's, though there is a process of its
# number: a number is given to somebody else after a while
_STALE = 10.0
# a path that is longer fits into no socket's address
_LONGEST = 100


class NotPrivate(OSError):
    """A folder that somebody else could have his hands in."""


def chosen() -> str | None:
    """The folder that the environment names, if it does."""
    given = os.environ.get(VARIABLE, "").strip()
    return None if given.lower() in _ON | OFF else given


def switched_off() -> bool:
    """Whether the environment wants no socket."""
    return os.environ.get(VARIABLE, "").strip().lower() in OFF


def candidates() -> Iterator[Path]:
    """Where a process of this user's may have its socket, the first choice first.

    A service may have been started without the variables of a login; who looks has to look in both.
    """
    named = chosen()
    if named is not None:
        yield Path(named)
        return
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/") and len(runtime) < _LONGEST - 40:
        yield Path(runtime) / "hermetic"
    yield Path(f"/tmp/hermetic-{os.geteuid()}")


def own() -> Path:
    """The folder for this process's socket, made if there is none.

    :raises OSError: there can be none.
    :raises NotPrivate: others could have their hands in it.
    """
    problem: OSError | None = None
    for folder in candidates():
        if not folder.parent.is_dir():
            continue  # a runtime folder that is gone with its login
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            check(folder, os.geteuid())
        except OSError as error:
            problem = problem or error
        else:
            return folder
    raise problem or FileNotFoundError("there is no place for it")


def check(folder: Path, owner: int) -> None:
    """:raises NotPrivate: it is not this user's alone, or it is none."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise NotPrivate(f"{folder} is no folder")
    if found.st_uid != owner:
        raise NotPrivate(f"{folder} is user {found.st_uid}'s, not {owner}'s")
    if found.st_mode & 0o077:
        raise NotPrivate(f"{folder} is open to others: chmod 700 {folder}")
    # in a folder that anybody may rename things in, it would not stay what it was
    above = folder.parent.stat()
    if above.st_mode & 0o022 and not above.st_mode & stat.S_ISVTX:
        raise NotPrivate(f"{folder.parent} lets others replace what is in it")


def sockets(folder: Path) -> list[Path]:
    """The sockets in a folder that is private."""
    return sorted(
        folder / entry.name
        for entry in os.scandir(folder)
        if entry.name.endswith(SUFFIX) and stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode)
    )


def name_for(pid: int, chance: str) -> str:
    """A socket's; with something of its own, as processes of several containers may share a folder
    and a number.
    """
    return f"{pid}-{chance}{SUFFIX}"


def clear(path: Path) -> bool:
    """Remove a socket on which nobody listens, unless its process is about to."""
    number = path.name.partition("-")[0]
    try:
        fresh = time.time() - path.lstat().st_mtime < _STALE
        if fresh and number.isdecimal() and _lives(int(number)):
            return False
        path.unlink()
    except OSError:
        return False  # somebody else was faster
    return True


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
