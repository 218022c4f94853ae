"""A proxy in front of a server, which can cut or hold a connection at a statement, or answer it.

It knows of the protocols only what a COMMIT, or any other given text, looks like among the bytes
that a client sends; and of PostgreSQL's, what an error is.
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

# PostgreSQL's ReadyForQuery, outside of any transaction
_READY: Final = b"Z\0\0\0\5I"

# the field of an ErrorResponse
_CODE: Final = re.compile(rb"\0C[0-9A-Z]{5}\0")

# No test keeps anything waiting for as long.
_PATIENCE: Final = 20.0


class Trap:
    """What happens to the next statement of a kind, and the signals that go with it.

    ``reached`` is set when the statement has come: to the proxy, or, where it is forwarded, when
    the server has answered it. ``answer`` is what the client is told in the place of that;
    ``instead`` what the server gets in the place of the statement; ``spoil`` has it made one that
    the server refuses, with this in the place of the code.
    """

    def __init__(
        self,
        pattern: re.Pattern[bytes],
        *,
        forward: bool = True,
        cut: bool = False,
        freeze: bool = False,
        answer: bytes = b"",
        instead: bytes = b"",
        spoil: bytes = b"",
    ) -> None:
        self.pattern = pattern
        self.answer = answer
        self.instead = instead
        self.spoil = spoil
        self.forward = forward
        self.cut = cut
        self.freeze = freeze
        self.reached = threading.Event()
        self._released = threading.Event()

    def release(self) -> None:
        """Let go what is held."""
        self._released.set()

    def hold(self) -> None:
        self._released.wait(_PATIENCE)


class Proxy:
    """Listens on a port of its own while its block is open, and forwards to one server."""

    def __init__(self, url: str, listener: socket.socket | None = None) -> None:
        """:param url: where the server is, as the URL of a database on it.
        :param listener: where to wait for clients, if not on this machine's own address.
        """
        target = make_url(url)
        self._target = (target.host or "127.0.0.1", target.port or 0)
        self._listener = listener or socket.create_server(("127.0.0.1", 0))
        host, port = self._listener.getsockname()
        self.url = target.set(host=host, port=port).render_as_string(hide_password=False)
        # guards links, traps and what was sent
        self._lock = threading.Lock()
        self._links: list[Link] = []
        self._traps: list[Trap] = []
        self._sprung = 0
        self._sent = bytearray()
        self.mysql = target.get_backend_name() in ("mysql", "mariadb")
        self._requests: list[bytes] = []
        self.flowing = threading.Event()
        self.flowing.set()
        self._closed = False
        # what PostgreSQL's side says of itself beside what it says, where a connection begins
        self.parameters: dict[str, str] = {}
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

    def freeze_at(self, pattern: re.Pattern[bytes] = COMMIT) -> Trap:
        """``freeze`` when the next such statement comes: the server has not seen it."""
        return self._set(Trap(pattern, forward=True, cut=False, freeze=True))

    def answer_after(self, state: str, pattern: re.Pattern[bytes] = COMMIT) -> Trap:
        """Have PostgreSQL carry out the next such statement, and tell of an error outside of any
        transaction.
        """
        return self._set(Trap(pattern, answer=_failure(state, b"I")))

    def answer_before(self, state: str, pattern: re.Pattern[bytes] = COMMIT) -> Trap:
        """Have PostgreSQL roll back at the next such statement, and tell of an error."""
        answer = _failure(state, b"I")
        return self._set(Trap(pattern, answer=answer, instead=_message(b"Q", b"ROLLBACK\0")))

    def fail(self, state: str, pattern: re.Pattern[bytes]) -> Trap:
        """Have the next such statement fail on PostgreSQL, with an error of this code."""
        return self._set(Trap(pattern, spoil=f"\0C{state}\0".encode()))

    def sprung(self) -> int:
        """How many traps were."""
        with self._lock:
            return self._sprung

    def disarm(self) -> None:
        """Forget the traps that were not sprung."""
        with self._lock:
            self._traps.clear()

    def freeze(self) -> None:
        """Forward nothing, in either direction, not even the end of a connection."""
        self.flowing.clear()

    def thaw(self) -> None:
        self.flowing.set()

    def strand(self) -> None:
        """Forward nothing more on the connections that there are, as a firewall that has forgotten
        them; new ones are welcome.
        """
        with self._lock:
            for link in self._links:
                link.going.clear()

    def turn(self, url: str) -> None:
        """Lead new connections to another server; those that there are stay where they are."""
        target = make_url(url)
        self._target = (target.host or "127.0.0.1", target.port or 0)

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
        return Requests(mysql=self.mysql)

    def told(self) -> bytes:
        """The parameters, as PostgreSQL tells them."""
        return b"".join(
            _message(b"S", f"{name}\0{value}\0".encode()) for name, value in self.parameters.items()
        )

    def take(self, data: bytes, reader: Requests) -> Trap | None:
        """Note what a client sent; the trap that it springs, if any."""
        with self._lock:
            self._sent += data
            self._requests += reader.feed(data)
            for trap in self._traps:
                if trap.pattern.search(data):
                    self._traps.remove(trap)
                    self._sprung += 1
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
            link = self._link(client, server)
            with self._lock:
                self._links = [each for each in self._links if not each.over]
                link.start()
                self._links.append(link)

    def _link(self, client: socket.socket, server: socket.socket) -> Link:
        return Link(self, client, server)


class Link:
    """One client's connection and the one to the server behind it."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._sprung: Trap | None = None
        self.going = threading.Event()
        self.going.set()
        self._threads = [
            threading.Thread(target=pump, name="proxy-link", daemon=True)
            for pump in (self._upward, self._downward)
        ]
        for each in (client, server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @property
    def over(self) -> bool:
        """Whether it was cut, and both its threads have ended; its sockets are closed then."""
        if any(thread.is_alive() for thread in self._threads):
            return False
        self._close()
        return True

    def _pause(self) -> None:
        self._proxy.flowing.wait()
        self.going.wait()

    def cut(self) -> None:
        self.going.set()
        for each in (self._client, self._server):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the other side was faster

    def join(self) -> None:
        for thread in self._threads:
            thread.join(_PATIENCE)
        self._close()

    def _close(self) -> None:
        self._client.close()
        self._server.close()

    def _upward(self) -> None:
        reader = self._proxy.reader()
        while data := received(self._client):
            trap = self._proxy.take(data, reader)
            if trap is not None and not trap.forward:
                trap.reached.set()
                break
            if trap is not None and trap.freeze:
                self._proxy.freeze()
                trap.reached.set()
                trap = None
            self._sprung = trap
            self._pause()
            if trap is not None and trap.spoil:
                data = trap.pattern.sub(lambda found: b"x" * len(found[0]), data, count=1)
            if not delivered(self._server, (trap and trap.instead) or data):
                break
        self._pause()
        self.cut()

    def _downward(self) -> None:
        greeted = False
        while data := received(self._server):
            if self._proxy.parameters and not greeted and data.endswith(_READY):
                greeted = True
                data = data.removesuffix(_READY) + self._proxy.told() + _READY
            trap, self._sprung = self._sprung, None
            if trap is not None and trap.spoil:
                data = _CODE.sub(trap.spoil, data)
                trap.release()
            if trap is not None and trap.answer:
                while data[-6:-1] != _READY[:-1] and (more := received(self._server)):
                    data += more
                data = trap.answer
                trap.release()
            if trap is not None:
                trap.reached.set()
                if trap.cut:
                    break
                trap.hold()
            self._pause()
            if not delivered(self._client, data):
                break
        self._pause()
        self.cut()


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


def _failure(state: str, status: bytes) -> bytes:
    """PostgreSQL's ErrorResponse, and that it is ready for the next statement."""
    fields = f"SERROR\0VERROR\0C{state}\0Mrestart transaction: made by the tests\0\0"
    return _message(b"E", fields.encode()) + _message(b"Z", status)


def received(end: socket.socket) -> bytes:
    try:
        return end.recv(65536)
    except OSError:
        return b""


def delivered(end: socket.socket, data: bytes) -> bool:
    try:
        end.sendall(data)
    except OSError:
        return False
    return True
