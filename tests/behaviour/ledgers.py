"""Two databases as one group: users in the first, a journal of them in the second."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import MetaData, String, create_engine, make_url, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hermetic import Database, Group
from tests.models import Base
from tests.worlds import World

SYNC: Final = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
}


class Journal(DeclarativeBase):
    metadata = MetaData(info={"bind_key": "audit"})


class Entry(Journal):
    __tablename__ = "entries"

    id: Mapped[int] = mapped_column(primary_key=True)
    said: Mapped[str] = mapped_column(String(50), unique=True)


def rows(url: str, sql: str) -> list[Any]:
    """What another connection sees in a database at this moment."""
    parsed = make_url(url)
    engine = create_engine(parsed.set(drivername=SYNC[parsed.get_backend_name()]))
    try:
        with engine.connect() as connection:
            return list(connection.execute(text(sql)))
    finally:
        engine.dispose()


def seen(url: str, sql: str, column: int = 0) -> list[Any]:
    """A column of that."""
    return [row[column] for row in rows(url, sql)]


def do(url: str, sql: str) -> None:
    """A change made by another connection, in autocommit."""
    parsed = make_url(url)
    engine = create_engine(parsed.set(drivername=SYNC[parsed.get_backend_name()]))
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(sql)
    finally:
        engine.dispose()


def name_of(url: str) -> str:
    """A name for the group of a database, which no other test's has: XA knows no databases."""
    return f"g{zlib.crc32(str(make_url(url).database).encode()):08x}"


def prepared(url: str, name: str) -> list[str]:
    """What a database's server keeps prepared, of everybody (PostgreSQL) or of a group (XA)."""
    if url.startswith("postgresql"):
        return seen(url, "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
    if not url.startswith("mysql"):
        return []
    found = [each.decode() for each in seen(url, "XA RECOVER", column=3)]
    return [each for each in found if each.startswith(f"{name}:")]


class Pair:
    """A group of two databases, and what others see in them."""

    def __init__(self, group: Group, main_url: str, audit_url: str) -> None:
        self.group: Any = group
        self.main, self.audit = group.databases["main"], group.databases["audit"]
        self.main_url, self.audit_url = main_url, audit_url

    def prepared(self) -> list[str]:
        urls = self.main_url, self.audit_url
        return sorted({each for url in urls for each in prepared(url, self.group.name)})

    def users(self) -> list[str]:
        return seen(self.main_url, "SELECT username FROM users ORDER BY id")

    def entries(self) -> list[str]:
        return seen(self.audit_url, "SELECT said FROM entries ORDER BY id")


def create(main_url: str, audit_url: str) -> None:
    """Make the tables of both."""
    for url, metadata in ((main_url, Base.metadata), (audit_url, Journal.metadata)):
        parsed = make_url(url)
        engine = create_engine(parsed.set(drivername=SYNC[parsed.get_backend_name()]))
        metadata.create_all(engine)
        engine.dispose()


@asynccontextmanager
async def pair(
    world: World,
    main_url: str,
    audit_url: str,
    *,
    through: str | None = None,
    main: dict[str, Any] | None = None,
    audit: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Pair]:
    """A group for the time of a block.

    :param through: how the second database is reached, if not by its own address.
    """
    create(main_url, audit_url)
    if options.get("two_phase"):
        options.setdefault("name", name_of(main_url))
    group = Group(
        main=Database(main_url, **(main or {})),
        audit=Database(through or audit_url, **(audit or {})),
        **options,
    )
    try:
        yield Pair(group, main_url, audit_url)
    finally:
        if world.is_async:
            await group.aclose()
        else:
            group.close()


def log_of(log: str, folder: Path) -> Any:
    """What a group is given for its log: the name of a database, or a file."""
    return folder / "decisions.log" if log == "file" else log
