"""Models of many shapes, and the rows that every run begins with."""

from __future__ import annotations

from tests.differential.pool.attributes import Account, Box, Thing
from tests.differential.pool.base import Base
from tests.differential.pool.columns import Colour, Kind, Pair, Person, Word
from tests.differential.pool.content import SEEDS
from tests.differential.pool.defaults import Eager, Lazy, Stamped, Versioned, restart
from tests.differential.pool.inheritance import Animal, Cat, Dog, Engineer, Manager, Worker
from tests.differential.pool.relations import Author, Book, Leaf, Member, Node, Passport, Tag, Team

__all__ = (
    "SEEDS",
    "Account",
    "Animal",
    "Author",
    "Base",
    "Book",
    "Box",
    "Cat",
    "Colour",
    "Dog",
    "Eager",
    "Engineer",
    "Kind",
    "Lazy",
    "Leaf",
    "Manager",
    "Member",
    "Node",
    "Pair",
    "Passport",
    "Person",
    "Stamped",
    "Tag",
    "Team",
    "Thing",
    "Versioned",
    "Word",
    "Worker",
    "restart",
)
