"""Fixtures of behaviour cases, besides ``world``."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.backends import Backend
from tests.behaviour.cluster import Cluster
from tests.behaviour.own import OwnServer
from tests.behaviour.watching import servers_own_limit
from tests.proxy import Proxy
from tests.servers import ServerUnavailable
from tests.worlds import World

__all__ = ["servers_own_limit"]


@pytest.fixture
def proxy(world: World) -> Iterator[Proxy]:
    """A proxy that the world's Databases go through; its observer does not."""
    with Proxy(world.url) as proxy:
        world.url = proxy.url
        yield proxy


@pytest.fixture(scope="module")
def own_servers() -> Iterator[Callable[[str], OwnServer]]:
    """Servers that a module has for itself, by their families; tests leave them as they were."""
    started: dict[str, OwnServer] = {}

    def get(family: str) -> OwnServer:
        if family not in started:
            try:
                started[family] = OwnServer(family)
            except ServerUnavailable as error:
                pytest.skip(str(error))
        return started[family]

    yield get
    for each in started.values():
        each.server.stop()


@pytest.fixture(scope="module")
def clusters() -> Iterator[Callable[[str], Cluster]]:
    """Primaries with replicas, by their families; tests leave them as they were."""
    started: dict[str, Cluster] = {}

    def get(family: str) -> Cluster:
        if family == "sqlite":
            pytest.skip("SQLite has no replicas")
        if family not in started:
            try:
                started[family] = Cluster(family)
            except ServerUnavailable as error:
                pytest.skip(str(error))
        return started[family]

    yield get
    for each in started.values():
        each.stop()


@pytest.fixture
def cluster(backend: Backend, clusters: Callable[[str], Cluster]) -> Cluster:
    """The module's primary and replicas of the backend's family."""
    return clusters(backend.family)


@pytest.fixture
def replicated(backend: Backend, cluster: Cluster) -> Iterator[World]:
    """As ``world``, on that primary."""
    made = cluster.world(backend)
    yield made
    if made.is_async:
        made.close_observer()
    else:
        made.close()


@pytest.fixture
def own(backend: Backend, own_servers: Callable[[str], OwnServer]) -> OwnServer:
    """The module's own server of the backend's family."""
    return own_servers(backend.family)


@pytest.fixture
def own_world(backend: Backend, own: OwnServer) -> Iterator[World]:
    """As ``world``, on that server."""
    made = own.world(backend)
    yield made
    if made.is_async:
        made.close_observer()
    else:
        made.close()
