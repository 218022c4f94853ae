"""What rows are read into that no session tracks: a dataclass, a NamedTuple, a msgspec Struct."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from bench.works import ROWS_DATACLASS, ROWS_NAMEDTUPLE, ROWS_STRUCT


@dataclass(slots=True)
class UserData:
    id: int
    username: str
    email: str
    age: int
    active: bool
    score: float


class UserTuple(NamedTuple):
    id: int
    username: str
    email: str
    age: int
    active: bool
    score: float


def record_types() -> dict[str, Any]:
    """The types by the works that use them; without the Struct where msgspec is not installed."""
    found: dict[str, Any] = {ROWS_DATACLASS: UserData, ROWS_NAMEDTUPLE: UserTuple}
    try:
        import msgspec
    except ImportError:
        return found
    fields = list(UserTuple.__annotations__)
    found[ROWS_STRUCT] = msgspec.defstruct("UserStruct", list(zip(fields, _TYPES, strict=True)))
    return found


_TYPES = (int, str, str, int, bool, float)
