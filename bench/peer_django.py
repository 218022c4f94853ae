"""Django's ORM, at the works that it can do, in the forms of its manual.

A scope is ``transaction.atomic()``, on a connection that stays open, as with ``CONN_MAX_AGE``.
Django enforces no read-only transactions: its read-only get runs in autocommit. Its models belong
to an application, which is this package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import django
from django.conf import settings
from sqlalchemy import URL

if not settings.configured:
    settings.configure(INSTALLED_APPS=["bench"], DATABASES={}, USE_TZ=True)
    django.setup()

from django.db import connections, models, transaction

from bench import crowds, works
from bench.contenders import SyncWorks
from bench.entity import Sizes, values
from bench.libpq import arguments
from bench.measure import Crowd, Prepared
from bench.orm_bulk import per_object

NAME = "Django"
# Of MariaDB's drivers it takes mysqlclient alone, which has to be compiled.
FAMILIES = ("sqlite", "postgresql")
# Django's limit for SQLite is lower and it keeps to it; on PostgreSQL more at once is not faster.
_BATCH = 1_000


class Columns(models.Model):
    username = models.CharField(max_length=50)
    email = models.CharField(max_length=100)
    age = models.IntegerField()
    active = models.BooleanField()
    score = models.FloatField()

    class Meta:
        abstract = True


class User(Columns):
    id = models.IntegerField(primary_key=True)

    class Meta:
        app_label, db_table = "bench", "bench_users"


class Person(Columns):
    id = models.AutoField(primary_key=True)

    class Meta:
        app_label, db_table = "bench", "bench_people"


class Parent(Columns):
    id = models.IntegerField(primary_key=True)

    class Meta:
        app_label, db_table = "bench", "bench_parents"


class Child(Columns):
    id = models.IntegerField(primary_key=True)
    parent = models.ForeignKey(Parent, models.CASCADE, related_name="children")

    class Meta:
        app_label, db_table = "bench", "bench_children"


@contextmanager
def threads(url: URL, sizes: Sizes, empty: Callable[[], None]) -> Iterator[SyncWorks]:
    """All works of one thread."""
    with _default(_settings(url)):
        yield {
            **_reads(sizes),
            **_writes(sizes),
            **_loads(),
            **_many(sizes, empty),
            **_relations(sizes),
        }


@contextmanager
def _default(database: dict[str, Any]) -> Iterator[None]:
    """Make this the database of all models."""
    connections.settings.update(connections.configure_settings({"default": database}))
    # made by Django's start, of no database
    del connections["default"]
    try:
        yield
    finally:
        connections["default"].close()


def _settings(url: URL, **options: Any) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        pragmas = "; ".join(
            f"PRAGMA {name} = {value}"
            for name, value in (("journal_mode", "wal"), ("synchronous", "full"))
        )
        options |= {"transaction_mode": "IMMEDIATE", "init_command": pragmas}
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": url.database, "OPTIONS": options}
    found = {name.upper(): value for name, value in arguments(url).items()}
    found["NAME"] = found.pop("DBNAME")
    return {"ENGINE": "django.db.backends.postgresql", "OPTIONS": options, **found}


def _reads(sizes: Sizes) -> SyncWorks:
    objects, atomic = User.objects, transaction.atomic

    def get(count: int) -> None:
        for number in range(count):
            with atomic():
                objects.get(pk=1 + number % sizes.small)

    def readonly(count: int) -> None:
        for number in range(count):
            objects.get(pk=1 + number % sizes.small)

    def nested(count: int) -> None:
        for _ in range(count):
            with atomic(), atomic():
                objects.get(pk=1)

    return {works.GET: get, works.SELECT: get, works.READONLY: readonly, works.NESTED: nested}


def _loads() -> SyncWorks:
    objects, atomic = User.objects, transaction.atomic

    def load(count: int) -> None:
        for _ in range(count):
            with atomic():
                list(objects.all())

    def named(count: int) -> None:
        for _ in range(count):
            list(objects.values_list(named=True))

    return {
        works.LOAD: load,
        works.ROWS_NAMEDTUPLE: named,
        works.MEMORY: lambda: per_object(lambda: list(objects.all())),
    }


def _writes(sizes: Sizes) -> SyncWorks:
    atomic = transaction.atomic

    def insert(count: int) -> None:
        for number in range(count):
            with atomic():
                Person.objects.create(**values(number))

    def change(count: int) -> None:
        for number in range(count):
            with atomic():
                user = User.objects.get(pk=1 + number % sizes.small)
                user.age += 1
                user.save(update_fields=["age"])

    def empty(count: int) -> None:
        for _ in range(count):
            with atomic():
                pass

    return {works.INSERT: insert, works.CHANGE: change, works.EMPTY: empty}


def _many(sizes: Sizes, empty: Callable[[], None]) -> SyncWorks:
    rows = [values(number) for number in range(1, sizes.rows + 1)]

    def people(count: int) -> list[list[Person]]:
        empty()
        return [[Person(**row) for row in rows] for _ in range(count)]

    def add_all(_: int, made: list[list[Person]]) -> None:
        for each in made:
            with transaction.atomic():
                Person.objects.bulk_create(each, batch_size=_BATCH)

    def construct(count: int) -> None:
        for _ in range(count):
            [Person(**row) for row in rows]

    def change_many(count: int) -> None:
        for _ in range(count):
            with transaction.atomic():
                users = list(User.objects.filter(pk__lte=sizes.changed))
                for user in users:
                    user.age += 1
                User.objects.bulk_update(users, ["age"], batch_size=200)

    return {
        works.ADD_ALL: Prepared(people, add_all),
        works.CONSTRUCT: construct,
        works.CHANGE_MANY: change_many,
    }


def _relations(sizes: Sizes) -> SyncWorks:
    def lazy_one(count: int) -> None:
        for _ in range(count):
            with transaction.atomic():
                for child in Child.objects.filter(pk__lte=sizes.parents):
                    _ = child.parent.age

    def lazy_many(count: int) -> None:
        for _ in range(count):
            with transaction.atomic():
                for parent in Parent.objects.all():
                    list(parent.children.all())

    def selectin(count: int) -> None:
        for _ in range(count):
            with transaction.atomic():
                list(Parent.objects.prefetch_related("children"))

    return {works.LAZY_ONE: lazy_one, works.LAZY_MANY: lazy_many, works.SELECTIN: selectin}


@contextmanager
def crowd(url: URL, sizes: Sizes, executor: ThreadPoolExecutor) -> Iterator[Crowd]:
    """Many threads on Django's pool; a connection is given back as a request's end does it."""

    def unit(number: int) -> None:
        try:
            with transaction.atomic():
                User.objects.get(pk=1 + number % sizes.small)
        finally:
            connections["default"].close()

    pool = {"min_size": crowds.POOL, "max_size": crowds.POOL}
    with _default(_settings(url, pool=pool)):
        yield crowds.threads(unit, executor)
        connections["default"].close_pool()
