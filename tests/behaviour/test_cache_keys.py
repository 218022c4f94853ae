"""What the cache is not asked for and does not keep: reads that are not what their key tells, and
commits that pass SQLAlchemy by.
"""

from __future__ import annotations

import atexit
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from hermetic import Cache, Database
from tests.backends import BACKENDS
from tests.models import Order, User
from tests.worlds import World

CACHED = {"cache": True}
FOLDER = TemporaryDirectory(prefix="hermetic-cache-")
atexit.register(FOLDER.cleanup)

ASYNC = pytest.param(
    next(each for each in BACKENDS if each.name == "asyncpg"),
    marks=pytest.mark.postgresql,
    id="asyncpg",
)
LITE, POSTGRES, MARIA = "sqlite", "psycopg", "pymysql"


def on(*cases: tuple[Any, ...]) -> pytest.MarkDecorator:
    """Each case on the backend that it names first."""
    marks: dict[str, Any] = {each.name: getattr(pytest.mark, each.family) for each in BACKENDS}
    names = {backend.name: backend for backend in BACKENDS}
    params: list[Any] = [
        pytest.param(names[case[0]], *case[1:], marks=marks[case[0]], id=" ".join(case)[:60])
        for case in cases
    ]
    return pytest.mark.parametrize(
        ("backend", "sql") if len(cases[0]) > 1 else "backend",
        params,
        indirect=["backend"],
    )


def opened(world: World, **options: Any) -> Database:
    shared = Path(FOLDER.name) / f"{uuid4()}.cache"
    db = world.database(cache=Cache(entities=(User,), shared=shared), **options)
    with db.session() as session:
        session.add(User(id=1, username="ann"))
    assert sent(db) == ("ann", 1)
    return db


def sent(db: Database) -> tuple[str, int]:
    """Ann's name, and how many statements it took."""
    with db.session(readonly=True) as session:
        found = session.get(User, 1)
        assert found is not None
        assert session.scope is not None
        return found.username, session.scope.statements


def renamed(db: Database) -> None:
    with db.session(propagation="requires_new") as session:
        session.execute("UPDATE users SET username = 'anna'")


@on(
    (POSTGRES, "SET LOCAL TimeZone = 'Asia/Tokyo'"),
    (POSTGRES, "SELECT set_config('search_path', 'public', true)"),
    (MARIA, "SET @x = 1"),
    (LITE, "PRAGMA case_sensitive_like = on"),
)
async def test_a_scope_whose_session_was_changed_is_out_of_the_cache(
    world: World, sql: str
) -> None:
    db = opened(world)

    with db.session(readonly=True) as session:
        session.execute(sql)
        session.get(User, 1)
        rows = session.execute("SELECT count(*) FROM users", execution_options=CACHED).all()
        assert (session.cache_hits, len(rows)) == (0, 1)

    assert sent(db) == ("ann", 0)
    with db.session(readonly=True) as session:
        session.execute("SELECT count(*) FROM users", execution_options=CACHED).all()
        assert session.cache_hits == 0


@on((POSTGRES,))
async def test_a_connection_with_options_of_ones_own_is_out_of_the_cache(world: World) -> None:
    db = opened(world)

    with db.session(readonly=True) as session:
        session.connection(execution_options={"schema_translate_map": {"other": "public"}})
        session.get(User, 1)
        assert session.cache_hits == 0
    with db.session(readonly=True) as session:
        session.connection()
        session.get(User, 1)
        assert session.cache_hits == 1


@on((POSTGRES, "default"), (POSTGRES, "text"))
async def test_what_is_read_in_an_older_moment_is_not_kept(world: World, sql: str) -> None:
    given = {"options": "-c default_transaction_isolation=repeatable\\ read"}
    db = opened(world, **({"connect_args": given} if sql == "default" else {}))
    with db.session() as session:
        session.get(User, 1)
    db.cache.invalidate()

    with db.session() as session:
        if sql == "text":
            session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        session.get(Order, 1)
        renamed(db)
        found = session.get(User, 1)
        assert found is not None
        assert (found.username, session.cache_hits) == ("ann", 0)

    assert sent(db) == ("anna", 1)


