"""A URL of MariaDB's or MySQL's that names several hosts, which the drivers know nothing of."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from . import galera

_ROLE = "SHOW GLOBAL VARIABLES WHERE variable_name IN ('read_only', 'wsrep_on')"


def connect(
    connect: Callable[..., Any], hosts: Sequence[str], args: Any, kwargs: dict[str, Any]
) -> Any:
    """Connect to the first that can be connected to and takes writes.

    :param hosts: ``name`` or ``name:port``.
    """
    failed: list[BaseException] = []
    for each in hosts:
        name, port = _parts(each, kwargs.get("port"))
        told = {**kwargs, "host": name}
        if port is not None:
            told["port"] = port
        try:
            made = connect(*args, **told)
        except Exception as error:
            failed.append(error)
            continue
        try:
            if _takes_writes(made):
                return made
        except Exception as error:
            failed.append(error)
        except BaseException:
            _drop(made)
            raise
        _drop(made)
    if failed:
        raise failed[-1]
    raise ConnectionRefusedError("none of the hosts takes writes")


def is_set_up(raw: Any) -> bool:
    """Whether something was set on a driver's connection that a reset would take away."""
    return bool(getattr(raw, "hermetic_causal", False))


def _parts(host: str, port: int | None) -> tuple[str, int | None]:
    name, colon, number = host.rpartition(":")
    if not colon or not number.isdigit() or (":" in name and not name.endswith("]")):
        return host.strip("[]"), port
    return name.strip("[]"), int(number)


def _takes_writes(made: Any) -> bool:
    cursor = made.cursor()
    try:
        cursor.execute(_ROLE)
        role = {str(name).lower(): str(value).upper() for name, value in cursor.fetchall()}
        if role.get("wsrep_on") == "ON":
            galera.check_ready(cursor)
            # the pool may come to have connections to several nodes
            cursor.execute(galera.CAUSAL)
            getattr(made, "driver_connection", made).hermetic_causal = True
        return role.get("read_only") in (None, "OFF", "0")
    finally:
        cursor.close()


def _drop(made: Any) -> None:
    with contextlib.suppress(Exception):
        (made.terminate if hasattr(made, "terminate") else made.close)()
