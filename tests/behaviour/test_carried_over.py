"""What a borrower leaves on a connection, in any way and however its scope ends, the next one does
not find: the pool has one connection, which is as it was born, or another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest
from sqlalchemy import event, text

from hermetic import Database, HermeticError
from tests.behaviour.aftermath import check_nothing_left, on_mariadb, on_postgresql, on_sqlite
from tests.worlds import World

ENDS: Final = ("ok", "error", "rollback", "savepoint", "cancel")


def cases(*more: str) -> list[tuple[str, str]]:
    """Ways and ends: those three in every end, more ways in the ordinary one."""
    found = [(way, end) for end in ENDS for way in ("text", "function", "driver")]
    return [*found, *((way, "ok") for way in more)]


class Struck(BaseException):
    """What an interrupt raises in a thread, or a cancellation in a task."""


async def leave(
    world: World, db: Database, act: Callable[[Any], Any], end: str, **options: Any
) -> None:
    """Act in a scope that ends in one of the ways."""
    struck = asyncio.CancelledError if world.is_async else Struck
    try:
        async with world.session(db, **options) as session:
            if end == "savepoint":
                try:
                    async with world.session(db, propagation="nested") as inner:
                        await act(inner)
                        raise ZeroDivisionError
                except ZeroDivisionError:
                    return
            await act(session)
            if end == "error":
                await session.execute(text("SELECT * FROM nowhere"))
            if end == "rollback":
                raise ZeroDivisionError
            if end == "cancel":
                raise struck
    except (ZeroDivisionError, HermeticError, struck):
        if end in ("ok", "savepoint"):
            raise


async def probe(world: World, db: Database, sql: str) -> dict[str, Any]:
    async with world.session(db) as session:
        row = (await session.execute(text(sql))).mappings().one()
    return {name: str(value or "") for name, value in row.items()}


async def by_driver(world: World, session: Any, statement: str) -> None:
    """Execute it on the driver's own cursor."""
    connection = await session.connection()
    if world.is_async:
        raw = await connection.get_raw_connection()
        await _await_on(raw.driver_connection, statement)
    else:
        cursor = connection.connection.cursor()
        cursor.execute(statement)
        cursor.close()


async def _await_on(raw: Any, statement: str) -> None:
    if hasattr(raw, "is_in_transaction"):
        await raw.execute(statement)
        return
    cursor = raw.cursor()
    await cursor.execute(statement)
    await cursor.close()


# ---------------------------------------------------------------- PostgreSQL

PG_PROBE: Final = """
SELECT session_user, current_user, current_setting('search_path') AS search_path,
    coalesce(current_setting('app.tenant', true), '') AS tenant,
    current_setting('default_transaction_isolation') AS isolation,
    current_setting('default_transaction_read_only') AS readonly,
    current_setting('TimeZone') AS zone,
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) AS locks,
    (SELECT string_agg(c, ',') FROM pg_listening_channels() AS c) AS listening,
    (SELECT string_agg(name, ',') FROM pg_prepared_statements WHERE from_sql) AS prepared,
    (SELECT count(*) FROM pg_cursors) AS cursors,
    (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()) AS temporary,
    (SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings
        WHERE source = 'session' AND name <> 'transaction_isolation') AS settings
"""

PG_STATE: Final[Mapping[str, str]] = {
    "role": "SET ROLE pg_read_all_data",
    "user": "SET SESSION AUTHORIZATION stranger",
    "search_path": "SET search_path TO elsewhere",
    "setting": "SET statement_timeout = '7s'",
    "own setting": "SET app.tenant = 'a'",
    "config": "SELECT set_config('app.tenant', 'a', false)",
    "temporary table": "CREATE TEMP TABLE left_over (id int)",
    "advisory lock": "SELECT pg_advisory_lock(1)",
    "listening": "LISTEN somewhere",
    "prepared": "PREPARE left_over AS SELECT 1",
    "isolation": "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "default isolation": "SET default_transaction_isolation = 'serializable'",
    "read-only": "SET default_transaction_read_only = on",
    "time zone": "SET TIME ZONE 'Asia/Tokyo'",
    "cursor": "DECLARE left_over CURSOR WITH HOLD FOR SELECT 1",
}


