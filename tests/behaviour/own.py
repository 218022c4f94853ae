"""A server of a test's own: to be restarted, demoted, and counted at the door."""

from __future__ import annotations

import socket
import threading
import time
from types import TracebackType
from typing import Self

from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool

from tests.backends import Backend
from tests.servers import LocalServer, MariaDBServer, PostgreSQLServer
from tests.worlds import PATIENCE, World

_SERVERS: dict[str, type[LocalServer]] = {
    "postgresql": PostgreSQLServer,
    "mariadb": MariaDBServer,
}


class OwnServer:
    """A server, with a user that may not write where the server is read-only."""

    def __init__(self, family: str) -> None:
        self.family = family
        self.server = _SERVERS[family]()
        self.server.start()
        self.server.create_database("app")
        if family == "mariadb":
            self.do("CREATE USER app@'%' IDENTIFIED BY 'app'", "GRANT ALL ON app.* TO app@'%'")
        else:
            self.do("CREATE USER app PASSWORD 'app'", "GRANT ALL ON SCHEMA public TO app")

    def world(self, backend: Backend) -> World:
        self.server.empty_database("app")
        url = make_url(self.server.url("app", backend.scheme))
        world = World(backend, url.render_as_string(hide_password=False), self.server.url("app"))
        if self.family == "postgresql":
            self.do(
                "GRANT ALL ON SCHEMA public TO app",
                "GRANT ALL ON ALL TABLES IN SCHEMA public TO app",
                "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app",
            )
        world.url = url.set(username="app", password="app").render_as_string(hide_password=False)
        return world

    def do(self, *statements: str) -> None:
        """Statements of the administrator."""
        engine = create_engine(self.server.url("app"), isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                for statement in statements:
                    connection.execute(text(statement))
        finally:
            engine.dispose()

    def demote(self) -> None:
        if self.family == "postgresql":
            self._reload("ALTER SYSTEM SET default_transaction_read_only = on", "on")
        else:
            self.do("SET GLOBAL read_only = 1")

    def promote(self) -> None:
        if self.family == "postgresql":
            self._reload("ALTER SYSTEM RESET default_transaction_read_only", "off")
        else:
            self.do("SET GLOBAL read_only = 0")

    def _reload(self, statement: str, expected: str) -> None:
        """The server tells its processes when it has read the file, which is not at once."""
        self.do(statement, "SELECT pg_reload_conf()")
        engine = create_engine(self.server.url("app"), poolclass=NullPool)
        deadline = time.monotonic() + PATIENCE
        answer = None
        while answer != expected and time.monotonic() < deadline:
            with engine.connect() as connection:
                answer = connection.scalar(text("SHOW default_transaction_read_only"))
        assert answer == expected


class Door:
    """Listens in front of a server and counts who comes; where nobody is behind it, it closes."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        # when each came, in monotonic seconds
        self.arrivals: list[float] = []
        self.refused: list[float] = []
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._listen, name="door", daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._sockets:
            _shut(end)
        for thread in self._threads:
            thread.join(10)
        for end in self._sockets:
            end.close()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.arrivals.append(time.monotonic())
            try:
                server = socket.create_connection(self._target, 5)
            except OSError:
                self.refused.append(time.monotonic())
                client.close()
                continue
            self._sockets += [client, server]
            for ends in ((client, server), (server, client)):
                thread = threading.Thread(target=_forward, args=ends, name="door", daemon=True)
                self._threads.append(thread)
                thread.start()


def _forward(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    _shut(sink)
    _shut(source)


def _shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
