"""A question and its answer on a socket: one object of JSON each, with its length in front.

Both are bounded in length and in time, so that neither side is held by the other.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

from ..clock import monotonic

LONGEST_QUESTION = 4096
LONGEST_ANSWER = 64 * 1024 * 1024
_HEAD = struct.Struct(">I")
_PIECE = 65536


class Broken(OSError):
    """What came is not what was agreed."""


def send(connection: socket.socket, content: dict[str, Any], until: float) -> None:
    """:raises OSError: the other side did not take it in time."""
    # never the words of an object that JSON does not know: nobody can tell what they hold
    body = json.dumps(content, separators=(",", ":")).encode()
    connection.settimeout(_left(until))
    connection.sendall(_HEAD.pack(len(body)) + body)


def receive(connection: socket.socket, longest: int, until: float) -> dict[str, Any]:
    """:raises OSError: it did not come in time, is too long, or is something else."""
    (length,) = _HEAD.unpack(_exactly(connection, _HEAD.size, until))
    if length > longest:
        raise Broken(f"{length} bytes, more than {longest}")
    try:
        content = json.loads(_exactly(connection, length, until))
    except (ValueError, RecursionError):
        raise Broken("it is no JSON") from None
    if not isinstance(content, dict):
        raise Broken("it is no object")
    return content


def _exactly(connection: socket.socket, length: int, until: float) -> bytes:
    found = bytearray()
    while len(found) < length:
        connection.settimeout(_left(until))
        piece = connection.recv(min(_PIECE, length - len(found)))
        if not piece:
            raise Broken("it ended early")
        found += piece
    return bytes(found)


def _left(until: float) -> float:
    left = until - monotonic()
    if left <= 0:
        raise TimeoutError("it took too long")
    return left


_UCRED = struct.Struct("3i")


def user_of(connection: socket.socket) -> int | None:
    """Whose process is on the other side, by what the system says; ``None`` where it does not."""
    option: int | None = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    content = connection.getsockopt(socket.SOL_SOCKET, option, _UCRED.size)
    user: int = _UCRED.unpack(content)[1]
    return user


def is_trusted(connection: socket.socket, owner: int | None = None) -> bool:
    """Whether it is a process of this user's, or of the administrator's.

    :param owner: whose it has to be where it is not this user's. Default: this user's.
    """
    user = user_of(connection)
    # without the system's word there is the folder, which nobody else can enter
    return user is None or user in (0, os.geteuid() if owner is None else owner)
