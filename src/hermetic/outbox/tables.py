"""The tables: messages, the numbers of their keys, and what was received."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    text,
)
from sqlalchemy.dialects import mysql

from .message import LONGEST

# only then does SQLite number rows by itself
_NUMBER = BigInteger().with_variant(Integer, "sqlite")
# where the collation would take A and a for one key
_EXACT = String(LONGEST).with_variant(
    mysql.VARCHAR(LONGEST, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb"
)
_ZERO = text("0")


def messages(name: str, metadata: MetaData, schema: str | None) -> Table:
    """Messages that were not sent yet. Times are microseconds since 1970, by its own clock."""
    return Table(
        name,
        metadata,
        Column("id", _NUMBER, primary_key=True, autoincrement=True),
        Column("token", String(32), nullable=False),
        Column("topic", String(LONGEST), nullable=False),
        Column("key", _EXACT),
        Column("sequence", BigInteger),
        Column("payload", JSON, nullable=False),
        Column("headers", JSON, nullable=False),
        Column("created", BigInteger, nullable=False),
        # not to be sent before
        Column("due", BigInteger, nullable=False),
        Column("attempts", Integer, nullable=False, server_default=_ZERO),
        Column("error", String(LONGEST)),
        # given up, until somebody has it sent again
        Column("parked", Boolean, nullable=False, server_default=text("false")),
        # which relay has it in hand, and for how long
        Column("lease", String(32)),
        Column("leased", BigInteger, nullable=False, server_default=_ZERO),
        Index(f"{name}_in_order", "key", "sequence"),
        schema=schema,
    )


def numbers(name: str, metadata: MetaData, schema: str | None) -> Table:
    """How many messages each key has had: whoever adds one has the row's lock until its commit."""
    return Table(
        f"{name}_keys",
        metadata,
        Column("key", _EXACT, primary_key=True),
        Column("last", BigInteger, nullable=False),
        schema=schema,
    )


def received(name: str, metadata: MetaData, schema: str | None) -> Table:
    """The tokens of messages that were dealt with."""
    return Table(
        name,
        metadata,
        Column("token", _EXACT, primary_key=True),
        Column("received", BigInteger, nullable=False, index=True),
        schema=schema,
    )
