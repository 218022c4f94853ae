"""A connection that cannot be made is the same class of error by every driver."""

from __future__ import annotations

import socket
import threading
from typing import Final

import pytest
from sqlalchemy import make_url

from hermetic.faults import FaultKind, Rerun
from tests.faults.clients import Bench, on_servers
from tests.servers.process import free_port

K: Final = FaultKind


@on_servers
def test_a_closed_port_is_one_class(bench: Bench) -> None:
    url = make_url(bench.url).set(port=free_port()).render_as_string(hide_password=False)
    fault = bench.fault(bench.connect_error(url))
    assert (fault.kind, fault.rerun) == (K.CANNOT_CONNECT, Rerun.CONNECT)
    assert not fault.ambiguous_at_commit


@on_servers
def test_a_host_that_does_not_exist_is_one_class(bench: Bench) -> None:
    url = make_url(bench.url).set(host="nowhere.invalid").render_as_string(hide_password=False)
    fault = bench.fault(bench.connect_error(url))
    assert (fault.kind, fault.rerun) == (K.CANNOT_CONNECT, Rerun.CONNECT)


@on_servers
@pytest.mark.slow
def test_a_server_that_does_not_answer_a_connect_is_one_class(bench: Bench) -> None:
    # the connect_timeout of PyMySQL and asyncmy ends with the TCP handshake
    name, seconds = {
        "asyncpg": ("timeout", 0.5),
        "pymysql": ("read_timeout", 1),
        "asyncmy": ("read_timeout", 1),
    }.get(bench.backend.name, ("connect_timeout", 2))
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = make_url(bench.url).set(port=deaf.getsockname()[1])
        error = bench.connect_error(url.render_as_string(hide_password=False), **{name: seconds})
    fault = bench.fault(error)
    assert (fault.kind, fault.rerun) == (K.CANNOT_CONNECT, Rerun.CONNECT)


def hang_up(listening: socket.socket) -> None:
    listening.accept()[0].close()


@on_servers
def test_a_server_that_hangs_up_on_a_connect_is_one_class(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as rude:
        url = make_url(bench.url).set(port=rude.getsockname()[1])
        if bench.backend.family == "postgresql":
            # a client that asks for TLS takes an early end for a no, and connects again
            name = "ssl" if bench.backend.name == "asyncpg" else "sslmode"
            url = url.update_query_dict({name: "disable"})
        threading.Thread(target=hang_up, args=[rude]).start()
        error = bench.connect_error(url.render_as_string(hide_password=False))
    fault = bench.fault(error)
    assert (fault.kind, fault.rerun) == (K.CANNOT_CONNECT, Rerun.CONNECT)


@on_servers
def test_a_wrong_password_is_one_class(bench: Bench) -> None:
    url = make_url(bench.url).set(password="wrong").render_as_string(hide_password=False)
    fault = bench.fault(bench.connect_error(url))
    assert (fault.kind, fault.rerun) == (K.AUTHENTICATION, Rerun.NEVER)


@on_servers
def test_a_database_that_does_not_exist_is_one_class(bench: Bench) -> None:
    url = make_url(bench.url).set(database="nowhere").render_as_string(hide_password=False)
    assert bench.fault(bench.connect_error(url)).kind is K.PROGRAMMING


@on_servers
def test_one_connection_too_many_is_one_class(bench: Bench) -> None:
    limit = "CONNECTION LIMIT 1"
    if bench.backend.family == "mariadb":
        limit = "WITH MAX_USER_CONNECTIONS 1"
    with bench.account("SELECT ON child", limit) as url:
        bench.client(url)
        fault = bench.fault(bench.connect_error(url))
    assert (fault.kind, fault.rerun) == (K.TOO_MANY_CONNECTIONS, Rerun.CONNECT)
