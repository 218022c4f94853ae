"""The places of SQLAlchemy that hermetic stands on and that no documentation promises.

When one of these fails on a new release of SQLAlchemy, look at what became of the place before
anything else.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import create_engine, exc, make_url, orm, pool, select, util
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.ext import asyncio as sa_asyncio
from sqlalchemy.orm.attributes import instance_state
from sqlalchemy.orm.base import LoaderCallableStatus
from sqlalchemy.orm.state import InstanceState
from sqlalchemy.pool import base as pool_base

from hermetic import Session
from hermetic.dialects.drivers import oldest_sound
from tests.backends import BACKENDS
from tests.models import Base, Order, User


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_the_release_is_one_that_keeps_pool_slots() -> None:
    """Before 2.0.56 and 2.1.7 a task cancelled while its connection is reset loses the slot."""
    version = tuple(int(part) for part in sqlalchemy.__version__.split(".")[:3])

    assert version >= oldest_sound(version)


# ---------------------------------------------------------------- sessions


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (orm.Session._execute_internal, ["self", "statement", "params"]),
        (orm.Session._autobegin_t, ["self", "begin"]),
        (orm.Session._save_or_update_state, ["self", "state"]),
        (orm.Session._save_or_update_impl, ["self", "state"]),
        (orm.Session._get_impl, ["self", "entity", "primary_key_identity", "db_load_fn"]),
        (orm.Session._is_clean, ["self"]),
        (orm.Session.flush, ["self", "objects"]),
        (orm.Session.begin, ["self", "nested"]),
        (orm.SessionTransaction._connection_for_bind, ["self", "bind", "execution_options"]),
        (orm.SessionTransaction.__init__, ["self", "session", "origin", "parent"]),
        (InstanceState._load_expired, ["self", "state", "passive"]),
        (pool.Pool._do_get, ["self"]),
        (pool.Pool._do_return_conn, ["self", "record"]),
        (pool.Pool.recreate, ["self"]),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_a_method_takes_what_it_took(method: Any, expected: list[str]) -> None:
    assert parameters(method)[: len(expected)] == expected
    if len(expected) == 1 or expected[-1] not in ("params", "db_load_fn", "parent"):
        assert parameters(method) == expected


def test_every_way_to_execute_goes_through_one_method() -> None:
    seen: list[str] = []

    class Watched(orm.Session):
        def _execute_internal(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append(str(statement))
            return super()._execute_internal(statement, *args, **kwargs)

    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Watched(engine) as session:
        statement = select(User.id)
        session.execute(statement)
        session.scalar(statement)
        session.scalars(statement).all()
        session.query(User.id).all()
    engine.dispose()

    assert len(seen) == 4


def test_every_way_to_a_connection_goes_through_one_method() -> None:
    seen: list[str] = []

    class Watched(orm.SessionTransaction):
        def _connection_for_bind(self, bind: Any, execution_options: Any) -> Any:
            seen.append("nested" if self.nested else "outer")
            return super()._connection_for_bind(bind, execution_options)

    class WatchedSession(orm.Session):
        def _autobegin_t(self, begin: bool = False) -> orm.SessionTransaction:
            if self._transaction is None:
                return Watched(self, orm.SessionTransactionOrigin.AUTOBEGIN)
            return super()._autobegin_t(begin)

    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    uses: list[Any] = [
        lambda session: session.execute(select(1)),
        lambda session: session.connection(),
        lambda session: (session.add(User(username="a")), session.flush()),
        lambda session: session.get(User, 1),
        lambda session: session.query(User).all(),
    ]
    for use in uses:
        seen.clear()
        with WatchedSession(engine) as session:
            use(session)
        assert seen, inspect.getsource(use)
    engine.dispose()


def test_every_object_that_comes_into_a_session_goes_through_one_method() -> None:
    seen: list[str] = []

    class Watched(orm.Session):
        def _save_or_update_impl(self, state: Any) -> None:
            seen.append(getattr(state.obj(), "username", "") or state.obj().item)
            super()._save_or_update_impl(state)

    with Watched() as session:
        session.add(User(username="added"))
        session.add_all([User(username="all")])
        owner = User(username="cascading")
        owner.orders = [Order(item="cascaded")]
        session.add(owner)

    assert seen == ["added", "all", "cascading", "cascaded"]


def test_a_transaction_knows_its_connections_and_its_session() -> None:
    engine = create_engine("sqlite://")
    with orm.Session(engine) as session:
        session.connection()
        transaction = session.get_transaction()
        assert transaction is not None

        assert engine in transaction._connections
        assert callable(transaction._remove_snapshot)
        assert transaction.session is session
        assert transaction is session._transaction
        assert session.begin_nested().parent is transaction
    engine.dispose()


def test_an_async_session_makes_its_sync_one_from_the_class_it_names() -> None:
    assert sa_asyncio.AsyncSession.sync_session_class is orm.Session


# ---------------------------------------------------------------- objects


def test_an_object_is_asked_for_its_own_loader_before_the_attribute_is() -> None:
    """What sealed.py does is put a dict with every key into this place."""
    asked: list[str] = []

    class Loaders(dict[str, Any]):
        def __contains__(self, key: object) -> bool:
            return True

        def __getitem__(self, key: str) -> Any:
            asked.append(key)
            return lambda state, passive: LoaderCallableStatus.ATTR_EMPTY

    user = User()
    state = instance_state(user)
    assert not state.callables
    state.callables = Loaders()

    username: Any = user.username
    assert username is None
    assert asked == ["username"]


def test_an_expired_object_is_loaded_through_one_method_that_can_be_set_per_object() -> None:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with orm.Session(engine) as session:
        user = User(username="ann")
        session.add(user)
        session.commit()
        state = instance_state(user)
        asked: list[Any] = []

        def load(state: Any, passive: Any) -> Any:
            asked.append(state)
            return InstanceState._load_expired(state, state, passive)

        state._load_expired = load  # type: ignore[method-assign]
        assert user.username == "ann"
        assert asked == [state]
    engine.dispose()


def test_an_attribute_has_its_loader_where_it_is_looked_for() -> None:
    manager = instance_state(User()).manager

    assert callable(manager["orders"].impl.callable_)
    assert manager["username"].impl.callable_ is None


# ---------------------------------------------------------------- pools and dialects


POOLS = [
    value
    for value in vars(pool).values()
    if inspect.isclass(value) and issubclass(value, pool.Pool) and value is not pool.Pool
]


@pytest.mark.parametrize("kind", POOLS, ids=lambda kind: kind.__name__)
def test_every_pool_hands_out_and_takes_back_in_the_two_methods(kind: type[pool.Pool]) -> None:
    assert "_do_get" in dir(kind)
    assert parameters(kind._do_get) == ["self"]
    assert len(parameters(kind._do_return_conn)) == 2
    assert parameters(kind.recreate) == ["self"]


def test_a_connection_is_made_in_the_one_function_that_is_looked_for() -> None:
    """A connect is told from a statement by this name in the traceback."""
    code = pool_base._ConnectionRecord._ConnectionRecord__connect.__code__  # type: ignore[attr-defined]

    assert code.co_name == "__connect"
    assert pool_base.__name__ == "sqlalchemy.pool.base"


def test_a_pool_makes_its_records_in_a_method_that_can_be_set_on_it() -> None:
    """As the pool of a sandbox has it, whose records share one connection."""
    engine = create_engine("sqlite://", poolclass=pool.QueuePool)
    made: Any = engine.pool
    real = engine.raw_connection()
    seen: list[Any] = []

    def view() -> Any:
        record: Any = pool_base._ConnectionRecord(made, connect=False)
        assert record.dbapi_connection is None
        record.dbapi_connection = real.dbapi_connection
        record.starttime = 1.0
        seen.append(record)
        return record

    made._create_connection = view
    other = engine.raw_connection()

    assert other._connection_record is seen[0]
    assert other.dbapi_connection is real.dbapi_connection
    other.close()
    real.close()
    engine.dispose()


DIALECT_METHODS = {
    "do_begin": 1,
    "do_commit": 1,
    "do_rollback": 1,
    "do_execute": 4,
    "do_executemany": 4,
    "do_execute_no_params": 3,
    "do_savepoint": 2,
    "do_rollback_to_savepoint": 2,
    "do_release_savepoint": 2,
    "do_ping": 1,
    "set_isolation_level": 2,
}


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
def test_a_dialect_takes_what_it_took(backend: Any) -> None:
    dialect = make_url(f"{backend.scheme}://").get_dialect()

    for name, count in DIALECT_METHODS.items():
        taken = [
            parameter
            for parameter in parameters(getattr(dialect, name))[1:]
            if parameter not in ("kw", "kwargs")
        ]
        assert len(taken) == count, name
    assert issubclass(dialect, DefaultDialect)


@pytest.mark.parametrize("name", sorted({*DIALECT_METHODS, "connect"}))
def test_an_engine_calls_what_is_set_on_its_own_dialect(name: str) -> None:
    engine = create_engine("sqlite://", pool_pre_ping=True)
    dialect: Any = engine.dialect
    seen: list[str] = []
    original = getattr(dialect, name)

    def watch(*args: Any, **kwargs: Any) -> Any:
        seen.append(name)
        return original(*args, **kwargs)

    setattr(dialect, name, watch)
    isolation = {"isolation_level": "SERIALIZABLE"}
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x INTEGER)")
        connection.exec_driver_sql("INSERT INTO t VALUES (?)", [(1,), (2,)])
        connection.exec_driver_sql("SELECT 1", execution_options={"no_parameters": True})
        nested = connection.begin_nested()
        nested.rollback()
        connection.begin_nested().commit()
        connection.commit()
        connection.exec_driver_sql("SELECT 1")
    with engine.connect().execution_options(**isolation) as connection:
        connection.exec_driver_sql("SELECT 1")
    engine.dispose()

    assert seen


def test_an_error_handler_may_change_what_becomes_of_connection_and_pool() -> None:
    for name in ("is_disconnect", "invalidate_pool_on_disconnect", "sqlalchemy_exception"):
        assert name in ExceptionContext.__annotations__


def test_an_error_of_a_statement_carries_what_is_copied() -> None:
    error = exc.DBAPIError("SELECT 1", {"a": 1}, ValueError("x"), hide_parameters=True)

    assert (error.statement, error.params, error.hide_parameters) == ("SELECT 1", {"a": 1}, True)
    assert isinstance(error.orig, ValueError)
    assert (error.detail, error.connection_invalidated) == ([], False)


# ---------------------------------------------------------------- asyncio


async def test_the_bridge_between_the_worlds_is_there() -> None:
    async def answer() -> int:
        return 1

    def work() -> Any:
        return util.await_only(answer())

    assert await util.greenlet_spawn(work) == 1
    assert asyncio._get_running_loop() is asyncio.get_running_loop()


def test_a_statement_with_its_values_is_known_by_a_key() -> None:
    first, second = (select(User.id).where(User.id == each)._generate_cache_key() for each in "ab")

    assert first is not None
    assert second is not None
    assert first.key == second.key
    assert [bind.value for bind in first.bindparams] == ["a"]


def test_hermetic_overrides_only_what_is_there() -> None:
    """A private method that SQLAlchemy renames would be overridden in vain."""
    inside = {name for name in dir(orm.Session) if not name.startswith("__")}
    overridden = {name for name in vars(Session) if name in inside and name.startswith("_")}

    assert overridden >= {"_execute_internal", "_autobegin_t", "_save_or_update_impl", "_get_impl"}
