"""A pooler between the program and PostgreSQL is told of, once."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import make_url

from hermetic.dialects import postgresql
from tests.behaviour.aftermath import on_postgresql
from tests.worlds import World

# BackendKeyData: its type, its length, and after these the process
_KEY = b"K\x00\x00\x00\x0c"


@contextlib.contextmanager
def between(url: str) -> Iterator[str]:
    """As a pooler does it: whoever connects is told of a process that is the pooler's own."""
    target = make_url(url)
    listener = socket.create_server(("127.0.0.1", 0))

    def forward(source: socket.socket, sink: socket.socket, changes: bool) -> None:
        with contextlib.suppress(OSError), sink:
            while data := source.recv(65536):
                head, found, rest = data.partition(_KEY) if changes else (data, b"", b"")
                sink.sendall(head + found + (b"\x00\x00\x00\x07" + rest[4:] if found else rest))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection((target.host or "", target.port or 0))
                for source, sink, changes in ((client, server, False), (server, client, True)):
                    threading.Thread(
                        target=forward, args=(source, sink, changes), daemon=True
                    ).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        port = listener.getsockname()[1]
        yield target.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@on_postgresql
async def test_a_pooler_is_told_of_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    postgresql._tell_of_pooler.cache_clear()
    caplog.set_level(logging.WARNING, logger="hermetic")
    async with world.session(world.database()) as session:
        await session.execute("SELECT 1")
    assert "pooler" not in caplog.text

    with between(world.url) as url:
        world.url = url
        for _ in range(2):
            async with world.session(world.database()) as session:
                await session.execute("SELECT 1")
        if world.is_async:
            await world.aclose()

    assert caplog.text.count("there is a pooler") == 1
