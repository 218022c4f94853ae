"""The inspector's page over the bank, on a port of this machine alone."""

from __future__ import annotations

import secrets
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from hermetic import Database
from hermetic.inspector import wsgi


class _Threads(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def page(db: Database) -> Iterator[tuple[str, str]]:
    """Serve it inside the block: its URL, and the token that it asks for."""
    token = secrets.token_urlsafe(12)
    application = wsgi(db, token=token)
    with make_server("127.0.0.1", 0, application, _Threads, _Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, name="page", daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", token
        finally:
            server.shutdown()
            thread.join()
