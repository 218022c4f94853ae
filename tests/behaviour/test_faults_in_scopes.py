"""The same fault inside a scope is the same error on every driver, and still SQLAlchemy's."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from uuid import uuid4

import pytest
from sqlalchemy import exc as sa_exc
from sqlalchemy import make_url, text

from hermetic import (
    AuthenticationFailed,
    CannotConnect,
    CheckViolation,
    ConnectionDestroyed,
    ConnectionLost,
    Deadlock,
    Event,
    FaultError,
    FaultKind,
    ForeignKeyViolation,
    IntegrityViolation,
    InvalidStatement,
    LockTimeout,
    NotNullViolation,
    Outcome,
    Retry,
    TooManyConnections,
    UniqueViolation,
)
from tests.behaviour.aftermath import check_nothing_left, kill, on_servers
from tests.models import User
from tests.servers.process import free_port
from tests.worlds import World

SEED: Final = (
    "INSERT INTO users (username, balance) VALUES ('taken', 0)",
    "CREATE TABLE positive (n INTEGER, CONSTRAINT above_zero CHECK (n > 0))",
)

STATEMENTS: Final = {
    "unique": (
        "INSERT INTO users (username, balance) VALUES ('taken', 0)",
        UniqueViolation,
        sa_exc.IntegrityError,
    ),
    "foreign_key": (
        "INSERT INTO orders (user_id, item) VALUES (999, 'tea')",
        ForeignKeyViolation,
        sa_exc.IntegrityError,
    ),
    "not_null": (
        "INSERT INTO users (username, balance) VALUES (NULL, 0)",
        NotNullViolation,
        sa_exc.IntegrityError,
    ),
    # A CHECK is an OperationalError for PyMySQL.
    "check": ("INSERT INTO positive VALUES (0)", CheckViolation, sa_exc.DBAPIError),
    "syntax": ("SELEC 1", InvalidStatement, sa_exc.DBAPIError),
    "no_table": ("SELECT * FROM nowhere", InvalidStatement, sa_exc.DBAPIError),
    "no_column": ("SELECT nothing FROM users", InvalidStatement, sa_exc.DBAPIError),
}

ASK_ID: Final = {
    "postgresql": "SELECT pg_backend_pid()",
    "mariadb": "SELECT connection_id()",
}


def check_error(
    error: FaultError, session: Any, expected: type[FaultError], sa_class: type[Exception]
) -> None:
    """What holds for every fault that was raised in a scope and has ended it."""
    assert isinstance(error, expected)
    assert isinstance(error, sa_class)
    assert error.fault is not None
    assert error.fault.kind is expected.kind
    assert error.outcome is session.outcome is Outcome.NOT_COMMITTED
    assert error.scope == session.scope.ref
    assert error.scope is not None
    assert str(error.scope) in str(error)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert isinstance(copy, sa_class)
    assert (copy.fault, copy.scope, copy.outcome) == (error.fault, error.scope, error.outcome)
    assert str(copy) == str(error)


@pytest.mark.parametrize("fault", STATEMENTS)
async def test_a_statement_that_fails_is_the_same_error_everywhere(
    world: World, fault: str
) -> None:
    for statement in SEED:
        world.do(statement)
    statement, expected, sa_class = STATEMENTS[fault]
    db = world.database(pool_size=1)

    with pytest.raises(expected) as caught:
        async with world.session(db) as session:
            session.add(User(username="ann"))
            await session.flush()
            (used,) = db.snapshot().connections
            await session.execute(statement)

    check_error(caught.value, session, expected, sa_class)
    assert isinstance(caught.value, sa_exc.StatementError)
    assert statement in str(caught.value.statement)
    assert world.usernames() == ["taken"]
    # The connection is good for the next one.
    (kept,) = db.snapshot().connections
    assert (kept.number, kept.state) == (used.number, "idle")
    await check_nothing_left(world, db)


async def test_a_flush_that_fails_is_the_same_error_as_a_statement(world: World) -> None:
    world.do(SEED[0])

    with pytest.raises(UniqueViolation) as caught:
        async with world.session() as session:
            session.add(User(username="taken"))

    check_error(caught.value, session, UniqueViolation, sa_exc.IntegrityError)
    await check_nothing_left(world)


async def test_every_violated_constraint_can_be_caught_at_once(world: World) -> None:
    for statement in SEED:
        world.do(statement)

    for fault in ("unique", "foreign_key", "not_null", "check"):
        with pytest.raises(IntegrityViolation):
            async with world.session() as session:
                await session.execute(STATEMENTS[fault][0])


@on_servers
async def test_a_deadlock_is_the_same_error_everywhere(world: World) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('ann', 0), ('bob', 0)")
    signals = {"ann": world.signal(), "bob": world.signal()}
    sessions: dict[str, Any] = {}

    async def party(first: str, second: str) -> None:
        async with world.session(name=first) as session:
            sessions[first] = session
            raised = "UPDATE users SET balance = balance + 1 WHERE username = :name"
            await session.execute(raised, {"name": first})
            signals[first].set()
            await signals[second].wait()
            await session.execute(raised, {"name": second})

    ends = await world.together(lambda: party("ann", "bob"), lambda: party("bob", "ann"))

    (lost,) = [end for end in ends if end is not None]
    assert isinstance(lost, Deadlock)
    assert lost.scope is not None
    check_error(lost, sessions[lost.scope.name], Deadlock, sa_exc.DBAPIError)
    assert world.seen("SELECT balance FROM users") == [(1,), (1,)]
    await check_nothing_left(world)


async def test_a_lock_that_is_not_to_be_had_is_the_same_error_everywhere(world: World) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('ann', 0)")
    db = world.database(lock_timeout=1 if world.backend.family == "mariadb" else 0.05)

    with world.observer.connect() as holder:
        if world.backend.family == "sqlite":
            holder.exec_driver_sql("BEGIN IMMEDIATE")
        holder.execute(text("UPDATE users SET balance = 7"))
        with pytest.raises(LockTimeout) as caught:
            async with world.session(db) as session:
                await session.execute("UPDATE users SET balance = 1")
        holder.rollback()

    check_error(caught.value, session, LockTimeout, sa_exc.DBAPIError)
    assert world.seen("SELECT balance FROM users") == [(0,)]
    await check_nothing_left(world, db)


# ---------------------------------------------------------------- lost connections


@on_servers
async def test_a_killed_connection_is_the_same_error_everywhere(world: World) -> None:
    db = world.database(pool_size=2)
    events: list[Event] = []
    db.listen(events.append)

    with pytest.raises(ConnectionLost) as caught:
        async with world.session(db) as session:
            session.add(User(username="ann"))
            await session.flush()
            (used,) = db.snapshot().connections
            kill(world, await session.scalar(ASK_ID[world.backend.family]))
            # A server that is about to hang up may still take one.
            for _ in range(3):
                await session.execute("SELECT 1")

    check_error(caught.value, session, ConnectionLost, sa_exc.DBAPIError)
    assert isinstance(caught.value, sa_exc.DBAPIError)
    assert caught.value.connection_invalidated
    assert used.number not in {connection.number for connection in db.snapshot().connections}
    (destroyed,) = [event for event in events if isinstance(event, ConnectionDestroyed)]
    assert destroyed.connection == used.number
    assert world.usernames() == []
    await check_nothing_left(world, db)


@on_servers
async def test_a_killed_connection_takes_its_pool_with_it_only_where_the_server_went_away(
    world: World,
) -> None:
    """PostgreSQL ends connections with the code of its own shutdown; MariaDB kills one."""
    db = world.database(pool_size=2)
    async with world.session(db) as first:
        await first.execute("SELECT 1")
        async with world.session(db, propagation="requires_new") as second:
            await second.execute("SELECT 1")
    before = {connection.number for connection in db.snapshot().connections}
    assert len(before) == 2

    with pytest.raises(ConnectionLost):
        async with world.session(db) as session:
            kill(world, await session.scalar(ASK_ID[world.backend.family]))
            for _ in range(3):
                await session.execute("SELECT 1")
    async with world.session(db) as first:
        await first.execute("SELECT 1")
        async with world.session(db, propagation="requires_new") as second:
            await second.execute("SELECT 1")
            after = {connection.number for connection in db.snapshot().connections}

    assert len(after) == 2
    assert bool(after & before) is (world.backend.family == "mariadb")


# ---------------------------------------------------------------- no connection


async def refused(world: World, expected: type[FaultError], url: str) -> FaultError:
    """The error of a scope on a URL that leads nowhere; its pool is free afterwards."""
    world.url = url
    db = world.database(pool_size=1)
    bodies = 0
    with pytest.raises(expected) as caught:
        async for attempt in world.attempts(db, retry=Retry(attempts=2, base=0.001)):
            async with attempt as session:
                bodies += 1
                await session.execute("SELECT 1")
    check_error(caught.value, session, expected, sa_exc.DBAPIError)
    assert bodies == (2 if caught.value.fault and caught.value.fault.retryable else 1)
    snapshot = db.snapshot()
    assert (snapshot.connections, snapshot.scopes) == ((), ())
    assert [pool.lent for pool in snapshot.pools] == [0] * len(snapshot.pools)
    return caught.value


def changed(world: World, **parts: Any) -> str:
    return make_url(world.url).set(**parts).render_as_string(hide_password=False)


@on_servers
async def test_a_wrong_password_is_the_same_error_everywhere(world: World) -> None:
    error = await refused(world, AuthenticationFailed, changed(world, password="wr0ng-s3cret"))

    assert "wr0ng-s3cret" not in str(error) + repr(error)


@on_servers
async def test_a_server_that_is_not_there_is_the_same_error_everywhere(world: World) -> None:
    await refused(world, CannotConnect, changed(world, port=free_port()))


@on_servers
async def test_a_database_that_is_not_there_is_the_same_error_everywhere(world: World) -> None:
    error = await refused(world, InvalidStatement, changed(world, database="nowhere"))

    assert error.fault is not None
    assert error.fault.kind is FaultKind.PROGRAMMING


@on_servers
async def test_one_connection_too_many_is_the_same_error_everywhere(world: World) -> None:
    with account_for_one(world) as url:
        other = make_url(url).set(drivername=world.observer.url.drivername)
        with world.observer.dialect.dbapi.connect(  # type: ignore[union-attr]
            **world.observer.dialect.create_connect_args(other)[1]
        ):
            await refused(world, TooManyConnections, url)


@contextmanager
def account_for_one(world: World) -> Iterator[str]:
    """The URL of an account that exists for a moment, and may have one connection."""
    name = f"t{uuid4().hex[:12]}"
    if world.backend.family == "postgresql":
        world.do(f"CREATE ROLE {name} LOGIN PASSWORD 'secret' CONNECTION LIMIT 1")
        dropped = f"DROP ROLE {name}"
    else:
        world.do(
            f"CREATE USER {name}@'127.0.0.1' IDENTIFIED BY 'secret' WITH MAX_USER_CONNECTIONS 1"
        )
        world.do(f"GRANT SELECT ON users TO {name}@'127.0.0.1'")
        dropped = f"DROP USER {name}@'127.0.0.1'"
    try:
        yield changed(world, username=name, password="secret")
    finally:
        world.do(dropped)


# ---------------------------------------------------------------- what is no fault


async def test_errors_of_sqlalchemy_and_of_the_application_are_raised_as_they_are(
    world: World,
) -> None:
    with pytest.raises(sa_exc.NoResultFound):
        async with world.session() as session:
            (await session.execute(text("SELECT 1 WHERE 1 = 0"))).one()
    error = OSError("of the application")
    with pytest.raises(OSError, match="of the application") as caught:
        async with world.session() as session:
            await session.execute("SELECT 1")
            raise error

    assert caught.value is error
    await check_nothing_left(world)
