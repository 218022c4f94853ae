"""PyMySQL's connections: made without reading certificates that are not used for each of them, and
with their requests counted.

Unless it is told how to use TLS, PyMySQL (1.2) takes TLS where the server offers it and verifies
nothing; all the same it has OpenSSL read the system's authorities for every connection: 20 to 50 ms
of CPU time, most of what a connect costs on a server nearby. Here all connections have one context
for that, without any.
"""

from __future__ import annotations

import ssl
from functools import lru_cache
from typing import Any

from .exchanges import Commanding


class Reusing:
    """A DBAPI module, with connections that share what they verify nothing by."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self.connect = _class_of(module.connections.Connection)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


@lru_cache(maxsize=1)
def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@lru_cache(maxsize=4)
def _class_of(base: type[Any]) -> type[Any]:
    class Connection(Commanding, base):  # type: ignore[misc]
        # private; a release without it makes its context as it likes
        def _create_ssl_ctx(self, sslp: Any) -> Any:
            return super()._create_ssl_ctx(sslp) if sslp else _unverified()

    Connection.__module__, Connection.__qualname__ = base.__module__, base.__qualname__
    return Connection