def in_code(statement: str) -> str:
    if statement.startswith("SELECT"):
        statement = statement.replace("SELECT", "PERFORM")
        return f"BEGIN {statement}; END"
    return f"BEGIN EXECUTE {quoted(statement)}; END"


def quoted(statement: str) -> str:
    return "'" + statement.replace("'", "''") + "'"


def prepare_postgresql(world: World) -> None:
    world.do(
        "DO $do$ BEGIN CREATE ROLE stranger; EXCEPTION WHEN duplicate_object THEN NULL; END $do$"
    )
    for number, statement in enumerate(PG_STATE.values()):
        code = in_code(statement).replace(":", "\\:")
        world.do(
            f"CREATE FUNCTION leaves_{number}() RETURNS void LANGUAGE plpgsql AS $f$ {code}; $f$"
        )
        world.do(f"CREATE PROCEDURE does_{number}() LANGUAGE plpgsql AS $f$ {code}; $f$")


def pg_ways(number: int, statement: str) -> dict[str, str]:
    return {
        "text": statement,
        "comment": f"/* a */ -- b\n {statement}",
        "function": f"SELECT leaves_{number}()",
        "qualified function": f'SELECT x FROM "public"."leaves_{number}"() AS x',
        "block": f"DO $do$ {in_code(statement)}; $do$",
        "procedure": f"CALL does_{number}()",
        "several": f"SELECT 1; {statement}",
    }


@on_postgresql
@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "end"), cases("comment", "qualified function", "block", "procedure", "several")
)
async def test_nothing_is_carried_over_on_postgresql(world: World, way: str, end: str) -> None:
    if way == "several" and world.backend.name == "asyncpg":
        pytest.skip("asyncpg takes one statement at a time")
    prepare_postgresql(world)
    db = world.database(pool_size=1)
    born = await probe(world, db, PG_PROBE)
    carried = {}

    for number, (name, statement) in enumerate(PG_STATE.items()):

        async def act(session: Any, number: int = number, statement: str = statement) -> None:
            if way == "driver":
                await by_driver(world, session, statement)
            else:
                await session.execute(text(pg_ways(number, statement)[way].replace(":", "\\:")))

        await leave(world, db, act, end)
        found = await probe(world, db, PG_PROBE)
        if found != born:
            carried[name] = {k: v for k, v in found.items() if v != born[k]}

    assert carried == {}
    await check_nothing_left(world, db)


@on_postgresql
async def test_a_connection_that_a_function_was_called_on_is_set_back_and_kept(
    world: World,
) -> None:
    prepare_postgresql(world)
    db = world.database(pool_size=1)
    (pid,) = await pids(world, db)

    for name in ("ok", "error", "savepoint"):
        await leave(world, db, lambda s: s.execute(text("SELECT leaves_0()")), name)

    assert await pids(world, db) == [pid]


@on_postgresql
async def test_a_reader_is_set_back_to_a_reader(world: World) -> None:
    prepare_postgresql(world)
    db = world.database(reader_pool_size=1)
    sql = text(PG_PROBE)
    async with world.session(db, readonly=True) as session:
        born = (await session.execute(sql)).one()
    assert born.readonly == "on"

    async with world.session(db, readonly=True) as session:
        await session.execute(text("SELECT leaves_12(), leaves_2(), leaves_0()"))

    async with world.session(db, readonly=True) as session:
        assert (await session.execute(sql)).one() == born


async def pids(world: World, db: Database) -> list[int]:
    async with world.session(db) as session:
        return list((await session.execute(text("SELECT pg_backend_pid()"))).scalars())


