"""What rows are made of comes back as it was, and a pickle of somebody else's can do nothing."""

from __future__ import annotations

import ipaddress
import pickle
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from hermetic.cache.packing import packed, unpacked

VALUES: list[Any] = [
    None, True, 7, 1.5, "a", b"b", Decimal("1.50"), uuid.UUID(int=5), 1 + 2j, bytearray(b"c"),
    date(2020, 1, 2), time(1, 2, tzinfo=UTC), timedelta(3),
    datetime(2020, 1, 2, tzinfo=timezone(timedelta(hours=2))),
    datetime(2020, 1, 2, tzinfo=ZoneInfo("Europe/Berlin")),
    [1, {"a": [2]}], {3}, frozenset({4}), range(5),
    ipaddress.ip_address("10.0.0.1"), ipaddress.ip_interface("::1/64"),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    whole = packed((value,))

    assert whole is not None
    (found,) = unpacked(whole)
    assert (found, type(found)) == (value, type(value))
    assert repr(found) == repr(value)


def test_ranges_come_back_as_they_were() -> None:
    psycopg = pytest.importorskip("psycopg.types.range")
    asyncpg = pytest.importorskip("asyncpg")
    ranges = [
        psycopg.Range(1, 2, "[]"), psycopg.Range(empty=True), psycopg.Range(None, 2, "()"),
        asyncpg.Range(1, 2, upper_inc=True), asyncpg.Range(empty=True), asyncpg.Range(None, 2),
        asyncpg.pgproto.pgproto.UUID("00000000-0000-0000-0000-000000000005"),
    ]  # fmt: skip

    whole = packed(ranges)

    assert whole is not None
    assert unpacked(whole) == ranges


class Anything:
    pass


@pytest.mark.parametrize("value", [Anything(), Anything, print, ZoneInfo], ids="abcd")
def test_what_no_row_is_made_of_is_not_kept(value: Any) -> None:
    assert packed((value,)) is None


ATTRIBUTES = [
    # BUILD, with a state that is set as attributes of what is on the stack
    (b"cipaddress\nIPv4Address\n", b"is_private"),
    (b"cuuid\nUUID\n", b"__str__"),
    (b"chermetic.cache.packing\nuuid_of\n", b"__code__"),
    (b"chermetic.cache.packing\nuuid_of\n", b"_make"),
    (b"chermetic.cache.packing\n_Maker\n", b"__call__"),
]


@pytest.mark.parametrize(("holder", "name"), ATTRIBUTES)
@pytest.mark.parametrize("slots", [True, False])
def test_a_pickle_sets_nothing_that_is_everybodys(holder: bytes, name: bytes, slots: bool) -> None:
    state = b"}X" + len(name).to_bytes(4, "little") + name + b"I00\ns"
    given = b"\x80\x02" + holder + (b"(N" + state + b"t" if slots else state) + b"b."
    before = ipaddress.IPv4Address.is_private, uuid.UUID.__str__

    with pytest.raises((pickle.UnpicklingError, AttributeError)):
        unpacked(given)

    assert (ipaddress.IPv4Address.is_private, uuid.UUID.__str__) == before
    assert packed((uuid.UUID(int=1),)) is not None
