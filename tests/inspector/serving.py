"""The page on real servers: an ASGI application on uvicorn, a WSGI application on wsgiref."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.servers.process import wait_until
from tests.worlds import PATIENCE


class _Threading(ThreadingMixIn, WSGIServer):
    # a browser keeps connections on which it asks for nothing
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    timeout = PATIENCE

    def handle(self) -> None:
        try:
            super().handle()
        except (TimeoutError, ConnectionError):
            pass  # nothing was asked, or nobody waits for the answer any more

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@contextmanager
def on_wsgiref(app: Any, mount: str = "") -> Iterator[str]:
    """Served by a thread for each request; gives the address of the page, without a slash."""
    server = make_server("127.0.0.1", 0, _mounted(app, mount), _Threading, _Silent)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{mount}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)


def _mounted(app: Any, mount: str) -> Any:
    def outer(environ: dict[str, Any], start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        if path == mount or path.startswith(f"{mount}/"):
            environ["SCRIPT_NAME"] += mount
            environ["PATH_INFO"] = path[len(mount) :]
            return app(environ, start_response)
        start_response("404 Not Found", [("content-length", "0")])
        return []

    return outer if mount else app


@contextmanager
def on_uvicorn(app: Any, mount: str = "") -> Iterator[str]:
    """Served by uvicorn, inside Starlette where it is mounted; gives the address of the page."""
    outer = Starlette(routes=[Mount(mount, app)]) if mount else app
    config = uvicorn.Config(
        outer, port=0, log_level="error", ws="none", http="h11", loop="asyncio", lifespan="on"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert wait_until(lambda: server.started or not thread.is_alive(), PATIENCE)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}{mount}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


@dataclass(frozen=True)
class Answer:
    """What a server has said. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def ask(
    url: str,
    path: str = "/",
    *,
    method: str = "GET",
    body: str | None = None,
    **headers: str,
) -> Answer:
    """One request as it is given: no redirect is followed, no cookie kept. Names in `headers` have
    underscores for dashes.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, parts.path + path, body, named)
        answer = connection.getresponse()
        told = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, told, answer.read())
    finally:
        connection.close()
