"""peewee, at the works that it can do, in the forms of its manual.

A scope is ``db.atomic()``, on a connection that stays open, as it does for a program of one thread.
peewee enforces no read-only transactions: its read-only get runs without a transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import peewee
from sqlalchemy import URL

from bench import crowds, works
from bench.contenders import SyncWorks
from bench.entity import Sizes, values
from bench.libpq import arguments
from bench.measure import Crowd, Prepared
from bench.orm_bulk import per_object
from bench.records import record_types

NAME = "peewee"
FAMILIES = ("sqlite", "postgresql", "mysql")
# More at once is not faster, and SQLite has a limit of parameters.
_BATCH = 1_000


class Columns(peewee.Model):
    username = peewee.CharField(max_length=50)
    email = peewee.CharField(max_length=100)
    age = peewee.IntegerField()
    active = peewee.BooleanField()
    score = peewee.FloatField()


class User(Columns):
    id = peewee.IntegerField(primary_key=True)

    class Meta:
        table_name = "bench_users"


class Person(Columns):
    class Meta:
        table_name = "bench_people"


class Parent(Columns):
    id = peewee.IntegerField(primary_key=True)

    class Meta:
        table_name = "bench_parents"


class Child(Columns):
    id = peewee.IntegerField(primary_key=True)
    parent = peewee.ForeignKeyField(Parent, backref="children", column_name="parent_id")

    class Meta:
        table_name = "bench_children"


_MODELS = [User, Person, Parent, Child]


@contextmanager
def threads(url: URL, sizes: Sizes, empty: Callable[[], None]) -> Iterator[SyncWorks]:
    """All works of one thread."""
    db, atomic = _database(url)
    with db.bind_ctx(_MODELS):
        yield {
            **_reads(atomic, sizes),
            **_writes(atomic, sizes),
            **_loads(atomic),
            **_many(atomic, sizes, empty),
            **_relations(atomic, sizes),
        }
    db.close()


def _database(url: URL) -> tuple[Any, Callable[[], Any]]:
    family = url.get_backend_name()
    if family == "sqlite":
        pragmas = {"journal_mode": "wal", "synchronous": "full", "foreign_keys": "on"}
        lite = peewee.SqliteDatabase(url.database, pragmas=pragmas)
        return lite, lambda: lite.atomic("IMMEDIATE")
    if family == "postgresql":
        given = arguments(url)
        db = peewee.PostgresqlDatabase(given.pop("dbname"), prefer_psycopg3=True, **given)
        return db, db.atomic
    my = peewee.MySQLDatabase(
        url.database, user=url.username, password=url.password, host=url.host, port=url.port
    )
    return my, my.atomic


def _reads(atomic: Callable[[], Any], sizes: Sizes) -> SyncWorks:
    def get(count: int) -> None:
        for number in range(count):
            with atomic():
                User.get_by_id(1 + number % sizes.small)

    def select(count: int) -> None:
        for number in range(count):
            key = 1 + number % sizes.small
            with atomic():
                User.select().where(User.id == key).get()

    def readonly(count: int) -> None:
        for number in range(count):
            User.get_by_id(1 + number % sizes.small)

    def nested(count: int) -> None:
        for _ in range(count):
            with atomic(), atomic():
                User.get_by_id(1)

    return {works.GET: get, works.SELECT: select, works.READONLY: readonly, works.NESTED: nested}


def _writes(atomic: Callable[[], Any], sizes: Sizes) -> SyncWorks:
    def insert(count: int) -> None:
        for number in range(count):
            with atomic():
                Person.create(**values(number))

    def change(count: int) -> None:
        for number in range(count):
            with atomic():
                user = User.get_by_id(1 + number % sizes.small)
                user.age += 1
                user.save(only=[User.age])

    def empty(count: int) -> None:
        for _ in range(count):
            with atomic():
                pass

    return {works.INSERT: insert, works.CHANGE: change, works.EMPTY: empty}


def _loads(atomic: Callable[[], Any]) -> SyncWorks:
    def load(count: int) -> None:
        for _ in range(count):
            with atomic():
                list(User.select())

    def rows(into: Any) -> Callable[[int], None]:
        def turn(count: int) -> None:
            for _ in range(count):
                list(User.select().objects(into))

        return turn

    return {
        works.LOAD: load,
        works.MEMORY: lambda: per_object(lambda: list(User.select())),
        **{work: rows(into) for work, into in record_types().items()},
    }


def _many(atomic: Callable[[], Any], sizes: Sizes, empty: Callable[[], None]) -> SyncWorks:
    rows = [values(number) for number in range(1, sizes.rows + 1)]

    def people(count: int) -> list[list[Person]]:
        empty()
        return [[Person(**row) for row in rows] for _ in range(count)]

    def add_all(_: int, made: list[list[Person]]) -> None:
        for each in made:
            with atomic():
                Person.bulk_create(each, batch_size=_BATCH)

    def construct(count: int) -> None:
        for _ in range(count):
            [Person(**row) for row in rows]

    def change_many(count: int) -> None:
        for _ in range(count):
            with atomic():
                # one by one is faster here than bulk_update, which builds long CASE expressions
                for user in User.select().where(User.id <= sizes.changed):
                    user.age += 1
                    user.save(only=[User.age])

    return {
        works.ADD_ALL: Prepared(people, add_all),
        works.CONSTRUCT: construct,
        works.CHANGE_MANY: change_many,
    }


def _relations(atomic: Callable[[], Any], sizes: Sizes) -> SyncWorks:
    def lazy_one(count: int) -> None:
        for _ in range(count):
            with atomic():
                for child in list(Child.select().where(Child.id <= sizes.parents)):
                    _ = child.parent.age

    def lazy_many(count: int) -> None:
        for _ in range(count):
            with atomic():
                for parent in list(Parent.select()):
                    list(parent.children)

    def selectin(count: int) -> None:
        for _ in range(count):
            with atomic():
                list(peewee.prefetch(Parent.select(), Child))

    return {works.LAZY_ONE: lazy_one, works.LAZY_MANY: lazy_many, works.SELECTIN: selectin}


@contextmanager
def crowd(url: URL, sizes: Sizes, executor: ThreadPoolExecutor) -> Iterator[Crowd]:
    """Many threads on peewee's pool."""
    from playhouse.pool import PooledPostgresqlDatabase

    given = arguments(url)
    db = PooledPostgresqlDatabase(
        given.pop("dbname"),
        prefer_psycopg3=True,
        max_connections=crowds.POOL,
        timeout=30,
        **given,
    )

    def unit(number: int) -> None:
        with db.connection_context(), db.atomic():
            User.get_by_id(1 + number % sizes.small)

    with db.bind_ctx(_MODELS):
        yield crowds.threads(unit, executor)
    db.close_all()
