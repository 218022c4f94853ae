"""How soon a dead link is noticed where nobody has set a deadline: TCP's own looks at the peer.

By itself Linux asks a peer that is still after two hours, and repeats what was not acknowledged for
about 15 minutes (``tcp_keepalive_time``, ``tcp_retries2``).
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any

# seconds of silence before the peer is asked, and between two questions; how many of these
IDLE, INTERVAL, COUNT = 30, 10, 3

# milliseconds for which what was sent may stay unacknowledged
UNACKNOWLEDGED = 10_000


def libpq() -> dict[str, int]:
    """As libpq's connection parameters."""
    return {
        "keepalives": 1,
        "keepalives_idle": IDLE,
        "keepalives_interval": INTERVAL,
        "keepalives_count": COUNT,
        "tcp_user_timeout": UNACKNOWLEDGED,
    }


def keep_alive(sock: Any) -> None:
    """The same for a driver that does not offer it."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", IDLE),
        ("TCP_KEEPINTVL", INTERVAL),
        ("TCP_KEEPCNT", COUNT),
        ("TCP_USER_TIMEOUT", UNACKNOWLEDGED),
    ):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def keep_alive_by_number(fileno: Callable[[], int]) -> None:
    """The same for a driver that tells only its file descriptor."""
    with contextlib.suppress(Exception):
        duplicate = socket.socket(fileno=os.dup(fileno()))
        with contextlib.closing(duplicate):
            keep_alive(duplicate)
