"""Row 8: sessions are closed whatever happens, so that nothing leaks: shown by counting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import QueuePool

from hermetic import Database, Session, sessionmaker
from tests.dropin.ground import Ground
from tests.dropin.threads import in_thread
from tests.models import User

# Long enough to be interrupted on any machine. MariaDB sleeps on after its client has gone.
SLOW: Final = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000)"
    " SELECT count(*) FROM n",
    "postgresql": "SELECT pg_sleep(30)",
    "mariadb": "SELECT sleep(1)",
}


class Failure(Exception):
    pass


def raise_(error: BaseException) -> None:
    raise error


# What goes wrong inside a scope; each is given the open session


def an_exception(session: Any, ground: Ground) -> None:
    session.add(User(username="bob"))
    session.flush()
    raise Failure


def an_exception_before_any_statement(session: Any, ground: Ground) -> None:
    raise Failure


def an_interrupt_of_the_program(session: Any, ground: Ground) -> None:
    session.execute("SELECT 1")
    raise KeyboardInterrupt


def an_exit_of_the_program(session: Any, ground: Ground) -> None:
    session.execute("SELECT 1")
    raise SystemExit(3)


def an_error_in_a_statement(session: Any, ground: Ground) -> None:
    session.add(User(username="bob"))
    session.execute("SELECT no_such_column FROM users")


def a_swallowed_error_in_a_statement(session: Any, ground: Ground) -> None:
    with pytest.raises(Exception, match="no_such_column"):
        session.execute("SELECT no_such_column FROM users")


def a_violated_constraint_in_a_flush(session: Any, ground: Ground) -> None:
    session.add(User(username="ann"))
    session.flush()


def a_violated_constraint_in_the_commit(session: Any, ground: Ground) -> None:
    session.add(User(username="ann"))


def a_swallowed_error_in_a_flush(session: Any, ground: Ground) -> None:
    session.add(User(username="ann"))
    with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
        session.flush()


def an_error_in_a_savepoint(session: Any, ground: Ground) -> None:
    with session.begin_nested():
        session.execute("INSERT INTO users (username, balance) VALUES ('ann', 0)")


def a_result_that_was_not_read(session: Any, ground: Ground) -> None:
    session.execute("SELECT username FROM users")
    raise Failure


def a_connection_cut_by_the_server(session: Any, ground: Ground) -> None:
    session.execute("SELECT 1")
    if ground.family == "sqlite":
        raise Failure
    ground.kill_connections()
    session.execute("SELECT 1")


def a_connection_cut_before_the_rollback(session: Any, ground: Ground) -> None:
    session.execute("SELECT 1")
    if ground.family != "sqlite":
        ground.kill_connections()
    raise Failure


ERRORS: Final = [
    an_exception,
    an_exception_before_any_statement,
    an_interrupt_of_the_program,
    an_exit_of_the_program,
    an_error_in_a_statement,
    a_swallowed_error_in_a_statement,
    a_violated_constraint_in_a_flush,
    a_violated_constraint_in_the_commit,
    a_swallowed_error_in_a_flush,
    an_error_in_a_savepoint,
    a_result_that_was_not_read,
    a_connection_cut_by_the_server,
    a_connection_cut_before_the_rollback,
]

Error = Callable[[Any, Ground], None]


@pytest.fixture(params=ERRORS, ids=lambda error: error.__name__)
def error(request: pytest.FixtureRequest) -> Error:
    chosen: Error = request.param
    return chosen


def survive(block: Callable[[], None]) -> BaseException | None:
    try:
        block()
    except BaseException as raised:
        return raised
    return None


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def assert_nothing_is_held(db: Database) -> None:
    snapshot = db.snapshot()
    assert snapshot.scopes == ()
    assert snapshot.sessions == ()
    assert [connection for connection in snapshot.connections if connection.state != "idle"] == []
    assert [pool.lent for pool in snapshot.pools] == [0] * len(snapshot.pools)


# The Database's way


def test_a_scope_leaves_nothing_behind(ground: Ground, db: Database, error: Error) -> None:
    with db.session() as session:
        session.add(User(username="ann"))
    before = descriptors()

    def block() -> None:
        with db.session() as session:
            error(session, ground)

    for _ in range(3):
        survive(block)
        assert_nothing_is_held(db)
        assert ground.has_at_most(1)

    assert descriptors() <= before
    assert ground.usernames() == ["ann"]
    db.close()
    assert ground.has_connections(0)


async def test_a_scope_in_a_task_leaves_nothing_behind(ground: Ground, error: Error) -> None:
    db = Database(ground.bare_url)
    async with db.session() as session:
        session.add(User(username="ann"))
    before = descriptors()

    for _ in range(3):
        try:
            async with db.session() as session:
                await session.run_sync(error, ground)
        except (Exception, KeyboardInterrupt, SystemExit):
            pass
        assert_nothing_is_held(db)
        assert ground.has_at_most(1)

    assert descriptors() <= before
    assert ground.usernames() == ["ann"]
    await db.aclose()
    assert ground.has_connections(0)


def test_a_scope_out_of_time_leaves_nothing_behind(ground: Ground, db: Database) -> None:
    def block() -> None:
        with db.session(timeout=0.1) as session:
            session.execute(SLOW[ground.family])

    raised = survive(block)

    assert isinstance(raised, TimeoutError)
    assert_nothing_is_held(db)
    db.close()
    assert ground.has_connections(0)


async def test_a_cancelled_task_leaves_nothing_behind(ground: Ground) -> None:
    db = Database(ground.bare_url)
    started = asyncio.Event()

    async def work() -> None:
        async with db.session() as session:
            await session.execute("SELECT 1")
            started.set()
            await session.execute(SLOW[ground.family])

    task = asyncio.create_task(work())
    await started.wait()
    # the next statement is on its way, or not yet: both must be safe
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert_nothing_is_held(db)
    await db.aclose()
    assert ground.has_connections(0)


@pytest.mark.filterwarnings(
    # psycopg and PyMySQL complain of the cursor that nobody closed, and rightly so
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore:Previous unbuffered result was left incomplete",
)
def test_a_half_read_stream_leaves_its_connection_usable(ground: Ground, db: Database) -> None:
    with db.session() as session:
        session.add_all([User(username=f"user {number}") for number in range(50)])

    with db.session() as session:
        rows = session.execute(
            "SELECT username FROM users ORDER BY id", execution_options={"yield_per": 5}
        )
        first = next(rows)
    with db.session() as session:
        count = session.scalar("SELECT count(*) FROM users")

    assert first.username == "user 0"
    assert count == 50
    assert_nothing_is_held(db)
    assert ground.connections() == 1


def test_an_abandoned_generator_leaves_nothing_behind(ground: Ground, db: Database) -> None:
    def usernames() -> Iterator[str]:
        with db.session() as session:
            for user in session.query(User):
                yield user.username

    with db.session() as session:
        session.add_all([User(username="ann"), User(username="bob")])

    generator = usernames()
    first = next(generator)
    del generator

    assert first in {"ann", "bob"}
    assert_nothing_is_held(db)


def test_a_failing_hook_leaves_nothing_behind(ground: Ground, db: Database) -> None:
    with db.session() as session:
        session.add(User(username="ann"))
        session.on_commit(lambda: raise_(Failure()))

    def refused() -> None:
        with db.session() as session:
            session.add(User(username="bob"))
            session.before_commit(lambda: raise_(Failure()))

    raised = survive(refused)

    assert isinstance(raised, Failure)
    assert ground.usernames() == ["ann"]
    assert_nothing_is_held(db)


def test_a_thread_that_dies_in_its_scope_leaves_nothing_behind(
    ground: Ground, db: Database
) -> None:
    def work() -> None:
        with db.session() as session:
            session.add(User(username="ann"))
            session.flush()
            raise Failure

    with pytest.raises(Failure):
        in_thread(work)

    assert_nothing_is_held(db)
    assert ground.usernames() == []


# The articles' way


def test_the_articles_scope_leaves_nothing_behind(
    ground: Ground, db: Database, error: Error
) -> None:
    engine = ground.engine()
    Session = sessionmaker(bind=engine)  # noqa: N806 - as the articles write it
    pool = engine.pool
    assert isinstance(pool, QueuePool)

    @contextmanager
    def session_scope() -> Iterator[Any]:
        session = Session()
        try:
            yield session
            session.commit()
        except:
            session.rollback()
            raise
        finally:
            session.close()

    def block() -> None:
        with session_scope() as session:
            error(session, ground)

    with session_scope() as session:
        session.add(User(username="ann"))
    for _ in range(3):
        survive(block)
        assert pool.checkedout() == 0
        assert db.snapshot().sessions == ()
        assert ground.has_at_most(1)

    assert ground.usernames() == ["ann"]
    engine.dispose()
    assert ground.has_connections(0)


def test_a_thousand_sessions_cost_one_connection(ground: Ground) -> None:
    engine = ground.engine()
    sessions = []

    for _ in range(1000):
        with Session(engine) as session:
            session.execute("SELECT 1")
        sessions.append(session)

    assert ground.connections() == 1
    assert threading.active_count() < 50