@on_postgresql
async def test_what_triggers_leave_is_found_where_it_is_asked_for(world: World) -> None:
    """No text tells of a trigger: ``reset_connections="always"`` does not go by it."""
    prepare_postgresql(world)
    world.do(
        "CREATE FUNCTION triggered() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN"
        " PERFORM set_config('app.tenant', 'a', false); RETURN NEW; END; $f$"
    )
    world.do("CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION triggered()")
    tenants = {}

    for option in ("suspected", "always"):
        db = world.database(pool_size=1, reset_connections=option)
        async with world.session(db) as session:
            await session.execute(
                text("INSERT INTO users (username, balance) VALUES (:name, 1)"), {"name": option}
            )
        tenants[option] = (await probe(world, db, PG_PROBE))["tenant"]

    assert tenants == {"suspected": "a", "always": ""}


@on_postgresql
async def test_a_database_that_is_told_not_to_reset_goes_by_text_alone(world: World) -> None:
    prepare_postgresql(world)
    db = world.database(pool_size=1, reset_connections="never")
    born = await probe(world, db, PG_PROBE)

    await leave(world, db, lambda s: s.execute(text("SELECT leaves_5()")), "ok")
    by_function = await probe(world, db, PG_PROBE)
    await leave(world, db, lambda s: s.execute(text("SET app.tenant = 'b'")), "ok")

    assert by_function["tenant"] == "a"
    assert await probe(world, db, PG_PROBE) == born


@on_postgresql
async def test_a_setting_of_one_transaction_costs_no_connection(world: World) -> None:
    db = world.database(pool_size=1)
    before = await pids(world, db)

    async with world.session(db) as session:
        await session.execute(
            text("SELECT set_config('app.tenant', :tenant, true)"), {"tenant": "a"}
        )
        await session.execute(text("SET LOCAL search_path TO elsewhere"))

    assert await pids(world, db) == before
    assert (await probe(world, db, PG_PROBE))["tenant"] == ""


@on_postgresql
async def test_a_connection_that_somebody_else_sets_up_is_replaced(world: World) -> None:
    """A listener's own settings would be lost by a reset."""
    prepare_postgresql(world)
    db = world.database(pool_size=1)
    engine = db.async_engine.sync_engine if world.is_async else db.engine

    @event.listens_for(engine, "connect")
    def set_up(dbapi: Any, record: Any) -> None:
        cursor = dbapi.cursor()
        cursor.execute("SET app.tenant = 'theirs'")
        cursor.close()
        dbapi.commit()

    (pid,) = await pids(world, db)
    await leave(world, db, lambda s: s.execute(text("SELECT leaves_5()")), "ok")

    assert (await probe(world, db, PG_PROBE))["tenant"] == "theirs"
    assert await pids(world, db) != [pid]


@on_postgresql
async def test_a_connection_that_cannot_be_set_back_is_replaced(world: World) -> None:
    """Its server process is gone by the time it comes back."""
    prepare_postgresql(world)
    db = world.database(pool_size=1)
    before = await pids(world, db)

    async with world.session(db, propagation="not_supported") as session:
        await session.execute(text("SELECT leaves_5()"))
        world.do("SELECT pg_terminate_backend(:pid, 5000)", pid=before[0])

    assert await pids(world, db) != before
    await check_nothing_left(world, db)


@on_postgresql
async def test_what_is_done_outside_of_scopes_is_not_carried_over_either(world: World) -> None:
    prepare_postgresql(world)
    db = world.database(pool_size=1)
    born = await probe(world, db, PG_PROBE)

    if world.is_async:
        async with db.async_engine.connect() as connection:
            await connection.execute(text("SELECT leaves_5()"))
            await connection.commit()
    else:
        with db.engine.connect() as connection:
            connection.execute(text("SELECT leaves_5()"))
            connection.commit()
        raw = db.engine.raw_connection()
        raw.cursor().execute("SET app.tenant = 'raw'")
        raw.commit()
        raw.close()

    assert await probe(world, db, PG_PROBE) == born


