"""DataFrames read inside a session's own transaction."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from pandas import DataFrame
from sqlalchemy import Column, Integer, MetaData, Table, bindparam, column, select, table, text

from hermetic import (
    AsyncSession,
    ConfigurationError,
    Database,
    DeadlineExceeded,
    FaultError,
    ForeignOwner,
    InvalidStatement,
    ScopeEnded,
    Session,
)
from hermetic.frames import read
from tests.databases import FamilyUrl
from tests.dropin.conftest import ground
from tests.dropin.ground import Ground
from tests.dropin.threads import in_thread
from tests.models import Base, Order, User

# A fixture, shared with the tests of the drop-in names.
__all__ = ["ground"]

USERS: Table = Base.metadata.tables["users"]


@pytest.fixture
def db(ground: Ground) -> Database:
    """A Database with two committed users."""
    db = ground.database()
    with db.session() as session:
        session.add_all([User(username="ann", balance=1), User(username="bob", balance=2)])
    return db


def names(frame: DataFrame) -> list[str]:
    return sorted(frame["username"])


# What can be read

THINGS: list[Any] = [
    pytest.param("users", id="table name"),
    pytest.param(USERS, id="Table"),
    pytest.param(User, id="mapped class"),
    pytest.param(select(User), id="select of a class"),
    pytest.param(select(USERS), id="select of a Table"),
    pytest.param(select(User).subquery(), id="subquery"),
    pytest.param(table("users", column("username"), column("balance")), id="lightweight table"),
    pytest.param("SELECT * FROM users", id="SQL"),
    pytest.param("\n  SELECT *\n  FROM users\n", id="SQL over lines"),
    pytest.param("SELECT\n*\nFROM\nusers", id="SQL without a space"),
    pytest.param(text("SELECT * FROM users"), id="text"),
]


@pytest.mark.parametrize("what", THINGS)
def test_everything_that_has_rows_is_read(db: Database, what: Any) -> None:
    with db.session() as session:
        frame = read(session, what)

    assert names(frame) == ["ann", "bob"]
    assert sorted(frame["balance"]) == [1, 2]


def test_a_class_gives_its_columns_by_their_names(db: Database) -> None:
    with db.session() as session:
        frame = read(session, User)

    assert list(frame.columns) == ["id", "username", "balance"]


def test_an_empty_table_gives_its_columns_all_the_same(db: Database) -> None:
    with db.session() as session:
        frame = read(session, Order)

    assert list(frame.columns) == ["id", "user_id", "item"]
    assert len(frame) == 0


@pytest.mark.parametrize(
    "what",
    [
        pytest.param("SELECT * FROM users WHERE balance > :least", id="string"),
        pytest.param(text("SELECT * FROM users WHERE balance > :least"), id="text"),
        pytest.param(select(User).where(User.balance > bindparam("least")), id="select"),
    ],
)
def test_parameters_are_bound(db: Database, what: Any) -> None:
    with db.session() as session:
        frame = read(session, what, params={"least": 1})

    assert names(frame) == ["bob"]


def test_options_go_to_pandas(db: Database) -> None:
    with db.session() as session:
        frame = read(session, User, index_col="username", dtype={"balance": "float64"})

    assert sorted(frame.index) == ["ann", "bob"]
    assert str(frame["balance"].dtype) == "float64"


def test_a_table_of_a_schema_is_named_with_its_schema(ground: Ground, db: Database) -> None:
    with db.session() as session:
        schema = {"sqlite": "main", "postgresql": "public"}.get(ground.family)
        schema = schema or session.scalar("SELECT database()")
        frame = read(session, f"{schema}.users")

    assert names(frame) == ["ann", "bob"]


def test_a_reflected_table_is_read(db: Database) -> None:
    reflected = Table("users", MetaData(), autoload_with=db.engine)

    with db.session() as session:
        frame = read(session, reflected)

    assert names(frame) == ["ann", "bob"]


@pytest.mark.parametrize("what", [None, 7, b"users", ["users"], User(username="ann"), object()])
def test_what_has_no_rows_is_refused(db: Database, what: Any) -> None:
    with db.session() as session, pytest.raises(ConfigurationError, match="cannot be read"):
        read(session, what)


# Inside the session's transaction


def test_uncommitted_rows_are_seen(ground: Ground, db: Database) -> None:
    with db.session() as session:
        session.execute("INSERT INTO users (username, balance) VALUES ('cid', 3)")
        frame = read(session, "users")
        others = ground.usernames()

    assert names(frame) == ["ann", "bob", "cid"]
    assert others == ["ann", "bob"]


@pytest.mark.parametrize("what", ["users", User, "SELECT * FROM users"])
def test_pending_objects_are_flushed_first(db: Database, what: Any) -> None:
    with db.session() as session:
        session.add(User(username="cid"))
        session.query(User).filter_by(username="ann").one().balance = 9
        frame = read(session, what)

    assert names(frame) == ["ann", "bob", "cid"]
    assert 9 in set(frame["balance"])


def test_it_never_commits(ground: Ground, db: Database) -> None:
    def fail() -> None:
        with db.session() as session:
            session.add(User(username="cid"))
            read(session, "users")
            raise LookupError

    with pytest.raises(LookupError):
        fail()

    assert ground.usernames() == ["ann", "bob"]


def test_it_never_commits_a_factorys_session(ground: Ground, db: Database) -> None:
    with Session(ground.engine()) as session:
        session.add(User(username="cid"))
        frame = read(session, "users")
        still_open = session.in_transaction()

    assert names(frame) == ["ann", "bob", "cid"]
    assert still_open
    assert ground.usernames() == ["ann", "bob"]


def test_it_goes_on_in_the_same_transaction(ground: Ground, db: Database) -> None:
    with db.session() as session:
        session.add(User(username="cid"))
        read(session, "users")
        session.add(User(username="dan"))

    assert ground.usernames() == ["ann", "bob", "cid", "dan"]


def test_a_savepoint_is_read_from_inside(db: Database) -> None:
    with db.session() as session:
        savepoint = session.begin_nested()
        session.add(User(username="cid"))
        inside = read(session, "users")
        savepoint.rollback()
        outside = read(session, "users")

    assert names(inside) == ["ann", "bob", "cid"]
    assert names(outside) == ["ann", "bob"]


def test_a_read_only_scope_reads(db: Database) -> None:
    with db.session(readonly=True) as session:
        frame = read(session, User)

    assert names(frame) == ["ann", "bob"]


def test_the_objects_of_the_session_are_left_alone(db: Database) -> None:
    with db.session() as session:
        ann = session.query(User).filter_by(username="ann").one()
        read(session, "users")

        assert session.query(User).filter_by(username="ann").one() is ann


# The scope's rules


def test_a_stranger_is_refused(db: Database) -> None:
    with db.session() as session, pytest.raises(ForeignOwner):
        in_thread(lambda: read(session, "users"))


def test_an_ended_scope_is_refused(db: Database) -> None:
    with db.session() as session:
        pass

    with pytest.raises(ScopeEnded):
        read(session, "users")


def test_the_deadline_of_the_scope_is_kept(ground: Ground, db: Database) -> None:
    slow = {
        "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
        " WHERE i < 1000000000) SELECT count(*) AS c FROM n",
        "postgresql": "SELECT pg_sleep(30)",
        "mariadb": "SELECT sleep(30)",
    }[ground.family]

    def block() -> None:
        with db.session(timeout=0.1) as session:
            read(session, slow)

    with pytest.raises(DeadlineExceeded):
        block()


def test_an_error_of_the_database_is_hermetics_own(db: Database) -> None:
    with pytest.raises(InvalidStatement) as raised, db.session() as session:
        read(session, "SELECT no_such_column FROM users")

    assert raised.value.scope is not None


def test_a_conflict_in_a_read_has_the_unit_run_again(ground: Ground, db: Database) -> None:
    statement = {
        "sqlite": None,
        "postgresql": "DO $$ BEGIN RAISE EXCEPTION 'conflict' USING ERRCODE = '40001'; END $$",
        "mariadb": "SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213",
    }[ground.family]
    if statement is None:
        pytest.skip("SQLite has no way to raise a conflict at will")
    runs = []

    @db.session(retry=3)
    def unit(session: Session) -> DataFrame:
        runs.append(session)
        return read(session, f"{statement} -- " if len(runs) < 3 else "users")

    frame = unit()

    assert len(runs) == 3
    assert names(frame) == ["ann", "bob"]


def test_it_counts_as_a_statement_of_the_scope(db: Database) -> None:
    with db.session() as session:
        read(session, "SELECT username FROM users")
        (scope,) = db.snapshot().scopes

    assert scope.last_statement == "SELECT username FROM users"
    assert scope.statements == 1


# asyncio


async def test_an_async_session_is_awaited(ground: Ground) -> None:
    db = Database(ground.bare_url)

    async with db.session() as session:
        session.add(User(username="ann"))
        frame = await read(session, User)
        others = ground.usernames()
    await db.aclose()

    assert names(frame) == ["ann"]
    assert others == []


@pytest.mark.parametrize("what", THINGS)
async def test_an_async_session_reads_everything_too(ground: Ground, what: Any) -> None:
    async with ground.async_engine() as engine, AsyncSession(engine) as session:
        session.add_all([User(username="ann", balance=1), User(username="bob", balance=2)])
        frame = await read(session, what)

    assert names(frame) == ["ann", "bob"]
    assert ground.usernames() == []


# A name is a name


@pytest.mark.parametrize(
    "name",
    [
        "users;DROP/**/TABLE/**/users",
        'users";DROP/**/TABLE/**/users;--',
        "users`;DROP/**/TABLE/**/users;--",
        "users--",
        "users/**/WHERE/**/1=0",
        "(SELECT/**/1)",
        "nobody.users",
    ],
)
def test_a_table_name_is_never_part_of_the_sql(ground: Ground, db: Database, name: str) -> None:
    def block() -> None:
        with db.session() as session:
            read(session, name)

    with pytest.raises(FaultError):
        block()

    assert ground.usernames() == ["ann", "bob"]


def test_a_table_with_an_awkward_name_is_found(db: Database) -> None:
    Table("Total-2024", MetaData(), Column("id", Integer)).create(db.engine)

    with db.session() as session:
        frame = read(session, "Total-2024")

    assert list(frame.columns) == ["id"]


def test_a_value_is_never_part_of_the_sql(ground: Ground, db: Database) -> None:
    with db.session() as session:
        frame = read(
            session,
            "SELECT * FROM users WHERE username = :name",
            params={"name": "x' OR '1'='1"},
        )

    assert len(frame) == 0
    assert ground.usernames() == ["ann", "bob"]


# pandas is optional


@pytest.fixture
def no_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    # what Python takes for "this module cannot be imported"
    monkeypatch.setitem(sys.modules, "pandas", None)


@pytest.mark.sqlite
@pytest.mark.usefixtures("no_pandas")
def test_without_pandas_the_error_names_the_extra(family_url: FamilyUrl) -> None:
    with (
        Database(family_url("sqlite")) as db,
        db.session() as session,
        pytest.raises(ConfigurationError, match=r"pip install 'hermetic\[pandas\]'"),
    ):
        read(session, "users")


@pytest.mark.sqlite
@pytest.mark.usefixtures("no_pandas")
def test_without_pandas_sessions_work(family_url: FamilyUrl) -> None:
    with Database(family_url("sqlite")) as db, db.session() as session:
        assert session.scalar("SELECT 1") == 1


def test_a_column_expression_is_read(db: Database) -> None:
    total = select((User.balance * 10).cast(Integer).label("tenfold")).order_by(User.balance)

    with db.session() as session:
        frame = read(session, total)

    assert list(frame["tenfold"]) == [10, 20]
