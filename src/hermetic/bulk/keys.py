"""By which columns rows are found, and what a row has to have for that."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ConfigurationError, InvalidOption
from ..row_errors import InvalidRow
from .target import Target


def keys_of(target: Target, key: str | Sequence[str] | None) -> tuple[str, ...]:
    """The names of the columns that rows are found by.

    :raises InvalidOption: the table has no such columns, or no primary key where that is meant.
    """
    if key is None:
        if not target.keys:
            problem = f"is the primary key by default, and {target.what} has none"
            raise InvalidOption("key", key, problem, place="key")
        return target.keys
    names = (key,) if isinstance(key, str) else tuple(key)
    for name in names:
        if name not in target.named:
            problem = f"names no column of {target.what}"
            known = ", ".join(target.named)
            raise InvalidOption("key", name, problem, place="key", hint=f"Its columns are {known}.")
    if not names:
        raise InvalidOption("key", key, "names no column", place="key")
    return names


def needs_key(target: Target, keys: tuple[str, ...], names: tuple[str, ...], row: int) -> None:
    """:raises InvalidRow: a row could not be found."""
    for key in keys:
        if key not in names:
            raise InvalidRow(
                f"Row {row} has no {key!r}, by which it would be found in {target.what}.",
                row=row,
                field=key,
                hint="Give it a value, or name other columns by key=.",
            )


def needs_change(target: Target, keys: tuple[str, ...], names: tuple[str, ...], row: int) -> None:
    """:raises InvalidRow: a row could not be found, or would not be changed."""
    needs_key(target, keys, names, row)
    if len(names) <= len(keys):
        raise InvalidRow(
            f"Row {row} has nothing but its key: there is no change to be made in {target.what}.",
            row=row,
            hint="Leave out what does not change.",
        )


def refuse_versions(target: Target) -> None:
    """:raises ConfigurationError: changes of the class are counted, by which others see them."""
    mapper = target.mapper
    if mapper is not None and mapper.version_id_col is not None:
        raise ConfigurationError(
            f"{target.what} has a version_id_col, by which a change that came in between is seen: "
            "update_many would go past it.",
            hint="Load the objects and change them, or update the Table "
            f"({target.what}.__table__), and count the versions in the rows.",
        )
