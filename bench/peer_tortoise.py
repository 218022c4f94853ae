"""Tortoise ORM, at the works of asyncio, in the forms of its manual.

Of Tortoise and Piccolo, both kept up with several releases a year, Tortoise is measured because it
works with all three drivers here, Piccolo with asyncpg and aiosqlite alone. A scope is
``in_transaction()``; on SQLite that is a deferred BEGIN, which Tortoise offers no way to change,
and which costs less than the others' ``BEGIN IMMEDIATE``. Its read-only get runs without a
transaction.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import URL
from tortoise import Tortoise, fields
from tortoise.models import Model
from tortoise.transactions import in_transaction

from bench import crowds, works
from bench.contenders import AsyncWorks
from bench.entity import Sizes, values
from bench.libpq import arguments
from bench.measure import Crowd

NAME = "Tortoise"


class Columns(Model):
    username = fields.CharField(max_length=50)
    email = fields.CharField(max_length=100)
    age = fields.IntField()
    active = fields.BooleanField()
    score = fields.FloatField()

    class Meta:
        abstract = True


class User(Columns):
    id = fields.IntField(primary_key=True, generated=False)

    class Meta:
        table = "bench_users"


class Person(Columns):
    id = fields.IntField(primary_key=True)

    class Meta:
        table = "bench_people"


@asynccontextmanager
async def asyncio(url: URL, sizes: Sizes) -> AsyncIterator[AsyncWorks]:
    """The small works."""
    async with _opened(url):
        yield {**_reads(sizes), **_writes(sizes)}


@asynccontextmanager
async def crowd(url: URL, sizes: Sizes) -> AsyncIterator[Crowd]:
    """Many tasks on Tortoise's pool."""
    async with _opened(url):
        yield crowds.tasks(_unit(sizes))


@asynccontextmanager
async def _opened(url: URL) -> AsyncIterator[None]:
    # Tortoise keeps the SQL that it made by the name of the connection, and each driver has its own
    name = url.drivername
    await Tortoise.init(
        config={
            "connections": {name: _connection(url)},
            "apps": {"models": {"models": [__name__], "default_connection": name}},
        }
    )
    try:
        yield
    finally:
        await Tortoise.close_connections()


def _connection(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        credentials = {"file_path": url.database, "journal_mode": "WAL", "foreign_keys": "ON"}
        return {"engine": "tortoise.backends.sqlite", "credentials": credentials}
    given = arguments(url)
    given["database"] = given.pop("dbname")
    given |= {"minsize": 1, "maxsize": crowds.POOL}
    return {"engine": f"tortoise.backends.{url.get_driver_name()}", "credentials": given}


def _unit(sizes: Sizes) -> Callable[[int], Awaitable[None]]:
    async def unit(number: int) -> None:
        async with in_transaction():
            await User.get(id=1 + number % sizes.small)

    return unit


def _reads(sizes: Sizes) -> AsyncWorks:
    unit = _unit(sizes)

    async def get(count: int) -> None:
        for number in range(count):
            await unit(number)

    async def readonly(count: int) -> None:
        for number in range(count):
            await User.get(id=1 + number % sizes.small)

    async def nested(count: int) -> None:
        for _ in range(count):
            async with in_transaction(), in_transaction():
                await User.get(id=1)

    return {works.GET: get, works.SELECT: get, works.READONLY: readonly, works.NESTED: nested}


def _writes(sizes: Sizes) -> AsyncWorks:
    async def insert(count: int) -> None:
        for number in range(count):
            async with in_transaction():
                await Person.create(**values(number))

    async def change(count: int) -> None:
        for number in range(count):
            async with in_transaction():
                user = await User.get(id=1 + number % sizes.small)
                user.age += 1
                await user.save(update_fields=["age"])

    async def empty(count: int) -> None:
        for _ in range(count):
            async with in_transaction():
                pass

    return {works.INSERT: insert, works.CHANGE: change, works.EMPTY: empty}
