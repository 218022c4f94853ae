"""Arrow's columns as literals of MariaDB's and MySQL's, a whole column at a time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..frame_errors import UnfitValue
from .fitting import family_of

_NULL = pa.scalar("NULL")


def tuples(batch: Any, first: int, *, backslashes: bool) -> Any:
    """What stands in the parentheses of each row.

    :param backslashes: whether the server takes them for escapes.
    :raises UnfitValue: a float that the server has no number for.
    """
    literals = [
        pc.coalesce(_literal(batch.column(at), batch.schema.names[at], first, backslashes), _NULL)
        for at in range(batch.num_columns)
    ]
    return pc.binary_join_element_wise(*literals, ",")


def lists(rows: Any, most: int) -> Iterator[str]:
    """The rows, in as many lists as it takes for none to be longer than ``most`` bytes."""
    size = (pc.sum(pc.binary_length(rows)).as_py() or 0) + 3 * len(rows)
    if size > most and len(rows) > 1:
        half = len(rows) // 2
        yield from lists(rows.slice(0, half), most)
        yield from lists(rows.slice(half), most)
        return
    joined = "),(".join(rows.to_pylist())
    yield f"({joined})"


def _literal(array: Any, name: str, first: int, backslashes: bool) -> Any:
    array = getattr(array, "storage", array) if array.type != pa.uuid() else array
    family = family_of(array.type)
    if family == "bool":
        return array.cast(pa.int8()).cast(pa.string())
    if family == "float":
        check_numbers(array, name, first)
    if family == "bytes":
        values = [None if each is None else f"x'{each.hex()}'" for each in array.to_pylist()]
        return pa.array(values, pa.string())
    text = text_of(array)
    if family in ("whole", "float", "decimal", "null"):
        return text
    return _quoted(text, backslashes and family == "text")


def text_of(array: Any) -> Any:
    """What the server reads as a value of each, without quotes."""
    if family_of(array.type) in _AS_ARROW:
        return array.cast(pa.string())
    return pa.array([_one(value) for value in array.to_pylist()], pa.string())


_AS_ARROW = frozenset({"whole", "float", "decimal", "date", "moment", "time", "text", "null"})


def check_numbers(array: Any, name: str, first: int) -> None:
    """:raises UnfitValue: a float that the server has no number for."""
    numbers = pc.fill_null(pc.is_finite(array), True)
    if not pc.all(numbers).as_py() and len(array):
        row = pc.index(numbers, False).as_py()
        raise UnfitValue(
            name,
            first + row,
            "is no number to the database",
            value=array[row].as_py(),
            hint="Leave such values out, or make them NULL.",
        )


def _quoted(texts: Any, backslashes: bool) -> Any:
    if backslashes:
        texts = pc.replace_substring(texts, "\\", "\\\\")
    texts = pc.replace_substring(texts, "'", "''")
    quote = pa.scalar("'")
    return pc.binary_join_element_wise(quote, texts, quote, "")


def _one(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, dt.timedelta):
        micros = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
        seconds, rest = divmod(abs(micros), 1_000_000)
        sign = "-" if micros < 0 else ""
        return f"{sign}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:06}"
    return str(value)  # a UUID


def between(sql: str, names: Sequence[str]) -> tuple[str, str] | None:
    """What stands before and behind the values of a compiled INSERT; ``None`` for another form."""
    for values in (
        ", ".join(f"%({name})s" for name in names),
        ", ".join("%s" for _ in names),
    ):
        before, found, behind = sql.partition(f"({values})")
        if found:
            return before.replace("%%", "%"), behind.replace("%%", "%")
    return None
