"""Tenants of each kind, with a table of their own rows each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hermetic import Database, DatabasePerTenant, RowSecurity, SchemaPerTenant
from hermetic.tenants import acreate_tenant, create_tenant, protect
from tests.behaviour.own import OwnServer
from tests.worlds import World

TENANTS = ("ann", "bob")


class Base(DeclarativeBase):
    pass


class Note(Base):
    """``tenant`` is whose it was when it was written, whatever the database says."""

    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(String(63))


class Shared(DeclarativeBase):
    pass


class Row(Shared):
    """As Note, in one table for all."""

    __tablename__ = "notes_of_all"
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(String(63))


protect(Row.metadata.tables["notes_of_all"])


class Shop:
    """A Database with tenants, and the class of what they have."""

    def __init__(self, world: World, db: Database, note: type[Any]) -> None:
        self.world = world
        self.db = db
        self.note = note
        self.table = note.__tablename__

    def session(self, **options: Any) -> Any:
        return self.world.session(self.db, **options)

    async def write(self, tenant: str) -> None:
        async with self.session(tenant=tenant, propagation="requires_new") as session:
            session.add(self.note(tenant=tenant))

    async def names(self, tenant: str, **options: Any) -> list[str]:
        async with self.session(tenant=tenant, **options) as session:
            rows = await session.scalars(f"SELECT tenant FROM {self.table} ORDER BY id")
            return list(rows.all())


async def schemas(world: World, own: OwnServer, **options: Any) -> Shop:
    own.do("GRANT CREATE ON DATABASE app TO app")
    tenants = SchemaPerTenant(schema="of_{tenant}", **options.pop("tenants", {}))
    db = world.database(tenants=tenants, **options)
    for name in TENANTS:
        await make_room(world, db, name)
    return Shop(world, db, Note)


async def rows(world: World, own: OwnServer, **options: Any) -> Shop:
    plain = world.database()
    if world.is_async:
        async with plain.async_engine.begin() as connection:
            await connection.run_sync(Shared.metadata.create_all)
    else:
        Shared.metadata.create_all(plain.engine)
    db = world.database(tenants=RowSecurity(**options.pop("tenants", {})), **options)
    return Shop(world, db, Row)


async def databases(
    world: World, url_of: Callable[[str], str], names: tuple[str, ...] = TENANTS, **options: Any
) -> Shop:
    tenants = DatabasePerTenant(url=url_of, **options.pop("tenants", {}))
    db = world.database(tenants=tenants, **options)
    for name in names:
        await make_room(world, db, name)
    return Shop(world, db, Note)


async def make_room(world: World, db: Database, name: str) -> None:
    if world.is_async:
        await acreate_tenant(db, name, Base.metadata)
    else:
        create_tenant(db, name, Base.metadata)
