"""A proxy that counts round trips: how often a client waited for its server.

An answer is held back for a moment, in which the client sends whatever it sends without waiting for
it. What comes after an answer went out is a new trip. The count does not depend on how fast the
machine is, as long as no client pauses for that moment in the middle of sending.
"""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self

from sqlalchemy import URL

_MOMENT = 0.003


class CountingProxy:
    """Listens on a TCP port of its own while its block is open, and forwards to one server."""

    def __init__(self, url: URL) -> None:
        self._target = url
        self._listener = socket.create_server(("127.0.0.1", 0))
        host, port = self._listener.getsockname()
        self.url = url.set(host=host, port=port, query={})
        self._lock = threading.Lock()
        self._trips = 0
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    @property
    def trips(self) -> int:
        """The round trips of all connections until now."""
        with self._lock:
            return self._trips

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # wakes the thread that waits in accept(), which close() alone does not
        self._listener.shutdown(socket.SHUT_RDWR)
        for each in self._sockets:
            _shut(each)
        for thread in self._threads:
            thread.join(5)
        for each in (self._listener, *self._sockets):
            each.close()

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = _connect(self._target)
            self._sockets += [client, server]
            answered = threading.Event()
            answered.set()
            self._start(self._upward, client, server, answered)
            self._start(self._downward, client, server, answered)

    def _upward(
        self, client: socket.socket, server: socket.socket, answered: threading.Event
    ) -> None:
        while data := _received(client):
            if answered.is_set():
                answered.clear()
                with self._lock:
                    self._trips += 1
            if not _delivered(server, data):
                break
        _shut(server)

    def _downward(
        self, client: socket.socket, server: socket.socket, answered: threading.Event
    ) -> None:
        while data := _received(server):
            if not answered.wait(_MOMENT):
                answered.set()
            if not _delivered(client, data):
                break
        _shut(client)


def _connect(url: URL) -> socket.socket:
    """To the server's TCP port, or to PostgreSQL's unix socket."""
    folder, port = url.query.get("host"), url.query.get("port", url.port)
    if isinstance(folder, str) and folder.startswith("/"):
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{folder}/.s.PGSQL.{port}")
        return server
    return socket.create_connection((url.host or "127.0.0.1", url.port or 0))


def _received(end: socket.socket) -> bytes:
    try:
        return end.recv(65536)
    except OSError:
        return b""


def _delivered(end: socket.socket, data: bytes) -> bool:
    try:
        end.sendall(data)
    except OSError:
        return False
    return True


def _shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # the other side was faster
