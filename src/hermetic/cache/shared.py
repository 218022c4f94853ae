"""Versions of tables in a file that all processes of a host have in their memory.

Looking at them is reading memory. Changing them takes the file's lock, which the system takes back
from a process that has died.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..clock import monotonic, monotonic_ns
from ..errors import ConfigurationError
from ..freshness import CELLS, Board, Claim

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# tables that have cells of their own; more share theirs
TABLES = 4096
_HEADER = 2
_LENGTH = 8 * (_HEADER + CELLS * TABLES)
_LAYOUT = 2
_MAGIC = 0x63726800 + _LAYOUT

_MEMORY = Path("/dev/shm")
# seconds between two looks at whether the file is still the one that has this name
_LOOK = 1.0
# seconds to wait for the lock, which is held for microseconds; a process that is stopped keeps it
_LOCK = 0.1
_PAUSE = 0.0005


class SharedClaim(NamedTuple):
    """Somebody's marks, and the file that they are in, which may be deleted meanwhile."""

    identity: int
    board: Board
    places: tuple[int, ...]
    claim: Claim


class SharedTokens:
    """What tells, for one database, whether something read before is still so.

    :param path: the file; ``None`` for memory of this process and those it forks.
    :raises ConfigurationError: there cannot be such a file.
    """

    # whether a word with it may take long
    blocking = False

    def __init__(self, path: Path | None, lease: float) -> None:
        self.path = path
        self.lease = int(lease * 1e9)
        self._lock = threading.Lock()
        self._next = 0.0
        self._places: dict[frozenset[str], tuple[int, ...]] = {}
        self._file: Any = None
        self._open()

    def _open(self) -> None:
        file = None if self.path is None else _opened(self.path)
        memory = mmap.mmap(-1 if file is None else file.fileno(), _LENGTH)
        cells: Any = memoryview(memory).cast("Q")
        if file is None:
            cells[1] = secrets.randbits(63)
        before, self._file = self._file, file
        self._identity = cells[1]
        self._board = Board(cells[_HEADER:], self.lease)
        if before is not None:
            before.close()

    def places(self, names: frozenset[str]) -> tuple[int, ...]:
        """What the other methods want to be given for these tables."""
        found = self._places.get(names)
        if found is None:
            found = self._places[names] = self._board.places(names)
        return found

    # ------------------------------------------------------------ readers

    def look(self, places: tuple[int, ...]) -> tuple[int, ...] | None:
        """What whatever is read from now on is good by; ``None`` while a commit is under way."""
        now = monotonic()
        if now > self._next:
            self._check(now)
        board = self._board
        cells = board.cells
        versions = [self._identity]
        marked = 0
        for place in places:  # as Board.versions and Board.is_marked
            versions.append(cells[place])
            marked |= cells[place + 1]
        if marked:
            if not board.is_overdue(places, monotonic_ns()):
                return None
            with self._locked():
                board.lapse(places, monotonic_ns())
                if board.is_marked(places):
                    return None
                return (self._identity, *board.versions(places))
        return tuple(versions)

    def _check(self, now: float) -> None:
        """Whether somebody has deleted the file: who comes later makes another."""
        self._next = now + _LOOK
        if self._file is None or self.path is None:
            return
        try:
            there = self.path.stat()
            ours = os.fstat(self._file.fileno())
            same = (there.st_ino, there.st_dev) == (ours.st_ino, ours.st_dev)
        except FileNotFoundError:
            same = False
        if not same:
            with self._lock:
                self._open()

    # ------------------------------------------------------------ writers

    def begin(self, places: tuple[int, ...]) -> SharedClaim:
        """Announce a commit of these tables.

        :raises TimeoutError: a process has stopped while it held the file's lock.
        """
        self._check(monotonic())
        with self._locked():
            claim = self._board.begin(places, monotonic_ns())
            return SharedClaim(self._identity, self._board, places, claim)

    def finish(self, claim: SharedClaim) -> None:
        """It is over, and it is known how. It is told without the lock, where that takes long."""
        try:
            with self._locked():
                here = claim.identity == self._identity
                if here:
                    self._board.finish(claim.claim)
        except TimeoutError:
            here = False
        if not here:
            # for those who look at it still; the mark in it ends with its lease
            claim.board.forget_at_once(claim.places)
        self._check(monotonic())
        if claim.identity != self._identity:
            self.forget(claim.places)

    def forget(self, places: tuple[int, ...]) -> None:
        """Whatever was read of these tables is not good any more, in any case."""
        self._check(monotonic())
        try:
            with self._locked():
                self._board.forget(places)
        except TimeoutError:
            self._board.forget_at_once(places)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=_LOCK):
            raise TimeoutError("the cache's memory is locked by another thread")
        try:
            file = self._file
            if file is None:
                yield
                return
            _take(file)
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)
        finally:
            self._lock.release()

    def start_anew(self) -> None:
        """In a forked child: a lock may have been held by a thread that is not here, and the
        file's is shared with the parent until it is opened again.
        """
        self._lock = threading.Lock()
        if self._file is not None:
            self._open()

    def close(self) -> None:
        """Let go of the file; its memory goes with the last who looks at it."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _take(file: Any) -> None:
    until = monotonic() + _LOCK
    while True:
        try:
            # of this opening of the file, not of the process: another one's end does not undo it
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() > until:
                raise TimeoutError("the cache's file is locked by another process") from None
            time.sleep(_PAUSE)
        else:
            return


def _opened(path: Path) -> Any:
    if fcntl is None:
        raise ConfigurationError(
            "A cache that the processes of a host share needs a system with flock, as all but "
            "Windows have.",
            hint="Keep it in Redis: Cache(region='redis://…').",
        )
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        file = os.fdopen(os.open(path, flags, 0o600), "r+b", buffering=0)
        try:
            _make(file)
        except BaseException:
            file.close()
            raise
    except OSError as failed:
        raise ConfigurationError(
            f"There is no file by which processes could tell each other of commits: {failed}",
            hint="Give Cache(shared=…), a path of this user's with room for 200 KB.",
        ) from failed
    return file


def _make(file: Any) -> None:
    """Fill a new file; who finds it filled takes no lock."""
    number = file.fileno()
    if _magic(number) == _MAGIC:
        return
    _take(file)
    try:
        if not os.pread(number, _LENGTH, 0).strip(b"\0"):
            # written and not only sized: memory that is full is met here, and not by a SIGBUS later
            if os.pwrite(number, bytes(_LENGTH), 0) < _LENGTH:
                os.ftruncate(number, 0)
                raise OSError("it has no room")
            header = _MAGIC.to_bytes(8, "little") + secrets.randbits(63).to_bytes(8, "little")
            os.pwrite(number, header, 0)
        if _magic(number) != _MAGIC:
            raise OSError("it is no file of a cache's")
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _magic(number: int) -> int:
    """0 of a file that is not filled yet."""
    if os.fstat(number).st_size < _LENGTH:
        return 0
    return int.from_bytes(os.pread(number, 8, 0), "little")


def default_path(identity: str) -> Path:
    """Where the processes of one user on this host find each other, for one database.

    :raises ConfigurationError: the folder is not this user's alone.
    """
    parent = _MEMORY if os.access(_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    if not hasattr(os, "geteuid"):
        return parent / f"hermetic-{identity}.{_LAYOUT}.cache"
    folder = parent / f"hermetic-{os.geteuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise ConfigurationError(
            f"{folder} is not this user's alone; by what is in it, others could show it old rows.",
            hint="Have it removed by its owner, or give Cache(shared=…), for all processes alike.",
        )
    return folder / f"{identity}.{_LAYOUT}.cache"