@on((POSTGRES,))
async def test_a_scope_at_a_servers_own_level_is_answered_at_read_committed_alone(
    world: World,
) -> None:
    given = {"options": "-c default_transaction_isolation=serializable"}
    db = opened(world, connect_args=given)

    with db.session() as session:
        session.get(User, 1)
        assert session.cache_hits == 0


@on((LITE,))
async def test_what_the_driver_has_read_itself_makes_a_moment_too(world: World) -> None:
    db = opened(world)
    db.cache.invalidate()

    with db.session(readonly=True) as session:
        session.connection().connection.cursor().execute("SELECT * FROM orders").fetchall()
        renamed(db)
        session.get(User, 1)

    assert sent(db) == ("anna", 1)


UPDATE = "UPDATE users SET username = 'anna'"


@on(
    (LITE, f"{UPDATE}; COMMIT"),
    (POSTGRES, f"{UPDATE}; COMMIT"),
    (POSTGRES, f"{UPDATE}; END"),
    (MARIA, f"{UPDATE}; COMMIT"),
    (MARIA, f"{UPDATE}; CREATE TABLE other (id int)"),
    (MARIA, f"SET autocommit = 1; {UPDATE}"),
)
async def test_a_commit_by_text_on_the_engine_empties_it(world: World, sql: str) -> None:
    db = opened(world)

    with db.engine.connect() as connection:
        for statement in sql.split("; "):
            connection.exec_driver_sql(statement)
        connection.rollback()

    assert sent(db) == ("anna", 1)


@on((LITE,), (POSTGRES,), (MARIA,))
async def test_a_transaction_by_text_empties_it_at_its_end(world: World) -> None:
    db = opened(world)

    with db.session(propagation="not_supported") as session:
        session.execute("BEGIN")
        session.execute(UPDATE)
        assert sent(db)[0] == "ann"
        session.execute("COMMIT")

    assert sent(db) == ("anna", 1)


@on((MARIA,))
async def test_a_procedure_may_commit_what_was_written_before_it(world: World) -> None:
    db = opened(world)
    world.do("CREATE PROCEDURE ends() BEGIN COMMIT; START TRANSACTION; END")

    with pytest.raises(ZeroDivisionError), db.session() as session:
        session.execute(UPDATE)
        session.execute("CALL ends()")
        raise ZeroDivisionError

    assert sent(db) == ("anna", 1)


@on((POSTGRES,))
async def test_temporary_tables_of_one_name_are_not_mixed_up(world: World) -> None:
    db = opened(world)

    found = []

    def own(number: int) -> None:
        with db.session(propagation="not_supported") as session:
            session.execute("CREATE TEMPORARY TABLE own (id int)")
            session.execute(f"INSERT INTO own VALUES ({number})")
            if number == 1:
                # in the middle of this one
                other = threading.Thread(target=own, args=(2,))
                other.start()
                other.join()
            found.append(session.scalar("SELECT id FROM own", execution_options=CACHED))

    own(1)

    assert found == [2, 1]


@on((LITE, "PRAGMA query_only = off"), (POSTGRES, "SET default_transaction_read_only = off"))
async def test_a_reader_that_was_allowed_to_write_is_watched(world: World, sql: str) -> None:
    db = opened(world)

    with db.session(readonly=True) as session:
        session.execute(sql)
        session.execute(UPDATE)

    assert sent(db) == ("anna", 1)


@pytest.mark.parametrize("backend", [ASYNC], indirect=True)
async def test_under_asyncio_a_sessions_settings_are_seen_too(world: World) -> None:
    shared = Path(FOLDER.name) / f"{uuid4()}.cache"
    world.database(cache=Cache(entities=(User,), shared=shared))
    async with world.session() as session:
        session.sync_session.add(User(id=1, username="ann"))

    hits = []
    for sql in (None, None, "SET TimeZone = 'Asia/Tokyo'"):
        async with world.session(readonly=True) as session:
            if sql is not None:
                await session.execute(sql)
            await session.get(User, 1)
            hits.append(session.cache_hits)
    async with world.session(readonly=True) as session:
        await session.connection(execution_options={"schema_translate_map": {"a": "b"}})
        await session.get(User, 1)
        hits.append(session.cache_hits)

    assert hits == [0, 1, 0, 0]
