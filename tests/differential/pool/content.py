"""The rows that every run begins with."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import Any, Final

from tests.differential.pool.columns import Colour

_KINDS: Final = {
    "id": 1,
    "colour": Colour.RED,
    "moment": datetime.datetime.fromisoformat("2024-02-29T12:30:45.000123"),
    "day": datetime.date(2024, 2, 29),
    "price": decimal.Decimal("12.50"),
    "data": {"a": [1, None, "x"]},
    "blob": b"\x00\xff",
    "uid": uuid.UUID(int=7),
    "flag": True,
    "parts": ["a", "b"],
    "settings": {"theme": "dark"},
    "another_name": "first",
}
_MEMBERS: Final = [
    {"id": 1, "name": "ann", "rank": 5, "team_id": 1},
    {"id": 2, "name": "bob", "rank": 1, "team_id": 1},
    {"id": 3, "name": "cid", "rank": 7, "team_id": 2},
    {"id": 4, "name": "dee", "rank": 0, "team_id": None},
]
_PERSONS: Final = [
    {"id": 1, "name": "ann", "email": "ann@x", "age": 30, "score": 1.5, "active": True},
    {"id": 2, "name": "bob", "email": "bob@x", "age": 25, "score": None, "active": False},
    {"id": 3, "name": "cid", "email": None, "age": None, "score": 0.0, "active": True},
    {"id": 4, "name": "dee", "email": None, "age": 25, "score": -2.0, "active": True},
    {"id": 5, "name": "ann", "email": "ann5@x", "age": 41, "score": 3.25, "active": True},
]
_STAMPED: Final = {"seven": 7, "made": 0, "loud": "x!", "changed": None, "by_sql": 3}

SEEDS: Final[dict[str, list[dict[str, Any]]]] = {
    "persons": _PERSONS,
    "words": [{"text": "able", "meaning": "can"}, {"text": "", "meaning": None}],
    "pairs": [
        {"left": 1, "right": 1, "note": "one"},
        {"left": 1, "right": 2, "note": None},
        {"left": 0, "right": 0, "note": "zero"},
    ],
    "kinds": [_KINDS, {**dict.fromkeys(_KINDS), "id": 2}],
    "stamped": [
        {**_STAMPED, "id": 1, "name": "x", "by_server": "server"},
        {**_STAMPED, "id": 2, "name": "y", "by_server": "other"},
    ],
    "eagers": [{"id": 1, "name": "x", "by_server": "server", "by_sql": None}],
    "lazies": [{"id": 1, "name": "x", "by_server": "server", "by_sql": None}],
    "versioned": [{"id": 1, "name": "x", "version": 1}, {"id": 2, "name": "y", "version": 4}],
    "accounts": [
        {"id": 1, "owner": "ann", "cents": 250, "letter": "Dear", "memo": "m", "x": 1, "y": 2},
        {"id": 2, "owner": "bob", "cents": 0, "letter": None, "memo": None, "x": None, "y": None},
    ],
    "things": [{"id": 1, "name": "ball", "size": 3}, {"id": 2, "name": "ball", "size": 3}],
    "boxes": [{"id": 1, "label": "small", "weight": 1}, {"id": 2, "label": None, "weight": None}],
    "animals": [
        {"id": 1, "species": "animal", "name": "it", "lives": None, "tricks": None},
        {"id": 2, "species": "cat", "name": "tom", "lives": 9, "tricks": None},
        {"id": 3, "species": "dog", "name": "rex", "lives": None, "tricks": "roll"},
    ],
    "workers": [
        {"id": 1, "role": "worker", "name": "ann"},
        {"id": 2, "role": "manager", "name": "bob"},
        {"id": 3, "role": "engineer", "name": "cid"},
    ],
    "managers": [{"id": 2, "budget": 100}],
    "engineers": [{"id": 3, "language": "python"}],
    "teams": [{"id": 1, "name": "red"}, {"id": 2, "name": "blue"}, {"id": 3, "name": "none"}],
    "members": _MEMBERS,
    "passports": [{"id": 1, "number": "A1", "member_id": 1}],
    "tags": [{"id": 1, "label": "old"}, {"id": 2, "label": "new"}],
    "member_tags": [
        {"member_id": 1, "tag_id": 1},
        {"member_id": 1, "tag_id": 2},
        {"member_id": 2, "tag_id": 1},
    ],
    "leaves": [
        {"id": 1, "team_id": 1, "shade": "light"},
        {"id": 2, "team_id": 1, "shade": "dark"},
    ],
    "nodes": [
        {"id": 1, "name": "root", "parent_id": None},
        {"id": 2, "name": "left", "parent_id": 1},
        {"id": 3, "name": "right", "parent_id": 1},
        {"id": 4, "name": "tip", "parent_id": 2},
    ],
    "authors": [{"id": 1, "name": "eco"}, {"id": 2, "name": "woolf"}],
    "books": [
        {"id": 1, "title": "rose", "author_id": 1},
        {"id": 2, "title": "island", "author_id": 1},
    ],
}
