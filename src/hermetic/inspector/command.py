"""``hermetic inspect``: the page of the processes of this host."""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import sys
from socketserver import ThreadingMixIn
from typing import Any, ClassVar
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from .. import ConfigurationError
from ..terminal.listing import narrowing
from .access import Access
from .mounted import VARIABLE, wsgi_of
from .others import Others
from .serving import Page

# taken where nobody says which
PORT = 8642


def add(commands: Any) -> None:
    """:param commands: argparse's subparsers."""
    parser = commands.add_parser(
        "inspect",
        help="the same as top, as a page for a browser",
        description="Serves a page of this user's processes on this host that have a watched "
        "Database. It prints a link that lets one browser in, once, and a token for others; "
        f"${VARIABLE} has a token of your own.",
    )
    narrowing(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", help="an address of this machine; default: %(default)s"
    )
    parser.add_argument(
        "--port", type=int, help=f"default: {PORT}, or any where that is taken; 0: any"
    )
    parser.set_defaults(run=_inspect)


def _inspect(given: argparse.Namespace) -> int:
    token = os.environ.get(VARIABLE) or secrets.token_urlsafe(24)
    access = Access(token, place="hermetic inspect")
    source = Others(given.folder, given.service, frozenset(given.pid))
    try:
        source.live()
    except OSError as error:
        raise ConfigurationError(
            f"It cannot be looked into: {error}.", hint="Name another --folder, or none."
        ) from error
    with _server(given.host, given.port) as server:
        server.set_app(wsgi_of(Page(source, access)))
        host = f"[{given.host}]" if ":" in given.host else given.host
        address = f"http://{host}:{server.server_port}/"
        sys.stdout.write(f"{address}?code={access.code()}\n")
        sys.stdout.write(f"The link lets one browser in, once. For others: {address}\n")
        if VARIABLE not in os.environ:
            sys.stdout.write(f"Token: {token}\n")
        sys.stdout.flush()
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            pass
    return 0


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each request; none is waited for at the end."""

    daemon_threads = True
    # a browser opens several connections at once
    request_queue_size = 32


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    # seconds for a request to come
    timeout: ClassVar[float] = 20.0

    def handle(self) -> None:
        """One request, if one comes: browsers open connections that they may want later."""
        try:
            super().handle()
        except (TimeoutError, ConnectionError):
            pass

    def log_message(self, *_: Any) -> None:
        """Nothing: what is asked for may hold the code."""

    def address_string(self) -> str:
        """As it is: nobody is asked for its name."""
        return str(self.client_address[0])


def _server(host: str, port: int | None) -> _Server:
    kind = _Server6 if ":" in host else _Server
    # somebody else may have the usual one
    for wanted in (PORT, 0) if port is None else (port,):
        try:
            return kind((host, wanted), _Handler)
        except (OSError, OverflowError) as error:
            problem = error
    raise ConfigurationError(
        f"Nothing can be served at {host}, port {port}: {problem}.",
        hint="Choose another --port, or --host.",
    ) from problem
