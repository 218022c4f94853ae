"""The works on many rows by SQLAlchemy and by hermetic, whose sessions are used alike."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import selectinload

from bench.contenders import Scopes, SyncWorks
from bench.entity import Entities, Sizes, values
from bench.measure import Prepared
from bench.records import UserTuple, record_types
from bench.works import (
    ADD_ALL,
    CHANGE_MANY,
    CONSTRUCT,
    LAZY_MANY,
    LAZY_ONE,
    LOAD,
    MEMORY,
    MEMORY_AFTER,
    SELECTIN,
)


def load_turns(scopes: Scopes, entities: Entities) -> SyncWorks:
    """Many entities, and what each of them takes."""
    user, begin = entities.user, scopes.open

    def load(count: int) -> None:
        for _ in range(count):
            with begin() as session:
                session.scalars(select(user)).all()

    def during() -> float:
        with begin() as session:
            return per_object(lambda: session.scalars(select(user)).all())

    def after() -> float:
        def loaded() -> Any:
            with begin() as session:
                return session.scalars(select(user)).all()

        return per_object(loaded)

    return {LOAD: load, MEMORY: during, MEMORY_AFTER: after}


def per_object(load: Callable[[], Any]) -> float:
    """Bytes for each object that is loaded, while all are kept."""
    load()
    gc.collect()
    tracemalloc.start()
    try:
        kept = load()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / len(kept)
    finally:
        tracemalloc.stop()


def sqlalchemy_rows(scopes: Scopes, entities: Entities) -> SyncWorks:
    """Rows into records, as one writes it with SQLAlchemy."""
    return {
        work: _sqlalchemy_rows(scopes.read, _columns(entities), into)
        for work, into in record_types().items()
    }


def _columns(entities: Entities) -> list[Any]:
    return [getattr(entities.user, name) for name in UserTuple.__annotations__]


def _sqlalchemy_rows(read: Any, columns: list[Any], into: Any) -> Callable[[int], None]:
    def rows(count: int) -> None:
        for _ in range(count):
            with read() as session:
                found = session.execute(select(*columns))
                [into(*row) for row in found]

    return rows


def hermetic_rows(scopes: Scopes, entities: Entities) -> SyncWorks:
    """Rows into records by ``session.rows``."""
    return {
        work: _hermetic_rows(scopes.read, _columns(entities), into)
        for work, into in record_types().items()
    }


def _hermetic_rows(read: Any, columns: list[Any], into: Any) -> Callable[[int], None]:
    def rows(count: int) -> None:
        for _ in range(count):
            with read() as session:
                list(session.rows(select(*columns), into=into))

    return rows


def write_many_turns(
    scopes: Scopes, entities: Entities, sizes: Sizes, empty: Callable[[], None]
) -> SyncWorks:
    """Many entities written; ``empty`` empties the table of those that are added."""
    user, person, begin = entities.user, entities.person, scopes.open
    rows = [values(number) for number in range(1, sizes.rows + 1)]

    def people(count: int) -> list[list[Any]]:
        empty()
        return [[person(**row) for row in rows] for _ in range(count)]

    def add_all(_: int, made: list[list[Any]]) -> None:
        for each in made:
            with begin() as session:
                session.add_all(each)

    def construct(count: int) -> None:
        for _ in range(count):
            [person(**row) for row in rows]

    def change_many(count: int) -> None:
        for _ in range(count):
            with begin() as session:
                for found in session.scalars(select(user).where(user.id <= sizes.changed)):
                    found.age += 1

    return {ADD_ALL: Prepared(people, add_all), CONSTRUCT: construct, CHANGE_MANY: change_many}


def relation_turns(scopes: Scopes, entities: Entities, sizes: Sizes) -> SyncWorks:
    """What is loaded by way of relationships."""
    parent, child, begin = entities.parent, entities.child, scopes.open

    def lazy_one(count: int) -> None:
        for _ in range(count):
            with begin() as session:
                for found in session.scalars(select(child).where(child.id <= sizes.parents)).all():
                    _ = found.parent.age

    def lazy_many(count: int) -> None:
        for _ in range(count):
            with begin() as session:
                for found in session.scalars(select(parent)).all():
                    _ = found.children

    def selectin(count: int) -> None:
        for _ in range(count):
            with begin() as session:
                session.scalars(select(parent).options(selectinload(parent.children))).all()

    return {LAZY_ONE: lazy_one, LAZY_MANY: lazy_many, SELECTIN: selectin}
