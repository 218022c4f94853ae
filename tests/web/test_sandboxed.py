"""Applications in a sandbox, called as their tests call them."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from hermetic.testing import SandboxError, SandboxLeak, sandbox
from tests.behaviour.aftermath import on
from tests.web.conftest import Site
from tests.web.sites import client_of, usernames

with warnings.catch_warnings():
    # which client it goes by is for whoever tests to say
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

on_asyncio_drivers = on(lambda backend: backend.name in ("aiosqlite", "asyncpg", "asyncmy"))
on_threads = on(lambda backend: backend.name in ("sqlite", "psycopg", "pymysql"))


@on_asyncio_drivers
def test_a_client_of_threads_with_endpoints_of_asyncio(site: Site) -> None:
    shop = site.shop()
    with TestClient(shop.app) as client:
        for _ in range(2):
            with sandbox(shop.database).through(client.portal):
                assert client.post("/users/ann").json() == {"before": 0, "after": 1}
                assert client.post("/users/ann").status_code == 409
                assert client.post("/users/bob").json() == {"before": 1, "after": 2}
        assert usernames(site.world) == []

        async def leave() -> None:
            await shop.database.session().__aenter__()

        assert client.portal is not None
        with pytest.raises(SandboxLeak), sandbox(shop.database).through(client.portal):
            client.portal.call(leave)
        with pytest.raises(ValueError, match="mine"), sandbox(shop.database).through(client.portal):
            raise ValueError("mine")
        assert client.post("/users/ann").json() == {"before": 0, "after": 1}
        client.portal.call(shop.database.aclose)


@on_asyncio_drivers
def test_without_a_loop_it_says_where_there_is_one(site: Site) -> None:
    shop = site.shop()
    client = TestClient(shop.app)
    with (
        pytest.raises(SandboxError, match="with TestClient"),
        sandbox(shop.database).through(client.portal),
    ):
        pass


@on_threads
def test_a_client_of_threads_with_endpoints_of_threads(site: Site) -> None:
    shop = site.shop()
    with TestClient(shop.app) as client, sandbox(shop.database):
        assert client.post("/users/ann").json() == {"before": 0, "after": 1}
        assert client.post("/users/ann").status_code == 409
    assert usernames(site.world) == []


@on_asyncio_drivers
async def test_a_client_of_the_same_loop(site: Site) -> None:
    shop = site.shop()
    async with client_of(shop.app, shop.database) as client:
        async with sandbox(shop.database):
            assert (await client.post("/users/ann")).status_code == 200
            answer: Any = await client.post("/users/ann")
            assert answer.status_code == 409
        assert usernames(site.world) == []
