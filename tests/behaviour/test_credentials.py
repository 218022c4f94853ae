"""Passwords that change while a program runs."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import make_url

from hermetic import AuthenticationFailed, ConfigurationError, Database
from tests.behaviour.aftermath import lent, on_servers
from tests.behaviour.own import Door, OwnServer
from tests.models import User
from tests.worlds import World

OLD, NEW = "old-c4nary", "new-c4nary"


@pytest.fixture
def rotating(own: OwnServer, own_world: World) -> Any:
    """What sets the password of the test's user; it is the old one to begin with."""

    def set_password(password: str) -> None:
        if own.family == "postgresql":
            own.do(f"ALTER USER app PASSWORD '{password}'")
        else:
            own.do(f"SET PASSWORD FOR app@'%' = PASSWORD('{password}')")

    set_password(OLD)
    yield set_password
    set_password("app")


class Vault:
    """What an application asks for its password."""

    def __init__(self, world: World, current: Callable[[int], Any]) -> None:
        self.asked = 0
        self._current = current
        self.provider: Any = self._ask_async if world.is_async else self._ask

    def _ask(self) -> Any:
        self.asked += 1
        return self._current(self.asked)

    async def _ask_async(self) -> Any:
        return self._ask()


def database(world: World, provider: Any, **options: Any) -> Database:
    url = make_url(world.url).set(username="app", password=None)
    world.url = url.render_as_string(hide_password=False)
    return world.database(credentials=provider, **options)


async def use(world: World, db: Database) -> None:
    async with world.session(db) as session:
        await session.get(User, 1)


@on_servers
@pytest.mark.parametrize("form", ["password", "mapping"])
async def test_each_new_connection_asks_for_its_credentials(
    own_world: World, rotating: Any, form: str
) -> None:
    world = own_world
    given = OLD if form == "password" else {"username": "app", "password": OLD}
    vault = Vault(world, lambda _: given)
    db = database(world, vault.provider)

    await use(world, db)
    await use(world, db)
    assert vault.asked == 1
    db.evict()
    await use(world, db)
    assert vault.asked == 2


@on_servers
async def test_a_refusal_asks_once_more(own_world: World, rotating: Any) -> None:
    world = own_world
    vault = Vault(world, lambda asked: OLD if asked <= 2 else NEW)
    db = database(world, vault.provider)
    await use(world, db)
    rotating(NEW)

    await use(world, db)  # a connection that is there does not ask
    assert vault.asked == 1
    db.evict()
    await use(world, db)

    assert vault.asked == 3
    assert lent(db) == []


@on_servers
async def test_wrong_credentials_are_no_storm(
    own: OwnServer, own_world: World, rotating: Any
) -> None:
    world = own_world
    vault = Vault(world, lambda _: NEW)
    with Door(own.server.host, own.server.port) as door:
        url = make_url(world.url).set(host="127.0.0.1", port=door.port)
        world.url = url.render_as_string(hide_password=False)
        db = database(world, vault.provider, pool_size=10)

        ends = await world.together(*[lambda: use(world, db)] * 20)

        assert all(isinstance(end, AuthenticationFailed) for end in ends)
        assert len(door.arrivals) <= 12
        assert lent(db) == []


@on_servers
async def test_nothing_shows_what_was_given(
    own_world: World, rotating: Any, caplog: pytest.LogCaptureFixture
) -> None:
    world = own_world
    caplog.set_level(logging.DEBUG)
    vault = Vault(world, lambda _: {"username": "app", "password": NEW})
    db = database(world, vault.provider)

    with pytest.raises(AuthenticationFailed) as caught:
        await use(world, db)

    told = "".join(traceback.format_exception(caught.value))
    seen = (told, repr(db), db.explain(), repr(db.options), str(db.snapshot()), caplog.text)
    assert not [text for text in seen if "c4nary" in text]
    assert "credentials" in db.explain()


@on_servers
@pytest.mark.parametrize("given", [None, 3, {"user": "app"}, {"password": 3}], ids=str)
async def test_a_provider_that_gives_something_else_is_told_so(
    own_world: World, rotating: Any, given: Any
) -> None:
    world = own_world
    db = database(world, Vault(world, lambda _: given).provider)

    with pytest.raises(ConfigurationError, match="credentials"):
        await use(world, db)
    assert lent(db) == []


def test_threads_cannot_await_a_provider() -> None:
    async def provider() -> str:
        return OLD

    with (
        Database("postgresql://app@127.0.0.1:1/app", credentials=provider) as db,
        pytest.raises(ConfigurationError, match="coroutine"),
        db.session() as session,
    ):
        session.execute("SELECT 1")
