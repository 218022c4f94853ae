"""Copies of a template: databases of a test's own."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, inspect, text

from hermetic import Database, HermeticError, InvalidOption
from hermetic.testing import TemplateError, template
from tests.models import Base, User
from tests.worlds import Block, World


def filled(world: World) -> Any:
    """A template that has a user, made in the way of its world."""
    if world.is_async:

        async def fill_async(db: Database) -> None:
            async with db.async_engine.begin() as connection:
                await connection.run_sync(Base.metadata.create_all)
            async with db.session() as session:
                session.add(User(username="ann"))

        return template(world.url, fill_async)

    def fill(db: Database) -> None:
        Base.metadata.create_all(db.engine)
        with db.session() as session:
            session.add(User(username="ann"))

    return Block(template(world.url, fill))


def block(world: World, made: Any) -> Any:
    return made if world.is_async else Block(made)


async def test_each_copy_is_a_database_of_its_own(world: World) -> None:
    async with filled(world) as made:
        urls = set()
        for _ in range(2):
            async with block(world, made.copy(name="copy")) as db:
                urls.add(db.server.url)
                async with world.session(db, propagation="not_supported") as session:
                    await session.execute(text("CREATE TABLE more (i INTEGER)"))
                async with world.session(db) as session:
                    assert (await session.execute(text("SELECT username FROM users"))).all() == [
                        ("ann",)
                    ]
                    session.add(User(username="bob"))
        assert len(urls) == 2
    assert world.usernames() == []


async def test_a_database_is_copied_as_it_is(world: World) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('there', 7)")
    world.close_observer()
    made = template(world.url)
    async with (
        block(world, made),
        block(world, made.copy()) as db,
        world.session(db) as session,
    ):
        rows = await session.execute(text("SELECT username, balance FROM users"))
        assert rows.all() == [("there", 7)]


def test_mariadb_is_copied_with_what_its_tables_have(family_url: Any) -> None:
    def fill(db: Database) -> None:
        with db.engine.connect() as connection:
            for statement in (
                "CREATE TABLE one (id INT PRIMARY KEY, n INT, twice INT AS (n * 2) STORED)",
                "CREATE TABLE two (id INT, one_id INT, FOREIGN KEY (one_id) REFERENCES one (id))",
                "CREATE VIEW seen AS SELECT id, twice FROM one",
                "CREATE TRIGGER counting BEFORE INSERT ON two FOR EACH ROW SET NEW.one_id = 1",
                "CREATE FUNCTION plus(a INT) RETURNS INT DETERMINISTIC RETURN a + 1",
                "INSERT INTO one (id, n) VALUES (1, 5)",
                "INSERT INTO two (id, one_id) VALUES (1, NULL)",
            ):
                connection.execute(text(statement))
            connection.commit()

    with template(family_url("mariadb"), fill) as made, made.copy() as db:
        with db.session() as session:
            assert session.execute("SELECT id, twice FROM seen").all() == [(1, 10)]
            session.execute("INSERT INTO two (id, one_id) VALUES (2, NULL)")
            assert session.scalar("SELECT one_id FROM two WHERE id = 2") == 1
            assert session.scalar("SELECT plus(1)") == 2
        assert inspect(db.engine).get_foreign_keys("two")


def test_a_template_in_use_is_refused_by_postgresql(family_url: Any) -> None:
    url = family_url("postgresql")
    with Database(url) as db:
        with db.session() as session:
            session.execute("SELECT 1")
        with pytest.raises(TemplateError, match="connected"), template(url).copy():
            pass


def test_what_is_not_there_is_no_template(tmp_path: Any) -> None:
    copy = template(f"sqlite:///{tmp_path}/none.db").copy()
    with pytest.raises(TemplateError, match="no SQLite file"), copy:
        pass


def test_a_template_that_cannot_be_filled_leaves_nothing(family_url: Any) -> None:
    def fail(db: Database) -> None:
        raise ZeroDivisionError

    url = family_url("postgresql")
    with pytest.raises(ZeroDivisionError), template(url, fail):
        pass
    with Database(url) as db, db.session() as session:
        left = "SELECT count(*) FROM pg_database WHERE datname LIKE 'hermetic_template_%'"
        assert session.scalar(left) == 0


def is_there(url: URL) -> bool:
    return Path(str(url.database)).exists()


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_copy_whose_database_cannot_be_made_is_dropped(
    tmp_path: Path, asynchronous: bool
) -> None:
    sqlite3.connect(tmp_path / "a.db").close()
    copy = template(f"sqlite:///{tmp_path / 'a.db'}").copy(pool_size=0)
    with pytest.raises(InvalidOption, match="pool_size"):
        await (copy if asynchronous else Block(copy)).__aenter__()
    assert not is_there(copy.url)


async def test_a_copy_whose_database_cannot_be_closed_is_dropped(tmp_path: Path) -> None:
    """It is left in an event loop that still uses it."""
    sqlite3.connect(tmp_path / "a.db").close()
    copy = template(f"sqlite:///{tmp_path / 'a.db'}").copy()
    with pytest.raises(HermeticError, match="running event loop"), copy as db:
        async with db.session() as session:
            await session.execute(text("SELECT 1"))
    assert not is_there(copy.url)
    await db.aclose()
