"""Every setting in force, in words, without secrets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from .dialects.drivers import driver_of, url_for
from .engine import Server
from .errors import ConfigurationError
from .fast.switch import FLUSH_OFF, OFF
from .options import DatabaseOptions
from .redaction import is_secret, redacted


def explain(server: Server, options: DatabaseOptions, name: str) -> str:
    """One line per setting: where it stands, its value, and what each driver is given."""
    lines = [
        f"Database {name!r}",
        f"  url: {redacted(server.url)}",
        f"  family: {server.family.name}",
        f"  fast paths: {_fast_paths()}",
    ]
    lines += [
        f"  {field.name}: {_shown(field.name, getattr(options, field.name))}"
        for field in dataclasses.fields(options)
        if field.name not in ("connect_args", "scope", "name")
    ]
    lines.append("  defaults of scopes:")
    lines += [
        f"    {field.name}: {getattr(options.scope, field.name)}"
        for field in dataclasses.fields(options.scope)
    ]
    for asynchronous, world in ((False, "threads"), (True, "asyncio")):
        lines += _world(server, options, world, asynchronous=asynchronous)
    return "\n".join(lines)


def _fast_paths() -> str:
    if OFF is not None:
        return f"off: {OFF}"
    return "on" if FLUSH_OFF is None else f"on, but for writing: {FLUSH_OFF}"


def _world(
    server: Server, options: DatabaseOptions, world: str, *, asynchronous: bool
) -> list[str]:
    try:
        url = url_for(server.url, asynchronous=asynchronous)
    except ConfigurationError as error:
        return [f"  {world}: {error.message}"]
    driver = driver_of(url)
    settings = server.family.engine_settings(
        url, driver, options, reader=False, asynchronous=asynchronous
    )
    ours = {k: v for k, v in settings.connect_args.items() if k not in options.connect_args}
    shown = [f"    {key}: {_shown(key, value)}" for key, value in ours.items()]
    shown += [f"    {key}: {_given(key, value)}" for key, value in options.connect_args.items()]
    return [f"  {world}: driver {driver}", *shown]


# strings that a driver takes and that hold no secret; any other may be a whole connection string
_HARMLESS = frozenset({"application_name", "charset", "sslmode", "ssl_ca", "sslrootcert", "host"})


def _given(name: str, value: Any) -> str:
    """What a user gave a driver: its value where that cannot be a secret, its type where it can."""
    if is_secret(name):
        return "***"
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key}: {_given(key, each)}" for key, each in value.items())
        return "{" + inner + "}"
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    if isinstance(value, str) and name.lower() in _HARMLESS:
        return repr(value)
    return f"<{getattr(value, '__name__', type(value).__name__)}>"


def _shown(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return _given(name, value)
    return str(value.__name__) if callable(value) else repr(value)
