"""Tables made for frames that have none yet."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from sqlalchemy import Column, MetaData, Table, types
from sqlalchemy.schema import CreateTable

from ..dialects.framing import COMMITS_BY_DDL
from ..errors import ConfigurationError
from .fitting import family_of


def create(connection: Any, what: Any, table: Table | None, given: Any) -> Table:
    """:raises ConfigurationError: the database would commit by it, or a type is unknown."""
    if table is None:
        schema, _, name = what.rpartition(".")
        columns = [Column(field.name, _type(field)) for field in given.schema()]
        table = Table(name, MetaData(), *columns, schema=schema or None)
    if connection.dialect.name in COMMITS_BY_DDL:
        raise ConfigurationError(
            f"There is no table {table.name}, and {connection.dialect.name} commits the "
            "transaction where one is made.",
            hint="Make it first, outside of the scope: metadata.create_all(db.engine).",
        )
    connection.execute(CreateTable(table))
    return table


def _type(field: pa.Field) -> Any:
    arrow = field.type
    if pa.types.is_dictionary(arrow):
        arrow = arrow.value_type
    family = family_of(arrow)
    if family == "whole":
        wide = arrow.bit_width == 64 or arrow == pa.uint32()
        if arrow == pa.uint64():
            return types.Numeric(20, 0)
        return types.BigInteger() if wide else types.Integer()
    if family == "decimal":
        return types.Numeric(arrow.precision, arrow.scale)
    if family == "float":
        return types.Double()
    if family == "list":
        inner = _type(pa.field(field.name, arrow.value_type))
        return types.ARRAY(inner)
    if family in _TYPES:
        return _TYPES[family]
    raise ConfigurationError(
        f"Of column {field.name!r}, {arrow}, no column of a new table can be made.",
        hint="Make the table first.",
    )


_TYPES: dict[str, Any] = {
    "bool": types.Boolean(),
    "text": types.Text(),
    "bytes": types.LargeBinary(),
    "date": types.Date(),
    "moment": types.DateTime(),
    "zoned": types.DateTime(timezone=True),
    "time": types.Time(),
    "duration": types.Interval(),
    "interval": types.Interval(),
    "uuid": types.Uuid(),
    "json": types.JSON(),
    "struct": types.JSON(),
    "null": types.Text(),
}
