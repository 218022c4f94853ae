"""Statements that come again to a cache of reads: what is known of them changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import (
    JSON,
    Boolean,
    Integer,
    MetaData,
    Table,
    TypeDecorator,
    bindparam,
    cast,
    column,
    func,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hermetic import Cache, Database, SchemaPerTenant
from hermetic.cache.keeping import Kept
from hermetic.tenants import acreate_tenant, create_tenant
from tests.behaviour.test_cache import CACHED, FEW, FOLDER, cached_database, filled
from tests.models import Base, User
from tests.worlds import World

USES: list[Callable[[Any], Any]] = [
    lambda result: result.all(),
    lambda result: (result.fetchmany(1), result.fetchall(), result.all()),
    lambda result: [row._asdict() for row in result],
    lambda result: (result.first(), result.closed),
    lambda result: result.scalars(1).all(),
    lambda result: result.mappings().all(),
    lambda result: (result.keys(), result.columns(1, 0).all()),
    lambda result: result.unique().all(),
    lambda result: list(result.yield_per(1).partitions()),
    lambda result: result.unique().scalars().all(),
    lambda result: result.freeze()().all(),
    lambda result: (result.fetchone(), result.close(), result.closed),
    lambda result: result.one(),
    lambda result: result.yield_per(1).unique().all(),
]

FORMS: dict[str, Callable[[], Any]] = {
    "columns": lambda: select(User.id, User.username).order_by(User.id),
    "bool": lambda: select(User.id, cast(User.id > 1, Boolean), literal("x")).order_by(User.id),
    "the same twice": lambda: select(User.id, User.username, User.id).order_by(User.id),
    "in a list": lambda: select(User.id, User.username).where(User.id.in_([1, 2])),
    "core": lambda: select(User.__table__).order_by(User.__table__.c.id),
    "text": lambda: text("SELECT id, username FROM users ORDER BY id"),
    "string": lambda: "SELECT id, username FROM users ORDER BY id",
    "entity and column": lambda: select(User, User.username).order_by(User.id),
}


def used(result: Any, use: Callable[[Any], Any]) -> Any:
    try:
        return _plain(use(result))
    except InvalidRequestError as error:
        return type(error), str(error)


def _plain(found: Any) -> Any:
    if isinstance(found, (list, tuple)):
        return [type(found).__name__, *map(_plain, found)]
    if isinstance(found, Mapping):
        return _plain(list(found.items()))
    return (type(found).__name__, str(getattr(found, "username", found)))


def known(world: World) -> list[Any]:
    """How results of statements that are remembered are made."""
    return [type(each.maker).__name__ for each in world.db.cache.repeated.values()]


async def outcomes(world: World, make: Callable[[], Any], options: Any) -> list[Any]:
    found = []
    kept = make()
    for use in USES:
        for statement in (make(), kept):
            async with world.session(readonly=True) as session:
                result = await session.execute(statement, execution_options=options)
                found.append((type(result).__name__, used(result, use)))
    return found


# how the results of these are made once they are known; of the others by SQLAlchemy
MADE = {
    **dict.fromkeys(("columns", "bool", "in a list"), "_OrmResults"),
    **dict.fromkeys(("core", "text", "string"), "_CursorResults"),
}


@FEW
async def test_results_are_used_as_ever(world: World) -> None:
    cached_database(world)
    await filled(world)

    for name, make in FORMS.items():
        plain = await outcomes(world, make, {"cache": False})
        # the second half as they are known by then
        assert await outcomes(world, make, CACHED) == plain, name
        assert await outcomes(world, make, CACHED) == plain, name
        assert set(known(world)) == {MADE.get(name, "NoneType")}, name
        world.db.cache.repeated.clear()


@FEW
async def test_what_is_known_of_a_statement_keeps_nothing_old(world: World) -> None:
    cached_database(world)
    await filled(world)
    entity = select(User).where(User.id == 1)
    others = [
        select(User.username).where(User.id == 1),
        "SELECT username FROM users WHERE id = 1",
        text("SELECT username FROM users WHERE id = :id").bindparams(id=1),
    ]

    async def names() -> list[str]:
        async with world.session(readonly=True) as session:
            first = (await session.scalars(entity)).one().username
            rest = [await session.scalar(each, execution_options=CACHED) for each in others]
            return [first, *rest]

    for name in ("ann", "anna", "anne"):
        async with world.session() as session:
            await session.execute(update(User).where(User.id == 1).values(username=name))
        for _ in range(4):
            assert await names() == [name] * 4
        async with world.session(isolation=None) as session:
            (await session.get(User, 1)).username = "own"
            own = await session.scalar(others[0], execution_options=CACHED)
            assert ((await session.scalars(entity)).one().username, own) == ("own", "own")
            session.rollback_only()

    kept = [each for each in world.db.cache.kept.values() if type(each) is Kept]
    assert [each.statement() for each in kept] == [entity]
    assert len(known(world)) == 3


@FEW
async def test_values_tell_statements_apart(world: World) -> None:
    cached_database(world)
    await filled(world)
    wanted: Any = bindparam("wanted")
    statement = select(User.username).where(User.id == wanted)
    listed = [1]
    changing = select(User).where(User.id.in_(listed)).order_by(User.id)

    for _ in range(3):
        async with world.session(readonly=True) as session:
            for key, name in ((1, "ann"), (2, "bob")):
                found = [
                    await session.scalar(statement, {"wanted": key}, execution_options=CACHED),
                    await session.scalar(
                        "SELECT username FROM users WHERE id = :id",
                        {"id": key},
                        execution_options=CACHED,
                    ),
                    await session.scalar(
                        select(User.username).where(User.id == key), execution_options=CACHED
                    ),
                ]
                assert found == [name] * 3
            assert len((await session.scalars(changing)).all()) == len(listed)
    listed.append(2)
    async with world.session(readonly=True) as session:
        plain = world.database()
        expected = 0
        async with world.session(plain, readonly=True) as other:
            expected = len((await other.scalars(changing)).all())
        assert len((await session.scalars(changing)).all()) == expected


class Wanted(TypeDecorator[int]):
    """Its parameters are what was said last."""

    impl = Integer
    cache_ok = True
    now = 1

    def process_bind_param(self, value: Any, dialect: Any) -> int:
        return self.now


# each statement has columns of its own, which are not those of the one before
OWN: dict[str, Callable[[], tuple[Any, Any]]] = {
    "label": lambda: _with_column(select((User.id + 0).label("n")).where(User.id == 1), 0),
    "count": lambda: _with_column(select(func.max(User.id), func.min(User.id)), 1),
    "core": lambda: _with_column(select(func.count(User.__table__.c.id).label("n")), 0),
    "alias": lambda: _with_column(select(User.__table__.alias()), 0),
    "subquery": lambda: _with_column(select(select(User.id).subquery().c.id), 0),
    "text": lambda: _with_column(text("SELECT 1 AS n FROM users").columns(column("n")), 0),
}


def _with_column(statement: Any, at: int) -> tuple[Any, Any]:
    return statement, statement.selected_columns.values()[at]


@FEW
async def test_a_result_is_asked_by_the_columns_of_its_own_statement(world: World) -> None:
    cached_database(world)
    await filled(world)

    for name, make in OWN.items():
        for _ in range(4):
            statement, own = make()
            found = []
            for options in ({"cache": False}, CACHED):
                async with world.session(readonly=True) as session:
                    result = await session.execute(statement, execution_options=options)
                    found.append(result.mappings().first()[own])
            assert found[0] == found[1], name


class Own(DeclarativeBase):
    pass


class Tagged(Own):
    __tablename__ = "tagged"
    id: Mapped[int] = mapped_column(primary_key=True)
    own: Mapped[int] = mapped_column(Wanted)
    variant: Mapped[int] = mapped_column(Integer().with_variant(Wanted(), "sqlite"))
    data: Mapped[dict[str, int]] = mapped_column(JSON)


def test_a_value_that_may_change_is_looked_at_each_time(tmp_path: Path) -> None:
    with Database(f"sqlite:///{tmp_path}/own", cache=Cache(entities=(Tagged,))) as db:
        with db.session() as session:
            Own.metadata.create_all(session.connection())
        for now in (1, 2):
            Wanted.now = now
            with db.session() as session:
                session.add(Tagged(id=now, own=0, variant=0, data={"now": now}))
        data = {"now": 0}
        conditions = [Tagged.own == 0, Tagged.variant == 0, Tagged.data == data]
        statements: list[Any] = [select(Tagged).where(each) for each in conditions]
        statements += [select(Tagged.id).where(each) for each in conditions]

        for now in (1, 1, 1, 2):
            Wanted.now = data["now"] = now
            with db.session(readonly=True) as session:
                found = [session.scalars(each).one() for each in statements]
            assert [getattr(each, "id", each) for each in found] == [now] * len(statements)


@FEW
async def test_long_lists_are_not_remembered(world: World) -> None:
    cached_database(world)
    await filled(world)
    for most in (100, 101):
        statement = select(User.username).where(User.id.in_(range(1, most + 1)))
        for _ in range(3):
            async with world.session(readonly=True) as session:
                found = await session.scalars(statement, execution_options=CACHED)
                assert set(found) == {"ann", "bob"}
        assert len(known(world)) == 1, most


@FEW
async def test_tenants_ask_for_their_own_again(world: World) -> None:
    shared = Path(FOLDER.name) / f"{uuid4()}.cache"
    db: Database = world.database(
        cache=Cache(entities=(User,), shared=shared), tenants=SchemaPerTenant()
    )
    for tenant in ("ann", "bob"):
        if world.is_async:
            await acreate_tenant(db, tenant, Base.metadata)
        else:
            create_tenant(db, tenant, Base.metadata)
        async with world.session(tenant=tenant) as session:
            session.sync_session.add(User(id=1, username=tenant))
    entity, count = select(User), select(func.max(User.username))

    for _ in range(4):
        for tenant in ("ann", "bob"):
            async with world.session(tenant=tenant, readonly=True) as session:
                found = (await session.scalars(entity)).one().username
                assert (found, await session.scalar(count, execution_options=CACHED)) == (
                    tenant,
                    tenant,
                )


@FEW
async def test_what_a_table_depends_on_may_be_told_later(world: World) -> None:
    cached_database(world)
    await filled(world)

    async def asked() -> int:
        async with world.session(readonly=True) as session:
            await session.execute("SELECT count(*) FROM orders", execution_options=CACHED)
            return int(session.scope.statements)

    assert [await asked() for _ in range(3)] == [1, 0, 0]
    later = MetaData()
    Table("orders", later, info={"cache_depends": ["users"]})
    world.db.cache.following.add(later)
    assert [await asked() for _ in range(2)] == [1, 0]
    async with world.session() as session:
        await session.execute(update(User).values(balance=1))
    assert await asked() == 1
