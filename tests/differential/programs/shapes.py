"""What programs can do with each model: new objects, changes, keys, relations, conditions."""

from __future__ import annotations

import decimal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy.orm import defer, joinedload, load_only, selectinload, undefer

from tests.differential.pool import (
    Account,
    Animal,
    Author,
    Book,
    Box,
    Cat,
    Colour,
    Dog,
    Eager,
    Engineer,
    Kind,
    Lazy,
    Leaf,
    Manager,
    Member,
    Node,
    Pair,
    Passport,
    Person,
    Stamped,
    Tag,
    Team,
    Thing,
    Versioned,
    Word,
    Worker,
)
from tests.differential.pool.attributes import Point


@dataclass(frozen=True)
class Shape:
    """One model, as a program sees it."""

    entity: Any
    make: Callable[[int], Any]
    # attribute: values it may be given; the first of them are values that there are already
    changes: dict[str, tuple[Any, ...]]
    keys: tuple[Any, ...] = (1, 2, 3, 99)
    # attribute: the model on the other side
    collections: dict[str, Any] = field(default_factory=dict)
    references: dict[str, Any] = field(default_factory=dict)
    options: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        return str(self.entity.__name__)

    @property
    def order(self) -> Any:
        return self.entity.__mapper__.primary_key


def _person(number: int) -> Person:
    given: tuple[dict[str, Any], ...] = (
        {"name": "new"},
        {"name": "new", "age": 25, "email": f"new{number}@x"},
        {"name": "new", "id": 50 + number, "active": False},
        {"name": "clash", "email": "ann@x"},
        {"email": None},
    )
    return Person(**given[number % len(given)])


def _kind(number: int) -> Kind:
    given: tuple[dict[str, Any], ...] = (
        {},
        {"colour": Colour.BLUE, "settings": {"n": number}, "data": [number]},
        {"price": decimal.Decimal(number), "parts": ["x", "y"], "renamed": "new"},
        {"moment": "not a moment"},
    )
    return Kind(**given[number % len(given)])


_NAMES: Final = ("ann", "x", "other")
_SERVED: Final = {"name": _NAMES, "by_server": ("server", "mine")}

SHAPES: Final = (
    Shape(
        Person,
        _person,
        {
            "name": (*_NAMES, None),
            "age": (30, 25, None, Person.age + 1),
            "email": ("ann@x", None, "fresh@x"),
            "active": (True, False),
            "score": (1.5, None),
        },
        keys=(1, 2, 3, 4, 5, 99, None),
        options=(load_only(Person.name), defer(Person.age)),
    ),
    Shape(
        Team,
        lambda number: Team(name=f"team{number}"),
        {"name": ("red", "green")},
        collections={"members": Member, "leaves": Leaf},
        options=(selectinload(Team.members), selectinload(Team.leaves), joinedload(Team.members)),
    ),
    Shape(
        Member,
        lambda number: Member(name="new", rank=number, team_id=(None, 1, 99)[number % 3]),
        {"name": _NAMES, "rank": (5, 1), "team_id": (1, 2, None)},
        keys=(1, 2, 3, 4, 99),
        collections={"tags": Tag},
        references={"team": Team, "passport": Passport},
        options=(joinedload(Member.team), selectinload(Member.team), selectinload(Member.tags)),
    ),
    Shape(
        Tag,
        lambda number: Tag(label=f"tag{number}"),
        {"label": ("old", "newer")},
        collections={"members": Member},
        options=(selectinload(Tag.members),),
    ),
    Shape(
        Leaf,
        lambda number: Leaf(shade="new", team_id=(1, 2)[number % 2]),
        {"shade": ("light", "pale"), "team_id": (1, 2)},
        references={"team": Team},
    ),
    Shape(
        Node,
        lambda number: Node(name="new", parent_id=(None, 1, 4)[number % 3]),
        {"name": ("root", "x"), "parent_id": (1, None)},
        keys=(1, 2, 3, 4, 99),
        collections={"children": Node},
        references={"parent": Node},
        options=(selectinload(Node.children), joinedload(Node.parent)),
    ),
    Shape(
        Author,
        lambda number: Author(name="new", books=[Book(title="b")] * (number % 2)),
        {"name": ("eco", "x")},
        collections={"books": Book},
    ),
    Shape(
        Book,
        lambda number: Book(title="new", author_id=(1, 2)[number % 2]),
        {"title": ("rose", "x"), "author_id": (1, 2)},
        references={"author": Author},
    ),
    Shape(
        Passport,
        lambda number: Passport(number=f"N{number}", member_id=2),
        {"number": ("A1", "x")},
        references={"member": Member},
    ),
    Shape(
        Stamped,
        lambda number: Stamped(name="new", **({"seven": 1} if number % 2 else {})),
        {"name": ("x", "other"), "seven": (7, 8), "by_server": ("server", "mine")},
    ),
    Shape(Eager, lambda number: Eager(name="new"), _SERVED),
    Shape(Lazy, lambda number: Lazy(name="new"), _SERVED),
    Shape(
        Kind,
        _kind,
        {
            "colour": (Colour.RED, None, Colour.BLUE),
            "price": (decimal.Decimal("12.50"), decimal.Decimal("12.5"), None),
            "data": ({"a": [1, None, "x"]}, None, []),
            "settings": ({"theme": "dark"}, {"new": 1}, None),
            "parts": (["a", "b"], []),
            "renamed": ("first", "second"),
        },
    ),
    Shape(
        Account,
        lambda number: Account(owner="new", cents=number, place=Point(number, None)),
        {
            "owner": _NAMES,
            "holder": _NAMES,
            "cents": (250, 0, -1),
            "letter": ("Dear", None),
            "place": (Point(1, 2), Point(3, 4)),
        },
        options=(undefer(Account.letter),),
    ),
    Shape(
        Pair,
        lambda number: Pair(left=number, right=1, note="new"),
        {"note": ("one", None), "right": (1, 2, 7)},
        keys=((1, 1), (1, 2), (0, 0), (9, 9)),
    ),
    Shape(
        Word,
        lambda number: Word(text=("able", f"w{number}")[number % 2]),
        {"meaning": ("can", None), "text": ("able", "abler")},
        keys=("able", "", "none"),
    ),
    Shape(
        Versioned,
        lambda number: Versioned(name="new"),
        {"name": ("x", "other"), "version": (1, 9)},
    ),
    Shape(Thing, lambda number: Thing(name="ball", size=3), {"name": ("ball",), "size": (3, 4)}),
    Shape(Box, lambda number: Box("new"), {"label": ("small", None), "weight": (1, None)}),
    Shape(Animal, lambda number: Animal(name="new"), {"name": ("it", "x")}),
    Shape(Cat, lambda number: Cat(name="new"), {"name": ("tom", "x"), "lives": (9, 8, None)}),
    Shape(Dog, lambda number: Dog(name="new", tricks="sit"), {"tricks": ("roll", None)}),
    Shape(Worker, lambda number: Worker(name="new"), {"name": ("ann", "x")}),
    Shape(Manager, lambda number: Manager(name="new"), {"name": ("x",), "budget": (100, 5)}),
    Shape(Engineer, lambda number: Engineer(name="new"), {"name": ("x",), "language": ("c",)}),
)


def shape_of(thing: Any) -> Shape:
    return next(shape for shape in SHAPES if shape.entity is type(thing))
