"""Names that come from outside: what could mean anything in SQL is refused where it is given, and
what is never part of SQL may be anything that can be shown.
"""

from __future__ import annotations

from typing import Any

import pytest

from hermetic import Database, InvalidOption
from tests.behaviour.aftermath import on_postgresql
from tests.worlds import World

HOSTILE = (
    'x"; DROP TABLE users; --',
    "x'; DROP TABLE users; --",
    "x`; DROP TABLE users; --",
    "x; SELECT 1",
    "a\x00b",
    "a\nb",
    "a b",
    "a.b",
    "\u202ename",
    "naïve",
    "x" * 64,
    "é" * 40,
    "pg_temp",
    "PG_CATALOG",
    "1st",
    "",
    None,
    7,
    b"bytes",
)


@pytest.mark.parametrize("name", HOSTILE, ids=repr)
def test_a_tables_name_is_refused_where_it_is_given(name: Any) -> None:
    with pytest.raises(InvalidOption, match="commit_table") as raised:
        Database("sqlite://", commit_table=name)

    assert raised.value.option == "commit_table"


@pytest.mark.parametrize("name", ["tokens", "_tokens", "Tokens_2", "x" * 63])
def test_a_plain_name_of_a_table_is_taken(name: str) -> None:
    assert Database("sqlite://", commit_table=name).options.commit_table == name


@pytest.mark.parametrize("name", ["a\x00b", "a\nb", "\u202ename", "naïve", "x" * 64, "", None, 7])
def test_an_applications_name_that_would_not_arrive_is_refused(name: Any) -> None:
    with pytest.raises(InvalidOption, match="application_name"):
        Database("sqlite://", application_name=name)


@pytest.mark.parametrize("option", ["name", "application_name"])
@pytest.mark.parametrize("name", ["a\x00b", "a\nb", "\u202ename", "x" * 64, "", 7])
def test_a_name_that_cannot_be_shown_is_refused(option: str, name: Any) -> None:
    with pytest.raises(InvalidOption, match=option):
        Database("sqlite://", **{option: name})
    with pytest.raises(InvalidOption, match="name"):
        Database("sqlite://").session(name=name)


@on_postgresql
async def test_a_hostile_name_arrives_as_a_name(world: World) -> None:
    hostile = "x'\"`; DROP TABLE users; -- \\ $1 %s :a"
    db = world.database(application_name=hostile, name=hostile)

    async with world.session(db, name=hostile) as session:
        arrived = await session.scalar("SELECT current_setting('application_name')")
        async with world.session(db, name=hostile, propagation="nested") as inner:
            assert await inner.scalar("SELECT count(*) FROM users") == 0

    assert arrived == hostile
    assert world.usernames() == []
