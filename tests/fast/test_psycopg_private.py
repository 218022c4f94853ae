"""Where psycopg is not what it was, BEGIN travels by itself, and everything else is the same."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest

from hermetic import Outcome
from hermetic.dialects import psycopg_private
from tests.behaviour.aftermath import check_nothing_left, on
from tests.models import User
from tests.worlds import World


@pytest.fixture
def anew() -> Iterator[None]:
    """What was found of psycopg is looked for once more, and afterwards again."""
    psycopg_private.is_as_it_was_read.cache_clear()
    yield
    psycopg_private.is_as_it_was_read.cache_clear()


def test_this_release_is_as_it_was_read(anew: None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert psycopg_private.is_as_it_was_read()


@on(lambda backend: backend.name in ("psycopg", "psycopg_async"))
@pytest.mark.parametrize(
    ("methods", "name", "parameters"),
    [
        ("_CURSOR", "_execute_gen", "query params prepared"),
        ("_CURSOR", "_send_in_a_new_way", "query"),
        ("_CONNECTION", "_exec_command", "query"),
    ],
)
async def test_another_psycopg_sends_begin_by_itself_after_one_warning(
    world: World,
    anew: None,
    monkeypatch: pytest.MonkeyPatch,
    methods: str,
    name: str,
    parameters: str,
) -> None:
    monkeypatch.setitem(getattr(psycopg_private, methods), name, parameters)
    db = world.database(pool_size=2)

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        async with world.session(db) as session:
            session.add(User(username="ann"))
        async with world.session(db) as session:
            found = await session.get(User, 1)
            async with world.session(db, propagation="requires_new") as other:
                other.add(User(username="bob"))

    assert [str(each.message)[:24] for each in warned] == ["BEGIN does not travel wi"]
    assert found is not None
    assert session.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann", "bob"]
    await check_nothing_left(world, db)
