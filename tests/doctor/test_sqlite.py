"""SQLite files and the library, as the doctor sees them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hermetic import Database
from hermetic.doctor import Severity
from hermetic.doctor.sqlite import filesystem_of
from hermetic.doctor.sqlite_checks import has_wal_reset
from tests.doctor.seen import codes, examined, one

pytestmark = pytest.mark.sqlite

_MOUNTS = """\
overlay / overlay rw 0 0
tmpfs /srv tmpfs rw 0 0
server:/export /srv/shared\\040files nfs4 rw,vers=4.2 0 0
/dev/sdb1 /srv/shared\\040files/local ext4 rw 0 0
"""


def made(path: Path, mode: str = "wal") -> str:
    """The URL of a database that somebody has made."""
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA journal_mode = {mode}")
    connection.execute("CREATE TABLE some (id int)")
    connection.close()
    return f"sqlite:///{path}"


def test_a_file_as_it_should_be_has_nothing_wrong(tmp_path: Path) -> None:
    report = examined(made(tmp_path / "app.db"))

    assert report.complete
    assert codes(report, Severity.WARNING) == set()
    # by its number the library of this machine may be one of those
    assert codes(report) - {"wal-reset"} == set()


def test_several_processes_meet_the_wal_reset_bug(tmp_path: Path) -> None:
    report = examined(made(tmp_path / "app.db"), workers=4)

    found = {each.code for each in report.at_least(Severity.WARNING)}
    assert found == ({"wal-reset"} if has_wal_reset(sqlite3.sqlite_version_info) else set())


def test_a_badly_used_file_is_told_so(tmp_path: Path) -> None:
    url = made(tmp_path / "app.db")
    report = examined(
        url, journal_mode="delete", synchronous="off", foreign_keys=False, lock_timeout=None
    )

    assert codes(report) == {
        "wal-off",
        "journal-differs",
        "synchronous-low",
        "foreign-keys-off",
        "no-lock-timeout",
    }


def test_a_file_is_not_even_opened_by_sqlite(tmp_path: Path) -> None:
    url = made(tmp_path / "app.db", "delete")
    before = {each: each.read_bytes() for each in tmp_path.iterdir()}

    report = examined(url)

    assert "journal-differs" in codes(report)
    assert {each: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_a_transaction_under_way_shows(tmp_path: Path) -> None:
    url = made(tmp_path / "app.db", "delete")
    writer = sqlite3.connect(tmp_path / "app.db", isolation_level=None)
    writer.execute("BEGIN")
    writer.execute("INSERT INTO some VALUES (1)")
    try:
        report = examined(url, journal_mode="delete")
    finally:
        writer.close()

    assert "journal-left" in codes(report)


def test_a_file_that_is_none_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database at all")
    said = one(examined(f"sqlite:///{tmp_path}/text.db"), "file-out-of-reach").seen

    assert "no SQLite database" in said
    assert "folder" in one(examined(f"sqlite:///{tmp_path}/no/x.db"), "file-out-of-reach").seen
    assert "file-new" in codes(examined(f"sqlite:///{tmp_path}/new.db"))


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder, for a user who may do nothing; only root can become one."""
    if os.geteuid() != 0:
        pytest.skip("it takes root to be nobody")
    folder = Path(tempfile.mkdtemp(prefix="hermetic-doctor-"))
    folder.chmod(0o755)
    yield folder
    os.seteuid(0)
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("file", "folder", "said"),
    [
        (0o600, 0o777, "cannot be read"),
        (0o644, 0o777, "cannot be written"),
        (0o666, 0o755, "the folder of"),
    ],
)
def test_what_may_not_be_used_is_told_so(nobody: Path, file: int, folder: int, said: str) -> None:
    url = made(nobody / "app.db")
    (nobody / "app.db").chmod(file)
    nobody.chmod(folder)
    os.seteuid(65534)

    assert said in one(examined(url), "file-out-of-reach").seen


def test_a_database_in_memory_is_nobody_elses() -> None:
    assert one(examined("sqlite://"), "memory-of-each").severity is Severity.HINT
    assert one(examined("sqlite://", workers=2), "memory-of-each").severity is Severity.ERROR


@pytest.mark.parametrize(
    ("path", "filesystem"),
    [
        ("/srv/app.db", "tmpfs"),
        ("/srv/shared files/app.db", "nfs4"),
        ("/srv/shared files/local/app.db", "ext4"),
        ("/other/app.db", "overlay"),
    ],
)
def test_the_filesystem_of_a_path_is_that_of_its_mount(path: str, filesystem: str) -> None:
    assert filesystem_of(Path(path), _MOUNTS) == filesystem


def test_the_filesystem_is_read_from_the_kernel(tmp_path: Path) -> None:
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        pytest.skip("no /proc here")

    assert filesystem_of(tmp_path, mounts.read_text()) is not None


def test_the_applications_own_database_goes_on(tmp_path: Path) -> None:
    with Database(f"sqlite:///{tmp_path}/app.db") as database:
        with database.session() as session:
            session.execute("CREATE TABLE some (id int)")
            report = examined(f"sqlite:///{tmp_path}/app.db")
        with database.session() as session:
            assert session.scalar("SELECT count(*) FROM some") == 0

    assert report.complete
