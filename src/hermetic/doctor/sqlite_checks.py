"""What can be wrong with a SQLite file, with the library, and with how a Database uses them."""

from __future__ import annotations

from collections.abc import Iterator

from . import versions
from .checks import Checks, Sign, option
from .findings import Severity
from .sqlite import SQLiteFacts

HINT, WARNING, ERROR = Severity.HINT, Severity.WARNING, Severity.ERROR
SQLITE: Checks[SQLiteFacts] = Checks("SQLite")

# the oldest that the tests have run with (dialects/sqlite.py)
_OLDEST = (3, 36, 0)
_RESET_MENDED = ((3, 44, 6), (3, 50, 7), (3, 51, 3))

_REMOTE = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "ncpfs"}
    | {"vboxsf", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.gcsfuse"}
    | {
        "fuse.rclone",
        "gpfs",
        "beegfs",
        "ocfs2",
        "gfs2",
        "fuse.vmhgfs-fuse",
        "davfs",
        "fuse.juicefs",
    }
)


@SQLITE.add(
    "file-out-of-reach",
    ERROR,
    "a file that cannot be used",
    why="Nothing can be read, or nothing written: SQLite needs the folder too, for its journal.",
    source="https://www.sqlite.org/tempfiles.html",
)
def _reach(seen: SQLiteFacts) -> Iterator[Sign]:
    if seen.path is None:
        return
    if not seen.folder_exists:
        yield Sign(f"the folder of {seen.path} is not there", "make the folder, or another path")
    elif not seen.readable:
        yield Sign(f"{seen.path} cannot be read", "the file's owner and mode")
    elif not seen.is_database:
        yield Sign(f"{seen.path} is no SQLite database", "another path")
    elif not seen.writable:
        yield Sign(f"{seen.path} cannot be written", "the file's owner and mode")
    elif not seen.folder_writable:
        yield Sign(f"the folder of {seen.path} cannot be written", "the folder's owner and mode")


@SQLITE.add(
    "file-new",
    HINT,
    "a file that is not there yet",
    why="It is made by the first scope. A wrong path makes an empty database, not an error.",
)
def _new(seen: SQLiteFacts) -> Iterator[Sign]:
    if seen.path is not None and not seen.exists and seen.folder_exists:
        yield Sign(f"{seen.path} does not exist", "the path in the URL, if it is not this one")


@SQLITE.add(
    "filesystem-remote",
    ERROR,
    "a file on a network filesystem",
    why="Locks are not kept there for sure, and the shared memory of WAL does not reach other "
    "machines: the file gets corrupted.",
    source="https://www.sqlite.org/wal.html, https://www.sqlite.org/howtocorrupt.html",
)
def _remote(seen: SQLiteFacts) -> Iterator[Sign]:
    if seen.filesystem is not None and seen.filesystem.lower() in _REMOTE:
        yield Sign(f"{seen.path} is on {seen.filesystem}", "a path on a local disk, or a server")


@SQLITE.add(
    "memory-of-each",
    ERROR,
    "a database in memory, and several processes (a hint where there is one)",
    why="Each process has a database of its own, which is gone with it.",
    source="https://www.sqlite.org/inmemorydb.html",
)
def _memory(seen: SQLiteFacts) -> Iterator[Sign]:
    if seen.path is None:
        severity = None if seen.programs > 1 else HINT
        told = f"a database in memory, and {seen.programs} process(es)"
        yield Sign(told, 'Database("sqlite:///app.db")', severity)


@SQLITE.add(
    "wal-reset",
    WARNING,
    "a SQLite that can corrupt a file in WAL mode (a hint where one process uses it)",
    why="Where two connections write or checkpoint at the same moment, a part of the log may be "
    "passed over. Within a process hermetic lets one write at a time; of other processes it knows "
    "nothing.",
    source="https://www.sqlite.org/wal.html#walresetbug: 3.7.0 to 3.51.2, mended in 3.51.3, 3.50.7 "
    "and 3.44.6; a distribution may have mended its own",
)
def _wal_reset(seen: SQLiteFacts) -> Iterator[Sign]:
    if seen.path is None or seen.about.options.journal_mode != "wal":
        return
    if has_wal_reset(seen.version):
        told = f"SQLite {versions.shown(seen.version)}, in WAL mode"
        yield Sign(told, "SQLite 3.51.3 or later", None if seen.programs > 1 else HINT)


def has_wal_reset(version: tuple[int, ...]) -> bool:
    """Whether a release has the bug, by its number."""
    if not (3, 7, 0) <= version < (3, 51, 3):
        return False
    return not any(version[:2] == mended[:2] and version >= mended for mended in _RESET_MENDED)


@SQLITE.add(
    "savepoint-corrupts",
    ERROR,
    "a SQLite that can corrupt a file by a savepoint",
    why="A savepoint that is rolled back, with temporary files in memory, may spoil the file.",
    source="https://www.sqlite.org/releaselog/3_37_2.html: 3.35.0 to 3.37.1",
)
def _savepoints(seen: SQLiteFacts) -> Iterator[Sign]:
    if (3, 35, 0) <= seen.version < (3, 37, 2):
        yield Sign(f"SQLite {versions.shown(seen.version)}", "SQLite 3.37.2 or later")


