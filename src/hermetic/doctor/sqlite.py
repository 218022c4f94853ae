"""A SQLite file, looked at from outside: nothing is opened by SQLite, so that nothing is written.

Even a connection that only reads may make a file for shared memory beside a database in WAL mode
(https://www.sqlite.org/wal.html#readonly), and the first of hermetic's connections changes the
journal mode. What is in the file's header is documented: https://www.sqlite.org/fileformat.html.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from ..dialects.sqlite import is_memory
from ..engine import Server
from .about import About

_MAGIC = b"SQLite format 3\0"
_MOUNTS = Path("/proc/self/mounts")
_VERSION = sqlite3.sqlite_version_info


@dataclass(frozen=True, slots=True, kw_only=True)
class SQLiteFacts:
    """What was seen of one file. ``None`` is what could not be seen, or is not there.

    :param version: the library's.
    :param threads: sqlite3's ``threadsafety``: 0 for none, 1 for multi-thread, 3 for serialized.
    :param path: ``None`` for a database in memory.
    :param mode: the journal mode of the header, ``"wal"`` or ``"rollback"``.
    :param hot: whether a journal lies beside it, of a transaction that runs or has failed.
    :param filesystem: the type, as the kernel calls it.
    """

    about: About
    version: tuple[int, ...]
    threads: int
    path: str | None = None
    folder_exists: bool = True
    folder_writable: bool = True
    exists: bool = False
    readable: bool = True
    writable: bool = True
    is_database: bool = True
    mode: str | None = None
    hot: bool = False
    filesystem: str | None = None

    @property
    def programs(self) -> int:
        return self.about.programs


def read(server: Server, about: About, until: float) -> tuple[SQLiteFacts, list[tuple[str, str]]]:
    """The facts of a file, and what could not be seen."""
    path = path_of(server.url)
    if path is None:
        return SQLiteFacts(about=about, version=_VERSION, threads=sqlite3.threadsafety), []
    filesystem = None
    refused = []
    try:
        filesystem = filesystem_of(path, _MOUNTS.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        refused.append(("the filesystem", "there is no /proc/self/mounts"))
    return _of_file(about, path, filesystem), refused


def path_of(url: URL) -> Path | None:
    """The file of a URL; ``None`` for a database in memory."""
    database = url.database
    if database is None or is_memory(url) or url.query.get("vfs") == "memdb":
        return None
    if database.startswith("file:"):
        database = database.removeprefix("file:").partition("?")[0]
    return Path(database).absolute()


def _of_file(about: About, path: Path, filesystem: str | None) -> SQLiteFacts:
    folder = path.parent
    exists = path.exists()
    readable = exists and _may(path, os.R_OK)
    header = _header(path) if readable and path.is_file() else b""
    return SQLiteFacts(
        about=about,
        version=_VERSION,
        threads=sqlite3.threadsafety,
        path=str(path),
        folder_exists=folder.is_dir(),
        folder_writable=folder.is_dir() and _may(folder, os.W_OK | os.X_OK),
        exists=exists,
        readable=readable or not exists,
        writable=not exists or _may(path, os.W_OK),
        # an empty file is a new database
        is_database=not header or header.startswith(_MAGIC),
        # read and write versions: 2 is WAL
        mode=("wal" if header[18:20] == b"\2\2" else "rollback") if len(header) == 20 else None,
        hot=Path(f"{path}-journal").exists(),
        filesystem=filesystem,
    )


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(20)


def _may(path: Path, how: int) -> bool:
    # by the identity that opens files, where the system can tell
    return os.access(path, how, effective_ids=os.access in os.supports_effective_ids)


def filesystem_of(path: Path, mounts: str) -> str | None:
    """The type of the filesystem that a path is on.

    :param mounts: the text of ``/proc/self/mounts``.
    """
    resolved = path.resolve()
    best, found = -1, None
    for line in mounts.splitlines():
        parts = line.split(" ")
        if len(parts) < 3:
            continue
        point = Path(parts[1].encode().decode("unicode_escape"))  # a space is \040
        # the later of two at one place is the one on top
        if resolved.is_relative_to(point) and len(point.parts) >= best:
            best, found = len(point.parts), parts[2]
    return found
