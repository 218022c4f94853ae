"""Fixtures of behaviour cases, besides ``world``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.proxy import Proxy
from tests.worlds import World


@pytest.fixture
def proxy(world: World) -> Iterator[Proxy]:
    """A proxy that the world's Databases go through; its observer does not."""
    with Proxy(world.url) as proxy:
        world.url = proxy.url
        yield proxy
