"""Fixtures of web integrations, besides ``world``."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.missing import left_out
from tests.proxy import Proxy
from tests.worlds import World

if TYPE_CHECKING:
    from tests.web.sites import Shop

collect_ignore_glob = ["test_*.py"] if left_out("web") else []

if not left_out("web"):
    with warnings.catch_warnings():
        # it imports advanced-alchemy where there is one, which uses what SQLAlchemy has deprecated
        warnings.simplefilter("ignore")
        importlib.import_module("litestar")


class Site:
    """A world, in which requests are answered in a loop, whichever world their endpoints are in."""

    def __init__(self, world: World) -> None:
        self.world = world

    def shop(self, options: dict[str, Any] | None = None, **web: Any) -> Shop:
        from tests.web.sites import Shop  # not before it is known that it can be

        database = self.world.database(**(options or {}))
        return Shop(database, is_async=self.world.is_async, **web)


@pytest.fixture
def site(world: World) -> Site:
    return Site(world)


@pytest.fixture
def proxied(world: World) -> Iterator[Proxy]:
    """A proxy that the world's Databases go through; its observer does not."""
    with Proxy(world.url) as proxy:
        world.url = proxy.url
        yield proxy
