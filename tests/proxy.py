"""A proxy in front of a server, which can cut or hold a connection at a statement.

It knows of the protocols only what a COMMIT, or any other given text, looks like among the bytes
that a client sends.
"""

from __future__ import annotations

import re
import socket
import threading
from types import TracebackType
from typing import Final, Self

from sqlalchemy import make_url

from tests.wire import Requests

# As PostgreSQL's simple or extended query, and as MariaDB's COM_QUERY.
COMMIT: Final = re.compile(rb"[\x00\x03\x0b\x0c]COMMIT;?(?:\x00|\Z)")
ROLLBACK: Final = re.compile(rb"[\x00\x03\x0d\x0e]ROLLBACK;?(?:\x00|\Z)")

# No test keeps anything waiting for as long.
_PATIENCE: Final = 20.0


class Trap:
    """What happens to the next statement of a kind, and the signals that go with it.

    ``reached`` is set when the statement has come: to the proxy, or, where it is forwarded, when
    the server has answered it.
    """

    def __init__(self, pattern: re.Pattern[bytes], *, forward: bool, cut: bool) -> None:
        self.pattern = pattern
        self.forward = forward
        self.cut = cut
        self.reached = threading.Event()
        self._released = threading.Event()

    def release(self) -> None:
        """Let go what is held."""
        self._released.set()

    def hold(self) -> None:
        self._released.wait(_PATIENCE)


class Proxy:
    """Listens on a port of its own while its block is open, and forwards to one server."""

    def __init__(self, url: str) -> None:
        """:param url: where the server is, as the URL of a database on it."""
        target = make_url(url)
        self._target = (target.host or "127.0.0.1", target.port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        host, port = self._listener.getsockname()
        self.url = target.set(host=host, port=port).render_as_string(hide_password=False)
        # guards links, traps and what was sent
        self._lock = threading.Lock()
        self._links: list[_Link] = []
        self._traps: list[Trap] = []
        self._sent = bytearray()
        self._mysql = target.get_backend_name() in ("mysql", "mariadb")
        self._requests: list[bytes] = []
        self.flowing = threading.Event()
        self.flowing.set()
        self._closed = False
        self._acceptor = threading.Thread(target=self._accept, name="proxy", daemon=True)

    @property
    def sent(self) -> bytes:
        """Everything that clients have sent since the start, or since ``forget``."""
        with self._lock:
            return bytes(self._sent)

    @property
    def requests(self) -> list[bytes]:
        """What clients have waited for an answer to since the start, or since ``forget``."""
        with self._lock:
            return list(self._requests)

    def forget(self) -> None:
        with self._lock:
            self._sent.clear()
            self._requests.clear()

    def cut_before(self, pattern: re.Pattern[bytes] = COMMIT) -> Trap:
        """Cut the connection of the next such statement; the server never sees it."""
        return self._set(Trap(pattern, forward=False, cut=True))

    def cut_after(self, pattern: re.Pattern[bytes] = COMMIT) -> Trap:
        """Cut the connection when the server has answered the next such statement."""
        return self._set(Trap(pattern, forward=True, cut=True))

    def hold(self, pattern: re.Pattern[bytes] = COMMIT) -> Trap:
        """Keep the server's answer to the next such statement back, until it is released."""
        return self._set(Trap(pattern, forward=True, cut=False))

    def freeze(self) -> None:
        """Forward nothing, in either direction, not even the end of a connection."""
        self.flowing.clear()

    def thaw(self) -> None:
        self.flowing.set()

    def cut_all(self) -> None:
        """Cut every connection there is; new ones are welcome."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.cut()

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closed = True
        # wakes the thread that waits in accept(), which close() alone does not
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.thaw()
        with self._lock:
            traps, links = list(self._traps), list(self._links)
        for trap in traps:
            trap.release()
        for link in links:
            link.cut()
        self._acceptor.join(_PATIENCE)
        for link in links:
            link.join()

    # ------------------------------------------------------------ for its links

    def reader(self) -> Requests:
        """For what one client sends."""
        return Requests(mysql=self._mysql)

    def take(self, data: bytes, reader: Requests) -> Trap | None:
        """Note what a client sent; the trap that it springs, if any."""
        with self._lock:
            self._sent += data
            self._requests += reader.feed(data)
            for trap in self._traps:
                if trap.pattern.search(data):
                    self._traps.remove(trap)
                    return trap
        return None

    def _set(self, trap: Trap) -> Trap:
        with self._lock:
            self._traps.append(trap)
        return trap

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target, timeout=_PATIENCE)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            link = _Link(self, client, server)
            with self._lock:
                self._links.append(link)
            link.start()


class _Link:
    """One client's connection and the one to the server behind it."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._sprung: Trap | None = None
        self._threads = [
            threading.Thread(target=pump, name="proxy-link", daemon=True)
            for pump in (self._upward, self._downward)
        ]
        for each in (client, server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def cut(self) -> None:
        for each in (self._client, self._server):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the other side was faster

    def join(self) -> None:
        for thread in self._threads:
            thread.join(_PATIENCE)
        self._client.close()
        self._server.close()

    def _upward(self) -> None:
        reader = self._proxy.reader()
        while data := _received(self._client):
            trap = self._proxy.take(data, reader)
            if trap is not None and not trap.forward:
                trap.reached.set()
                break
            self._sprung = trap
            self._proxy.flowing.wait()
            if not _delivered(self._server, data):
                break
        self._proxy.flowing.wait()
        self.cut()

    def _downward(self) -> None:
        while data := _received(self._server):
            trap, self._sprung = self._sprung, None
            if trap is not None:
                trap.reached.set()
                if trap.cut:
                    break
                trap.hold()
            self._proxy.flowing.wait()
            if not _delivered(self._client, data):
                break
        self._proxy.flowing.wait()
        self.cut()


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