@on_postgresql
async def test_a_connection_that_nothing_was_done_with_is_kept(world: World) -> None:
    db = world.database()
    numbers: set[int] = set()
    for _ in range(2):
        if world.is_async:
            async with db.async_engine.connect():
                pass
        else:
            with db.engine.connect():
                pass
        numbers |= {connection.number for connection in db.snapshot().connections}

    assert len(numbers) == 1


# ---------------------------------------------------------------- MariaDB

MY_PROBE: Final = """
SELECT @x AS x, @@sql_mode AS mode, @@time_zone AS zone, @@tx_isolation AS isolation,
    @@tx_read_only AS readonly, database() AS db, @@innodb_lock_wait_timeout AS lock_wait,
    coalesce(is_used_lock('left_over') = connection_id(), 0) AS locked, @@max_sort_length AS length
"""
# what must not be there
MY_ABSENT: Final = (
    "SELECT * FROM left_over",
    "EXECUTE left_over",
    "HANDLER users READ FIRST",
)

MY_STATE: Final[Mapping[str, str]] = {
    "user variable": "SET @x = 1",
    "assigned": "SELECT @x := 2",
    "selected into": "SELECT 3 INTO @x",
    "sql_mode": "SET SESSION sql_mode = ''",
    "variable": "SET max_sort_length = 77",
    "time zone": "SET time_zone = '+03:00'",
    "isolation": "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "read-only": "SET SESSION TRANSACTION READ ONLY",
    "temporary table": "CREATE TEMPORARY TABLE left_over (id int)",
    "named lock": "SELECT GET_LOCK('left_over', 1)",
    "prepared": "PREPARE left_over FROM 'SELECT 1'",
    "other database": "USE information_schema",
    "handler": "HANDLER users OPEN",
}
# what the server does not let functions do, or procedures either
MY_NOT_IN_FUNCTIONS: Final = frozenset(
    {"assigned", "prepared", "other database", "handler", "isolation", "read-only"}
)
MY_NOT_IN_PROCEDURES: Final = frozenset({"other database", "handler"})


def prepare_mariadb(world: World) -> dict[str, dict[str, str]]:
    ways: dict[str, dict[str, str]] = {}
    for number, (name, statement) in enumerate(MY_STATE.items()):
        own = ways[name] = {
            "text": statement,
            "comment": f"/* a */ -- b\n {statement}",
            "hidden comment": f"/*!50000 {statement} */",
            "several": f"SELECT 1; {statement}",
        }
        if name not in MY_NOT_IN_PROCEDURES:
            world.do(escaped(f"CREATE PROCEDURE does_{number}() BEGIN {statement}; END"))
            own["procedure"] = f"CALL does_{number}()"
            own["block"] = f"IF 1 = 1 THEN {statement}; END IF"
        if name not in MY_NOT_IN_FUNCTIONS:
            body = statement.replace("SELECT GET_LOCK", "SET @y = GET_LOCK")
            world.do(
                escaped(
                    f"CREATE FUNCTION leaves_{number}() RETURNS int BEGIN {body}; RETURN 1; END"
                )
            )
            own["function"] = f"SELECT leaves_{number}()"
    return ways


def escaped(statement: str) -> str:
    return statement.replace(":", "\\:")


async def absent(world: World, db: Database) -> list[str]:
    """What is there and must not be."""
    found = []
    for statement in MY_ABSENT:
        try:
            async with world.session(db) as session:
                await session.execute(text(statement))
        except HermeticError:
            continue
        found.append(statement)
    return found


