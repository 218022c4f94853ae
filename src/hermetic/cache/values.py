"""What may be kept: values that are what they were, wherever they are taken out again."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from hashlib import blake2b
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

# no holder of one of these can change it for another
FIXED = frozenset(
    {
        *(type(None), bool, int, float, complex, str, bytes),
        *(date, datetime, time, timedelta, Decimal, UUID),
    }
)
# of these, two that are equal may be told apart by a database: -0.0, '1.0' and '1.00', two offsets
_EQUAL_AND_OTHERS = frozenset({float, complex, Decimal, datetime, time})


class Unkeyable(Exception):
    """A parameter of which nobody can say in a stable way what it is."""


def are_fixed(rows: Iterable[Iterable[Any]]) -> bool:
    """Whether no value can be changed by whoever is given it."""
    return FIXED.issuperset({type(value) for row in rows for value in row})


def parameters_key(parameters: Any) -> tuple[Any, ...]:
    """Parameters as part of a key inside this process.

    :raises Unkeyable: one of them has no value that could be told.
    """
    if isinstance(parameters, dict):
        names, values = tuple(parameters), tuple(parameters.values())
    else:
        names, values = (), tuple(parameters or ())
    kinds = tuple(map(type, values))
    # 1, 1.0, True and Decimal(1) are equal, and not the same to a database
    if FIXED.issuperset(kinds) and _EQUAL_AND_OTHERS.isdisjoint(kinds):
        return (names, kinds, values)
    return (names, tuple(_told(value) for value in values))


def digest(*parts: Any) -> str:
    """A key that is the same in every process.

    :raises Unkeyable: one of the parts has no value that could be told.
    """
    found = blake2b(digest_size=20)
    for part in parts:
        found.update(_told(part).encode("utf-8", "surrogatepass"))
        found.update(b"\x1f")
    return found.hexdigest()


def _told(value: Any) -> str:
    kind = type(value)
    if kind in FIXED:
        # -0.0 and 0.0, or a datetime's fold: repr tells them apart
        zone = getattr(value, "tzinfo", None)
        if zone is not None and type(zone) not in (timezone, ZoneInfo):
            raise Unkeyable(f"a time of a {type(zone).__name__}")
        return f"{kind.__name__}:{value!r}"
    if kind in (list, tuple):
        return f"{kind.__name__}[{','.join(map(_told, value))}]"
    if kind is dict:
        return f"{{{','.join(f'{_told(key)}={_told(each)}' for key, each in value.items())}}}"
    if kind is type or kind is timezone:
        return repr(value)
    raise Unkeyable(f"a {kind.__name__}")