@SQLITE.add(
    "library-old",
    WARNING,
    "a SQLite that is older than what hermetic is tested with",
    why="Databases in memory that are shared, RETURNING and what else hermetic uses are not there.",
)
def _old(seen: SQLiteFacts) -> Iterator[Sign]:
    if seen.version < _OLDEST:
        yield Sign(f"SQLite {versions.shown(seen.version)}", f"{versions.shown(_OLDEST)} or later")


@SQLITE.add(
    "library-unthreaded",
    ERROR,
    "a SQLite without threads (a hint for its multi-thread mode)",
    why="Used from two threads, it corrupts memory. In multi-thread mode a connection must not be.",
    source="https://www.sqlite.org/threadsafe.html; sqlite3.threadsafety, Python 3.11",
)
def _threads(seen: SQLiteFacts) -> Iterator[Sign]:
    if seen.threads < 3:
        severity = None if seen.threads == 0 else HINT
        told = f"sqlite3.threadsafety = {seen.threads}"
        yield Sign(told, "a SQLite that is compiled with THREADSAFE=1", severity)


@SQLITE.add(
    "journal-unsafe",
    ERROR,
    "a journal that is lost with the process",
    why="A crash in the middle of a transaction leaves a corrupted file.",
    source="https://www.sqlite.org/pragma.html#pragma_journal_mode",
)
def _journal_memory(seen: SQLiteFacts) -> Iterator[Sign]:
    if seen.path is not None and seen.about.options.journal_mode == "memory":
        yield Sign("journal_mode = 'memory'", option("journal_mode", "wal"))


@SQLITE.add(
    "wal-off",
    WARNING,
    "readers and a writer that keep each other waiting",
    why="Without WAL a reader holds up every COMMIT, and a COMMIT every reader.",
    source="https://www.sqlite.org/wal.html",
)
def _wal_off(seen: SQLiteFacts) -> Iterator[Sign]:
    mode = seen.about.options.journal_mode
    if seen.path is not None and mode not in ("wal", "memory"):
        yield Sign(f"journal_mode = {mode!r}", option("journal_mode", "wal"))


@SQLITE.add(
    "journal-differs",
    HINT,
    "a file whose journal mode is not the Database's",
    why="The next connection changes it, for everybody who uses the file, and waits until it is "
    "alone with it.",
    source="https://www.sqlite.org/pragma.html#pragma_journal_mode",
)
def _differs(seen: SQLiteFacts) -> Iterator[Sign]:
    wanted = "wal" if seen.about.options.journal_mode == "wal" else "rollback"
    if seen.mode is not None and seen.mode != wanted:
        told = f"the file has {seen.mode}, and the Database asks for {wanted}"
        yield Sign(told, option("journal_mode", "wal" if seen.mode == "wal" else "delete"))


@SQLITE.add(
    "journal-left",
    HINT,
    "a journal beside the file",
    why="A transaction is under way, or has failed: who opens the file next rolls it back. Without "
    "the journal the file is corrupted.",
    source="https://www.sqlite.org/howtocorrupt.html",
)
def _hot(seen: SQLiteFacts) -> Iterator[Sign]:
    if seen.hot:
        yield Sign(f"{seen.path}-journal is there", "leave it with the file, in backups too")


@SQLITE.add(
    "synchronous-low",
    ERROR,
    'commits that a power loss undoes, or worse (a hint for "normal")',
    why='With "off" a power loss may corrupt the file; with "normal" it may undo the last commits.',
    source="https://www.sqlite.org/pragma.html#pragma_synchronous",
)
def _synchronous(seen: SQLiteFacts) -> Iterator[Sign]:
    level = seen.about.options.synchronous
    if seen.path is not None and level in ("off", "normal"):
        severity = HINT if level == "normal" else None
        yield Sign(f"synchronous = {level!r}", option("synchronous", "full"), severity)


@SQLITE.add(
    "foreign-keys-off",
    WARNING,
    "foreign keys that nobody looks at",
    why="Rows may refer to what is not there.",
    source="https://www.sqlite.org/foreignkeys.html",
)
def _foreign_keys(seen: SQLiteFacts) -> Iterator[Sign]:
    if not seen.about.options.foreign_keys:
        yield Sign("foreign_keys = False", option("foreign_keys", True))


@SQLITE.add(
    "no-lock-timeout",
    WARNING,
    "no patience with other processes",
    why='Who meets another process\'s lock fails at once: "database is locked".',
    source="https://www.sqlite.org/pragma.html#pragma_busy_timeout",
)
def _patience(seen: SQLiteFacts) -> Iterator[Sign]:
    options = seen.about.options
    patience = float(options.connect_args.get("timeout", options.lock_timeout or 0.0))
    if seen.path is not None and patience < 0.1:
        yield Sign(f"locks are waited for {patience:g} s", option("lock_timeout", 10.0))