@on_mariadb
@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "end"), cases("comment", "hidden comment", "block", "procedure", "several")
)
async def test_nothing_is_carried_over_on_mariadb(world: World, way: str, end: str) -> None:
    ways = prepare_mariadb(world)
    options: dict[str, Any] = {}
    if way == "several":
        options["connect_args"] = {"client_flag": 65536}  # CLIENT_MULTI_STATEMENTS
    db = world.database(pool_size=1, **options)
    born = await probe(world, db, MY_PROBE)
    carried: dict[str, Any] = {}

    for name, statement in MY_STATE.items():
        if way != "driver" and way not in ways[name]:
            continue

        async def act(session: Any, name: str = name, statement: str = statement) -> None:
            if way == "driver":
                await by_driver(world, session, statement)
            else:
                await session.execute(text(escaped(ways[name][way])))

        await leave(world, db, act, end)
        found = await probe(world, db, MY_PROBE)
        there = await absent(world, db)
        if found != born or there:
            carried[name] = {k: v for k, v in found.items() if v != born[k]}, there

    assert carried == {}
    await check_nothing_left(world, db)


@on_mariadb
async def test_a_session_is_set_back_without_another_connection(world: World) -> None:
    world.do(escaped("CREATE PROCEDURE does() BEGIN SET @x = 1; SET SESSION sql_mode = ''; END"))
    db = world.database(pool_size=1)
    born = await probe(world, db, MY_PROBE)
    names = "SELECT @@character_set_client, @@collation_connection, @@autocommit, connection_id()"

    async def seen() -> Any:
        async with world.session(db) as session:
            return (await session.execute(text(names))).one()

    before = await seen()
    for _ in range(3):
        async with world.session(db) as session:
            await session.execute(text("CALL does()"))
        assert await probe(world, db, MY_PROBE) == born
        assert await seen() == before


@on_mariadb
@pytest.mark.parametrize("option", ["init_command", "sql_mode"])
async def test_what_a_user_has_done_at_every_connect_is_done_by_another_connection(
    world: World, option: str
) -> None:
    world.do(escaped("CREATE PROCEDURE does() BEGIN SET @x = 1; END"))
    value = "SET @mine = 1" if option == "init_command" else "ANSI"
    db = world.database(pool_size=1, connect_args={option: value})
    numbers = []

    for _ in range(2):
        async with world.session(db) as session:
            numbers.append((await session.execute(text("SELECT connection_id()"))).scalar())
            await session.execute(text("CALL does()"))

    assert len(set(numbers)) == 2


@on_mariadb
async def test_locked_tables_are_free_again(world: World) -> None:
    db = world.database(pool_size=1)

    async with world.session(db, propagation="not_supported") as session:
        await session.execute(text("LOCK TABLES users WRITE"))

    world.do("INSERT INTO users (username, balance) VALUES ('ann', 1)")


@on_mariadb
async def test_the_level_of_the_next_transaction_is_nobody_elses(world: World) -> None:
    db = world.database(pool_size=1)
    numbers = []

    for _ in range(2):
        async with world.session(db, propagation="not_supported") as session:
            await session.execute(text("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"))
            numbers.append((await session.execute(text("SELECT connection_id()"))).scalar())

    assert len(set(numbers)) == 2


# ---------------------------------------------------------------- SQLite


@on_sqlite
@pytest.mark.parametrize("end", ["ok", "rollback", "cancel"])
async def test_nothing_is_carried_over_on_sqlite(world: World, end: str) -> None:
    db = world.database()
    probes = (
        "SELECT count(*) FROM sqlite_temp_master",
        "SELECT foreign_keys FROM pragma_foreign_keys",
        "SELECT group_concat(name) FROM pragma_database_list",
        "SELECT cache_size FROM pragma_cache_size",
    )

    async def seen() -> list[Any]:
        async with world.session(db) as session:
            return [(await session.execute(text(sql))).scalar() for sql in probes]

    born = await seen()
    for statement, options in (
        ("CREATE TEMP TABLE left_over (id int)", {}),
        ("PRAGMA foreign_keys = OFF", {"propagation": "not_supported"}),
        ("PRAGMA cache_size = 7", {}),
        ("ATTACH ':memory:' AS other", {"propagation": "not_supported"}),
    ):

        async def act(session: Any, statement: str = statement) -> None:
            await session.execute(text(statement.replace(":", "\\:")))

        await leave(world, db, act, end, **options)
        assert await seen() == born, statement
