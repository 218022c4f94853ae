"""Which tables a transaction has written, where a cache of reads has to know."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any
from weakref import WeakSet

from sqlalchemy import Table

# the key of a ``Touched`` in the ``info`` of the pool's record of a connection
TOUCHED = "hermetic.touched"
# stands for every table there is, where nobody can say which
EVERYTHING = "*"

# the engines of Databases that have a cache: where there are none, nothing is noted
watched_engines: WeakSet[Any] = WeakSet()


class Touched:
    """What one transaction has written so far.

    It only ever grows: what a savepoint's rollback has undone stays noted, which makes the cache
    forget more than it has to, and never less.
    """

    __slots__ = ("announced", "by_hand", "names", "transaction")

    def __init__(self, transaction: Any) -> None:
        self.transaction = transaction
        self.names: set[str] = set()
        # its commit, in parts, as the store of the cache knows it
        self.announced: list[Any] = []
        # it was begun or ended by text: nobody knows when what it writes is committed
        self.by_hand = False

    def reaches(self, names: Iterable[str]) -> bool:
        """Whether it has written one of these tables."""
        return bool(self.names) and (EVERYTHING in self.names or not self.names.isdisjoint(names))


def note(session: Any, *tables: Table | str) -> None:
    """Say which tables a session's transaction has written by a way that SQLAlchemy does not see.

    For bulk writers on the driver's connection (COPY, LOAD DATA), called before they send: their
    statements pass no engine. Without a cache it does nothing.

    :param session: the sync session, also under asyncio (then on SQLAlchemy's bridge).
    :param tables: tables or their names; none at all stands for every table there is.
    """
    if not watched_engines:
        return
    connection = session.connection()
    if connection.engine not in watched_engines:
        return
    touched = touched_by(connection.info, connection.info.get("hermetic"), make=True)
    assert touched is not None
    touched.names.update(map(name_of, tables) if tables else (EVERYTHING,))


def announce(connection: Any) -> None:
    """Tell the cache now that a connection's transaction is about to be committed.

    For a unit of several: what one cache refuses must be known before any of them is prepared or
    committed. A rollback takes it back. Without a cache it does nothing.

    :param connection: SQLAlchemy's.
    :raises CacheAway: the cache is away, and was told to refuse then.
    """
    if watched_engines and connection.engine in watched_engines:
        connection.dialect.hermetic_announce(connection.connection)


def name_of(table: Table | str) -> str:
    """What the cache calls a table: its own name in small letters, without a schema.

    Tables of one name in several schemas are one to it: which schema a name is looked up in may be
    settled on the server.
    """
    name = table if isinstance(table, str) else table.name
    return name.rpartition(".")[2].strip('"`[]').lower()


def touched_by(
    info: MutableMapping[Any, Any], record: Any, *, make: bool = False
) -> Touched | None:
    """What the transaction that is open on a connection has written.

    :param info: the connection's.
    :param record: hermetic's of the connection.
    :param make: whether something is about to be noted.
    """
    transaction = None if record is None else record.transaction
    found: Touched | None = info.get(TOUCHED)
    if found is not None and found.transaction is not transaction:
        # of an earlier transaction on this connection, which was rolled back
        del info[TOUCHED]
        found = None
    if found is None and make:
        found = info[TOUCHED] = Touched(transaction)
    return found
