"""Which queries PostgreSQL's COPY takes, and the form that it takes them in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ..dialects.text import head
from .fields import TEXT, AnyKind, Listed, kind_of

# name, oid of the type, its modifier
Described = tuple[str, int, int]

# several statements in one text COPY does not take
_COPIED = re.compile(r"\s*\(*\s*(SELECT|VALUES|WITH|TABLE|INSERT|UPDATE|DELETE)\b", re.IGNORECASE)
_WRITES = re.compile(r"\b(INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE)
_WITH = re.compile(r"\s*WITH\b", re.IGNORECASE)


def copied(operation: str) -> str | None:
    """A statement as COPY takes it; ``None`` for one that it does not."""
    query = operation.strip().rstrip(";").rstrip()
    return None if ";" in query or _COPIED.match(head(query)) is None else query


def kinds_of(columns: Sequence[Described], own: Mapping[int, AnyKind]) -> list[AnyKind | None]:
    """:param own: kinds of the database's own types, by oid."""
    return [kind_of(oid, modifier) or own.get(oid) for _, oid, modifier in columns]


def unknown(columns: Sequence[Described]) -> set[int]:
    return {oid for _, oid, modifier in columns if kind_of(oid, modifier) is None}


def copy_of(query: str, kinds: Sequence[AnyKind | None]) -> str | None:
    """The COPY; columns of a type that Arrow does not have are sent as text."""
    if None in kinds:
        if _WITH.match(head(query)) and _WRITES.search(query):
            return None  # that cannot stand inside another query
        query = _by_text(query, kinds)
    # on lines of its own: it may end with a comment
    return f"COPY (\n{query}\n) TO STDOUT (FORMAT binary)"


def _by_text(query: str, kinds: Sequence[AnyKind | None]) -> str:
    names = ", ".join(f"c{number}" for number in range(len(kinds)))
    given = ", ".join(
        f"c{number}" if kind is not None else f"c{number}::text"
        for number, kind in enumerate(kinds)
    )
    return f"WITH q ({names}) AS (\n{query}\n) SELECT {given} FROM q"


def lookup(oids: Iterable[int]) -> str:
    """What tells of types whether they are enums, or arrays of one."""
    listed = ", ".join(str(int(oid)) for oid in sorted(oids))
    return (
        "SELECT t.oid, t.typtype = 'e', e.typtype = 'e' FROM pg_catalog.pg_type t "
        "LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND t.typcategory = 'A' "
        f"WHERE t.oid IN ({listed})"
    )


def looked_up(rows: Iterable[tuple[int, bool, bool]]) -> dict[int, AnyKind]:
    found: dict[int, AnyKind] = {}
    for oid, is_enum, of_enums in rows:
        if is_enum:
            found[oid] = TEXT
        elif of_enums:
            found[oid] = Listed(TEXT)
    return found
