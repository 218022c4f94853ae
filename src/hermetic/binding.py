"""Which database of a group a mapped class, a table or a statement belongs to.

In this order: what the group was given for the class or one of its bases, for the table or for its
metadata; a class's ``__bind_key__``, as Flask-SQLAlchemy has it; ``metadata.info["bind_key"]``; the
first-named database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import MetaData, Table, inspect
from sqlalchemy.orm import Mapper
from sqlalchemy.sql import visitors

from .errors import InvalidOption, ScopeRefused

# Flask-SQLAlchemy's names
_ATTRIBUTE, _INFO = "__bind_key__", "bind_key"


class Binding:
    """What belongs where, in one group.

    :param names: of its databases; the first one is the default.
    :param given: names by mapped class, base class, table or metadata.
    :raises InvalidOption: a key is nothing of that, or a value no database.
    """

    def __init__(self, names: tuple[str, ...], given: Mapping[Any, Any], place: str) -> None:
        self.names = names
        self.place = place
        self._given = dict(given)
        self._mappers: WeakKeyDictionary[Mapper[Any], str] = WeakKeyDictionary()
        for what, name in self._given.items():
            if not isinstance(what, (type, MetaData, Table)):
                problem = f"has {what!r}, which is no class, table or MetaData"
                raise InvalidOption("binds", ..., problem, place=place)
            self.known(name, "binds")

    def known(self, name: Any, option: str = "bind_key") -> str:
        """A database's name, checked; ``None`` is the default's.

        :raises InvalidOption: there is none of that name.
        """
        if name is None:
            return self.names[0]
        if name not in self.names:
            problem = f"names no database of the group, which has {', '.join(self.names)}"
            raise InvalidOption(option, name, problem, place=self.place)
        found: str = name
        return found

    def of(self, mapper: Any, clause: Any) -> str:
        """Where a statement goes.

        :raises ScopeRefused: it names tables of two databases.
        """
        found = None if mapper is None else self._of_mapper(inspect(mapper))
        for table in () if clause is None else _tables_of(clause):
            other = self._of_named(table)
            if found is not None and other != found:
                raise ScopeRefused(
                    f"A statement names what is in {found!r}, and table {table.name!r}, which is "
                    f"in {other!r}.",
                    hint="No database has both: ask each of them, and join in Python.",
                )
            found = other
        return self.names[0] if found is None else found

    def _of_mapper(self, mapper: Mapper[Any]) -> str:
        found = self._mappers.get(mapper)
        if found is None:
            found = self._mappers[mapper] = self._found(mapper)
        return found

    def _found(self, mapper: Mapper[Any]) -> str:
        for each in mapper.class_.__mro__:
            if each in self._given:
                name: str = self._given[each]
                return name
        key = getattr(mapper.class_, _ATTRIBUTE, None)
        if key is not None:
            return self.known(key, _ATTRIBUTE)
        table = mapper.local_table
        return self._of_table(table) if isinstance(table, Table) else self.names[0]

    def _of_table(self, table: Table) -> str:
        for each in (table, table.metadata):
            if each in self._given:
                name: str = self._given[each]
                return name
        for mapper in self._mapped():
            if mapper.local_table is table:
                return self._of_mapper(mapper)
        return self.known(table.metadata.info.get(_INFO), _INFO)

    def _mapped(self) -> Iterator[Mapper[Any]]:
        """Every class that is mapped beside one that was given."""
        for registry in {each.registry for each in self._given if hasattr(each, "registry")}:
            yield from registry.mappers

    def _of_named(self, table: Any) -> str:
        """A table in a statement; it carries the mapper that it stands for, if it does."""
        mapper = table._annotations.get("parententity")
        if mapper is not None and isinstance(found := inspect(mapper), Mapper):
            return self._of_mapper(found)
        return self._of_table(table)


def _tables_of(clause: Any) -> list[Any]:
    return [each for each in visitors.iterate(clause) if isinstance(each, Table)]
