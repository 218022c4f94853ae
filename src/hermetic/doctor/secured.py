"""Whether a connection to another host is encrypted, and to whom it is."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from typing import Any

from ..dialects import tls
from .about import About
from .checks import Sign

# libpq's modes that take a connection without TLS, and those that look at no certificate
# (PostgreSQL 15 docs); without a root certificate "require" verifies nothing
_MAY_BE_PLAIN = ("disable", "allow", "prefer")
_UNVERIFIED = ("require", "disable", "allow", "prefer")
_CHANGE = 'Database(…, tls="verify"), or tls="/path/to/authority.pem"'


def is_elsewhere(about: About) -> bool:
    """Whether a server is on another host, as far as the URL tells."""
    told = tls.given(about.url, about.options)
    if told.get("unix_socket"):
        return False
    return any(not tls.is_local(host) for host in _hosts(about))


def plain(about: About, encrypted: bool | None) -> Iterator[Sign]:
    """A connection that anybody on the way can read."""
    if encrypted is False and is_elsewhere(about):
        password = " with the password of the URL" if about.url.password else ""
        yield Sign(f"connected to {_host(about)} without TLS{password}", _CHANGE)


def optional(about: About, encrypted: bool | None) -> Iterator[Sign]:
    """One that is encrypted, and need not be the next time."""
    mode = _mode(about)
    if encrypted and mode in _MAY_BE_PLAIN and is_elsewhere(about):
        yield Sign(f"sslmode={mode} with {_host(about)}", _CHANGE)


def unverified(about: About, encrypted: bool | None) -> Iterator[Sign]:
    """One whose other end may be anybody."""
    if (
        encrypted
        and is_elsewhere(about)
        and _mode(about) not in _MAY_BE_PLAIN
        and not _verifies(about)
    ):
        yield Sign(f"the certificate of {_host(about)} is not verified", _CHANGE)


def _host(about: About) -> str:
    return ",".join(_hosts(about))


def _hosts(about: About) -> list[str]:
    told = tls.given(about.url, about.options)
    found = tls.hosts_of(about.url, told, names=("host",))
    if not found and _is_postgresql(about):
        found = tls.hosts_of(about.url, os.environ, names=("PGHOST",))
    return found


def _is_postgresql(about: About) -> bool:
    return about.url.get_backend_name().startswith("postgres")


def _mode(about: About) -> str | None:
    """libpq's word for it; asyncpg takes the same as ``ssl``."""
    told = tls.given(about.url, about.options)
    mode = told.get("sslmode", told.get("ssl"))
    if mode is None and _is_postgresql(about) and about.options.tls is None:
        mode = os.environ.get("PGSSLMODE")
    return mode if isinstance(mode, str) else None


def _verifies(about: About) -> bool:
    how = about.options.tls
    if isinstance(how, ssl.SSLContext):
        return how.verify_mode is ssl.CERT_REQUIRED
    if how is not None:
        return how not in (tls.REQUIRE, tls.OFF)
    told = tls.given(about.url, about.options)
    mode = _mode(about)
    if mode is not None:
        return mode not in _UNVERIFIED
    return _drivers_own(told)


def _drivers_own(told: dict[str, Any]) -> bool:
    """What was said to PyMySQL and mysqlclient; nothing means that hermetic has seen to it."""
    said = {name: value for name, value in told.items() if name.startswith("ssl")}
    if not said:
        return True
    context = said.get("ssl")
    if isinstance(context, ssl.SSLContext):
        return context.verify_mode is ssl.CERT_REQUIRED
    if said.get("ssl_mode") in ("VERIFY_CA", "VERIFY_IDENTITY"):
        return True
    inner = context if isinstance(context, dict) else {}
    return bool(said.get("ssl_ca") or inner.get("ca"))
