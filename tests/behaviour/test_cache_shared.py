"""The file by which the processes of a host tell each other of commits, and what befalls it."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hermetic import Cache, CacheAway, ConfigurationError, Database
from hermetic.cache import shared
from hermetic.cache.shared import SharedTokens, default_path
from hermetic.cache.store import Commit, Store
from tests.models import Base, User

pytestmark = pytest.mark.sqlite
NAMES = frozenset({"users"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shared.cache"


@pytest.fixture
def both(path: Path) -> Iterator[tuple[SharedTokens, SharedTokens]]:
    """Two processes, as the file knows them."""
    pair = SharedTokens(path, 30.0), SharedTokens(path, 30.0)
    yield pair
    for each in pair:
        each.close()


@pytest.mark.parametrize("noticed", [True, False])
def test_a_file_that_is_deleted_during_a_commit_hides_it_from_nobody(
    path: Path, both: tuple[SharedTokens, SharedTokens], noticed: bool
) -> None:
    writer, reader = both
    places = writer.places(frozenset({"a", "b", "*"}))
    old = SharedTokens(path, 30.0)
    old._next = time.monotonic() + 1000  # it looks at the old file still
    before_in_old = old.look(places)
    claim = writer.begin(places)
    path.unlink()
    reader.forget(())  # notices it
    other = SharedTokens(path, 30.0)
    mark = other.begin(other.places(frozenset({"c"})))
    before = reader.look(places)
    if noticed:
        writer.forget(())

    writer.finish(claim)

    after = reader.look(places)
    assert before is not None
    assert after is not None
    assert all(new != earlier for new, earlier in zip(after[1:], before[1:], strict=True))
    versions = (old._identity, *old._board.versions(places))
    assert before_in_old is not None
    assert all(a != b for a, b in zip(versions[1:], before_in_old[1:], strict=True))
    assert reader.look(reader.places(frozenset({"c"}))) is None, "another one's mark is there"
    other.finish(mark)
    for each in (old, other):
        each.close()


@pytest.fixture
def databases(path: Path, tmp_path: Path) -> Iterator[list[Database]]:
    url = f"sqlite:///{tmp_path}/users.db"
    made = [
        Database(url, cache=Cache(entities=(User,), shared=path, on_failure=how))
        for how in ("serve", "serve", "refuse")
    ]
    Base.metadata.create_all(made[0].engine)
    with made[0].session() as session:
        session.add(User(id=1, username="ann"))
    yield made
    for each in made:
        each.close()


def name(db: Database) -> str:
    with db.session(readonly=True) as session:
        return str(session.get_one(User, 1).username)


def test_a_process_that_is_stopped_with_the_lock_hides_no_commit(
    path: Path, databases: list[Database]
) -> None:
    writer, reader, strict = databases
    for _ in range(2):
        name(reader)
    with path.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(CacheAway), strict.session() as session:
            session.get_one(User, 1).username = "nobody"
        with writer.session() as session:
            session.get_one(User, 1).username = "anna"
        assert name(reader) == "anna"
        # nor while the cache is left alone for a moment
        with writer.session() as session:
            session.get_one(User, 1).username = "hannah"
        assert name(reader) == "hannah"

        fresh = SharedTokens(path, 1.0)  # one more begins meanwhile
        fresh.close()


def test_what_is_owed_meanwhile_is_still_owed() -> None:
    """One thread tells what it owes; before it is done, another one owes the same again."""
    store = Store(Cache(lease=5.0), "a", alone=True)
    forget = store.tokens.forget
    places = store.tokens.places(NAMES)
    told = []

    def slow(given: tuple[int, ...]) -> None:
        forget(given)
        store.tokens.forget = forget
        told.append(store.tokens.look(places))
        store.lost(Commit(NAMES, None))  # an unannounced one, of another thread

    store.tokens.forget = slow
    store.forget(NAMES)
    store.ask(places, "key")

    assert store.tokens.look(places) != told[0]


def test_its_memory_is_there_when_it_is_opened(
    path: Path, both: tuple[SharedTokens, SharedTokens]
) -> None:
    """A hole in a file of a full tmpfs would end the process with SIGBUS when it is written."""
    assert path.stat().st_blocks * 512 >= shared._LENGTH


def test_a_file_of_somebody_elses_is_left_alone(path: Path) -> None:
    path.write_text("a thing of value")

    with pytest.raises(ConfigurationError, match="no file of a cache"):
        SharedTokens(path, 1.0)

    assert path.read_text() == "a thing of value"


def test_a_folder_that_others_can_write_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "_MEMORY", tmp_path)
    folder = tmp_path / f"hermetic-{os.geteuid()}"
    folder.mkdir()
    folder.chmod(0o777)

    with pytest.raises(ConfigurationError, match="alone"):
        default_path("a")


def test_without_flock_it_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "fcntl", None)

    with pytest.raises(ConfigurationError, match="Windows"):
        Store(Cache(shared=path), "a", alone=False)


def test_a_forked_child_waits_for_no_lock_of_its_parents_threads() -> None:
    store = Store(Cache(), "a", alone=True)
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        with store._memory._lock, store._lock:
            held.set()
            go.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    child = os.fork()
    if child == 0:
        store.start_anew()
        free = store._memory._lock.acquire(timeout=1) and store._lock.acquire(timeout=1)
        os._exit(0 if free else 1)
    go.set()
    thread.join()

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_engines_are_known_by_themselves(databases: list[Database]) -> None:
    """And not by a number that another one may get."""
    for db in databases:
        reads: Any = db.cache
        assert db.engine in reads.primary
