"""Whether a server on another host is who it says it is.

The drivers' own defaults are not to ask: libpq's ``prefer`` and asyncpg's take a connection without
TLS where a server, or whoever stands before it, offers none; PyMySQL and asyncmy check nothing
unless they are given a certificate.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from ..errors import InvalidOption
from ..options import DatabaseOptions

VERIFY, REQUIRE, OFF = "verify", "require", "off"


def wanted(
    url: URL, options: DatabaseOptions, said: Iterable[str], hosts: Iterable[str]
) -> str | Path | ssl.SSLContext | None:
    """How connections are to be secured; ``None`` where that is left to the driver.

    :param said: what the user told the driver of it, by its name there.
    :param hosts: where the servers are, as far as that was said; none is this machine.
    :raises InvalidOption: it was said twice.
    """
    names = sorted(said)
    if options.tls is None:
        remote = not names and any(not is_local(host) for host in hosts)
        return VERIFY if remote and "creator" not in options.engine_options else None
    if names:
        raise InvalidOption(
            "tls",
            ...,
            f"was given, and {', '.join(names)} says how to use TLS too",
            place="Database()",
            hint="Keep one of them.",
        )
    return options.tls


def given(url: URL, options: DatabaseOptions) -> dict[str, Any]:
    """What a driver is told by the URL and by ``connect_args``."""
    return {**url.query, **options.connect_args}


def hosts_of(url: URL, told: Mapping[str, Any], *, names: Iterable[str]) -> list[str]:
    """All hosts of a URL and of a driver's arguments, without their ports."""
    found = [url.host] if url.host else []
    for name in names:
        value = told.get(name) or ()
        for each in (value,) if isinstance(value, str) else value:
            found += str(each).split(",")
    return [_without_port(host) for host in found if host]


def _without_port(host: str) -> str:
    head, colon, port = host.rpartition(":")
    return head if colon and port.isdigit() and ":" not in head else host


def is_local(host: str) -> bool:
    """Whether a host is this machine for certain: by its name, a loopback address, or a socket."""
    host = host.strip("[]").rstrip(".").lower()
    if host.startswith(("/", "@", ".")) or host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def context_for(how: str | Path | ssl.SSLContext) -> ssl.SSLContext:
    """What Python's own TLS is given."""
    if isinstance(how, ssl.SSLContext):
        return how
    if how == REQUIRE:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    context = ssl.create_default_context(cafile=None if how == VERIFY else str(how))
    # Python 3.13 asks for more of a certificate than private authorities, MariaDB's own among them,
    # put into one
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def libpq(
    how: str | Path | ssl.SSLContext, told: Mapping[str, Any], version: int
) -> dict[str, str]:
    """What libpq is given.

    :param version: libpq's.
    """
    if isinstance(how, ssl.SSLContext):
        raise InvalidOption(
            "tls",
            how,
            "cannot be used by libpq",
            place="Database()",
            hint="Give the path of a file of certificates.",
        )
    if how in (REQUIRE, OFF):
        return {"sslmode": "disable" if how == OFF else "require"}
    settings = {"sslmode": "verify-full"}
    if how != VERIFY:
        settings["sslrootcert"] = str(how)
    elif not _has_own_roots(told):
        # the file first: the OpenSSL that a wheel brings along may look for it elsewhere
        file = ssl.get_default_verify_paths().cafile
        if file:
            settings["sslrootcert"] = file
        elif version >= 160_000:
            settings["sslrootcert"] = "system"
    return settings


def _has_own_roots(told: Mapping[str, Any]) -> bool:
    if "sslrootcert" in told or "PGSSLROOTCERT" in os.environ:
        return True
    return (Path.home() / ".postgresql" / "root.crt").exists()
