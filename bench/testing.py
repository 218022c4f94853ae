"""Tests of an application: a sandbox for each, beside what else keeps tests apart.

    python bench/testing.py [TESTS] [FAMILY…]

Each test (default 1000 of them) writes an author with three books in one scope, and reads them in
another, in a schema of ten tables. Four ways to begin the next one with an empty database, in turns
of a tenth of the tests each:

    sandbox          hermetic.testing.sandbox: everything is rolled back
    truncate         every table is emptied after the test
    create and drop  the tables are made before the test, and dropped after it
    template         each test has a copy of a database; a tenth as many, since it takes longest

The servers are the tests' own, which do not wait for the disk: that favours those that write most.
Milliseconds for one test by the wall clock, and by this process's CPU; seconds for all of them.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sqlalchemy import Column, ForeignKey, Integer, String, Table, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from hermetic import Database
from hermetic.testing import sandbox, template
from tests.servers import LocalServer, MariaDBServer, PostgreSQLServer

_TURNS = 10
Test = Callable[[], AbstractContextManager[Database]]


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "authors"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50), index=True)
    books: Mapped[list[Book]] = relationship(back_populates="author")


class Book(Base):
    __tablename__ = "books"

    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("authors.id"), index=True)
    title: Mapped[str] = mapped_column(String(50))
    author: Mapped[Author] = relationship(back_populates="books")


for number in range(8):
    Table(
        f"other_{number}",
        Base.metadata,
        Column("id", Integer, primary_key=True),
        Column("author_id", ForeignKey("authors.id"), index=True),
        Column("value", String(50), unique=True),
    )


def work(db: Database) -> None:
    """A test of an application that commits."""
    with db.session() as session:
        books = [Book(title=f"book {number}") for number in range(3)]
        session.add(Author(name="ann", books=books))
    with db.session(readonly=True) as session:
        assert len(session.scalars(select(Author)).all()) == 1
        assert len(session.scalars(select(Book)).all()) == 3


def emptied(db: Database, family: str) -> None:
    names = [table.name for table in reversed(Base.metadata.sorted_tables)]
    with db.engine.begin() as connection:
        if family == "postgresql":
            connection.execute(text(f"TRUNCATE {', '.join(names)} RESTART IDENTITY CASCADE"))
            return
        if family == "mariadb":
            connection.execute(text("SET foreign_key_checks = 0"))
        for name in names:
            verb = "DELETE FROM" if family == "sqlite" else "TRUNCATE"
            connection.execute(text(f"{verb} {name}"))
        if family == "mariadb":
            connection.execute(text("SET foreign_key_checks = 1"))


def ways(family: str, urls: dict[str, str], stack: ExitStack) -> dict[str, Test]:
    """Each way's test, as a block."""
    databases = {name: stack.enter_context(Database(url)) for name, url in urls.items()}
    for name in ("sandbox", "truncate"):
        Base.metadata.create_all(databases[name].engine)
    filled = stack.enter_context(
        template(urls["template"], lambda db: Base.metadata.create_all(db.engine))
    )

    @contextmanager
    def in_sandbox() -> Iterator[Database]:
        with sandbox(databases["sandbox"]):
            yield databases["sandbox"]

    @contextmanager
    def truncated() -> Iterator[Database]:
        yield databases["truncate"]
        emptied(databases["truncate"], family)

    @contextmanager
    def made_anew() -> Iterator[Database]:
        db = databases["create and drop"]
        Base.metadata.create_all(db.engine)
        yield db
        Base.metadata.drop_all(db.engine)

    return {
        "sandbox": in_sandbox,
        "truncate": truncated,
        "create and drop": made_anew,
        "template": filled.copy,
    }


def measured(tests: int, all_ways: dict[str, Test]) -> dict[str, tuple[float, float]]:
    """Milliseconds for one test, and CPU milliseconds, by way."""
    taken: dict[str, list[float]] = {name: [0.0, 0.0, 0.0] for name in all_ways}
    for _ in range(_TURNS):
        for name, test in all_ways.items():
            began, worked = time.perf_counter(), time.process_time()
            rounds = max(1, tests // _TURNS // (10 if name == "template" else 1))
            for _ in range(rounds):
                with test() as db:
                    work(db)
            more = (time.perf_counter() - began, time.process_time() - worked, rounds)
            taken[name] = [one + other for one, other in zip(taken[name], more, strict=True)]
    return {
        name: (wall / count * 1000, cpu / count * 1000)
        for name, (wall, cpu, count) in taken.items()
    }


def urls_of(family: str, stack: ExitStack) -> dict[str, str]:
    names = {"sandbox": "a", "truncate": "b", "create and drop": "c", "template": "d"}
    if family == "sqlite":
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        return {name: f"sqlite:///{folder / each}.db" for name, each in names.items()}
    kinds: dict[str, type[LocalServer]] = {"postgresql": PostgreSQLServer, "mariadb": MariaDBServer}
    server = stack.enter_context(kinds[family]())
    scheme = {"postgresql": "postgresql", "mariadb": "mysql+pymysql"}[family]
    for each in names.values():
        server.create_database(each)
    return {name: server.url(each, scheme) for name, each in names.items()}


def main(tests: int, families: tuple[str, ...]) -> None:
    print(f"{tests} tests")
    for family in families:
        with ExitStack() as stack:
            found: Any = measured(tests, ways(family, urls_of(family, stack), stack))
        least = found["sandbox"][0]
        for name, (wall, cpu) in found.items():
            print(
                f"{family:11} {name:16} {wall:8.2f} ms ({cpu:5.2f} ms CPU)"
                f" {wall * tests / 1000:7.1f} s  {wall / least:5.1f} times",
                flush=True,
            )


if __name__ == "__main__":
    given = sys.argv[1:]
    count = int(given.pop(0)) if given and given[0].isdigit() else 1000
    main(count, tuple(given) or ("sqlite", "postgresql", "mariadb"))
