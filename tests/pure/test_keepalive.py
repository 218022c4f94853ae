"""What TCP is told of a connection, by its socket or by its number alone."""

from __future__ import annotations

import socket

from hermetic.dialects import keepalive

IN_FORCE = {
    socket.TCP_KEEPIDLE: 30,
    socket.TCP_KEEPINTVL: 10,
    socket.TCP_KEEPCNT: 3,
    socket.TCP_USER_TIMEOUT: 10_000,
}


def in_force(sock: socket.socket) -> dict[int, int]:
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    return {option: sock.getsockopt(socket.IPPROTO_TCP, option) for option in IN_FORCE}


def test_a_socket_is_told() -> None:
    with socket.socket() as sock:
        keepalive.keep_alive(sock)

        assert in_force(sock) == IN_FORCE


def test_a_socket_is_told_by_its_number_and_stays_open() -> None:
    with socket.socket() as sock:
        keepalive.keep_alive_by_number(sock.fileno)

        assert in_force(sock) == IN_FORCE


def test_a_local_socket_and_one_that_is_gone_are_left_alone() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        keepalive.keep_alive(sock)
    keepalive.keep_alive(None)
    keepalive.keep_alive_by_number(lambda: -1)
