"""Rows as bytes, which may lie where somebody else can write: nothing of them can run code."""

from __future__ import annotations

import copyreg
import io
import pickle
from collections.abc import Callable
from operator import methodcaller
from typing import Any
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo

# what is called to make a value again, and nothing else
_MADE = frozenset(
    {
        *(("datetime", name) for name in ("date", "datetime", "time", "timedelta", "timezone")),
        *(("builtins", name) for name in ("complex", "set", "frozenset", "bytearray", "range")),
        *(("ipaddress", f"IPv{version}{kind}") for version in (4, 6)
          for kind in ("Address", "Network", "Interface")),
        *((__name__, name) for name in ("uuid_of", "zone_of", "psycopgs_range", "asyncpgs_range")),
        *(("decimal", "Decimal"), ("asyncpg.pgproto.pgproto", "UUID")),
    }
)  # fmt: skip
_PROTOCOL = 5


def packed(value: Any) -> bytes | None:
    """A value as bytes that ``unpacked`` takes; ``None`` where it would not be the same again."""
    try:
        written = io.BytesIO()
        pickler = pickle.Pickler(written, protocol=_PROTOCOL)
        pickler.dispatch_table = _reducers
        pickler.dump(value)
        found = written.getvalue()
        unpacked(found)
    except Exception:
        return None
    return found


def unpacked(found: bytes) -> Any:
    """:raises Exception: it is nothing that ``packed`` has made; any kind of one."""
    return _Unpickler(io.BytesIO(found)).load()


class _Maker:
    """What a pickle is given in the place of a class or a function: to call, and nothing else.

    A pickle can set attributes of whatever it gets hold of, and those of a class are everybody's.
    """

    __slots__ = ("_make",)
    _make: Callable[..., Any]

    def __init__(self, make: Callable[..., Any]) -> None:
        object.__setattr__(self, "_make", make)

    def __call__(self, *args: Any) -> Any:
        return self._make(*args)

    def __setattr__(self, name: str, value: object) -> None:
        raise pickle.UnpicklingError(f"{name} is not to be set")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _MADE:
            raise pickle.UnpicklingError(f"{module}.{name} is nothing that a row is made of")
        return _Maker(super().find_class(module, name))


# ---------------------------------------------------------------- types that have no such form


def uuid_of(number: int) -> UUID:
    return UUID(int=number)


def _of_uuid(value: UUID) -> Any:
    if value.is_safe is not SafeUUID.unknown:
        raise pickle.PicklingError("how it was made would be lost")
    return uuid_of, (value.int,)


def zone_of(key: str) -> ZoneInfo:
    return ZoneInfo(key)


def _of_zone(value: ZoneInfo) -> Any:
    # of a file, and not of a name, it has no key; then it cannot be made again
    return zone_of, (value.key,)


def psycopgs_range(lower: Any, upper: Any, bounds: str | None) -> Any:
    from psycopg.types.range import Range

    return Range(empty=True) if bounds is None else Range(lower, upper, bounds)


def _of_psycopgs_range(value: Any) -> Any:
    return psycopgs_range, (value.lower, value.upper, None if value.isempty else value.bounds)


def asyncpgs_range(lower: Any, upper: Any, lower_inc: bool, upper_inc: bool, empty: bool) -> Any:
    from asyncpg import Range

    return Range(lower, upper, lower_inc=lower_inc, upper_inc=upper_inc, empty=empty)


def _of_asyncpgs_range(value: Any) -> Any:
    inclusive = value.lower_inc, value.upper_inc
    return asyncpgs_range, (value.lower, value.upper, *inclusive, value.isempty)


# by the names of their classes: the drivers may not be installed
_OF_DRIVERS: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("psycopg.types.range", "Range"): _of_psycopgs_range,
    ("asyncpg.types", "Range"): _of_asyncpgs_range,
}


class _Reducers(dict[type, Callable[[Any], Any]]):
    def __missing__(self, kind: type) -> Callable[[Any], Any]:
        if issubclass(kind, type):
            raise KeyError(kind)  # a class goes by its name
        ordinary = methodcaller("__reduce_ex__", _PROTOCOL)
        found = (
            _OF_DRIVERS.get((kind.__module__, kind.__qualname__))
            or copyreg.dispatch_table.get(kind)
            or ordinary
        )
        self[kind] = found
        return found


_reducers = _Reducers({UUID: _of_uuid, ZoneInfo: _of_zone})
