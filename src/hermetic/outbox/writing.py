"""Messages of a scope, written together just before its COMMIT.

By then the transaction has everything else, and the locks on the keys' numbers are held for the
COMMIT alone. They are what makes order: a key's numbers are in the order of the commits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, bindparam, insert, select
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.orm import Session

from ..errors import ConfigurationError
from .clock import database_now

if TYPE_CHECKING:
    from .box import Outbox


class Draft:
    """What a scope has to write; hooks of the scope add to it, and the last of them writes it.

    There is a hook for the messages that are put one after the other in the same savepoint: rolled
    back, it drops the hook, and them too.
    """

    def __init__(self, outbox: Outbox, session: Session) -> None:
        self._outbox = outbox
        self._session = session
        self._rows: list[dict[str, Any]] = []
        # those whose hook was not run yet, and the savepoint that they were put in
        self._latest: list[dict[str, Any]] | None = None
        self._savepoint: object = None

    def put(self, row: dict[str, Any]) -> None:
        savepoint = self._session.get_nested_transaction()
        if self._latest is None or savepoint is not self._savepoint:
            self._begin(savepoint)
        assert self._latest is not None
        self._latest.append(row)

    def _begin(self, savepoint: object) -> None:
        session: Any = self._session
        latest: list[dict[str, Any]] = []
        session.before_commit(lambda: self._add(latest))
        session.on_commit(self._outbox.wake, key=(Draft, id(self._outbox)))
        self._latest, self._savepoint = latest, savepoint

    def _add(self, rows: list[dict[str, Any]]) -> None:
        if rows is self._latest:
            self._latest = None
        if not self._rows:
            # after the hooks that are known by now; what those add later begins anew
            self._session.before_commit(self._write)  # type: ignore[attr-defined]
        self._rows += rows

    def _write(self) -> None:
        rows, self._rows = self._rows, []
        keys = Counter(row["key"] for row in rows if row["key"] is not None)
        if keys:
            last = _numbered(self._session, self._outbox.keys, keys)
            following = {key: last[key] - count for key, count in keys.items()}
            for row in rows:
                key = row["key"]
                if key is not None:
                    following[key] += 1
                    row["sequence"] = following[key]
        statement = insert(self._outbox.messages).values(
            created=database_now(), due=database_now() + bindparam("delay")
        )
        self._session.execute(statement, rows)


def _numbered(session: Session, keys: Table, wanted: Mapping[str, int]) -> dict[str, int]:
    """Numbers for some messages of each key; the last one of each.

    In the order of the keys, so that no two scopes wait for each other. In one statement each: to
    look first would lock, on MariaDB, the gap in which two then insert, and wait for each other.
    """
    dialect = session.connection().dialect.name
    upsert = _UPSERTS.get(dialect)
    if upsert is None:
        raise ConfigurationError(
            f"Messages with a key cannot be numbered on {dialect}.",
            hint="Put them without a key, where order does not matter.",
        )
    for key in sorted(wanted):
        session.execute(upsert(keys, key, wanted[key]))
    found = select(keys.c.key, keys.c.last).where(keys.c.key.in_(list(wanted)))
    return {row.key: row.last for row in session.execute(found)}


def _by_conflict(made: Callable[[Table], Any]) -> Callable[[Table, str, int], Any]:
    def upsert(keys: Table, key: str, count: int) -> Any:
        statement = made(keys).values(key=key, last=count)
        return statement.on_conflict_do_update(
            index_elements=[keys.c.key], set_={"last": keys.c.last + count}
        )

    return upsert


def _by_duplicate(keys: Table, key: str, count: int) -> Any:
    statement = mysql.insert(keys).values(key=key, last=count)
    return statement.on_duplicate_key_update(last=keys.c.last + count)


_UPSERTS: Mapping[str, Callable[[Table, str, int], Any]] = {
    "postgresql": _by_conflict(postgresql.insert),
    "sqlite": _by_conflict(sqlite.insert),
    "mysql": _by_duplicate,
    "mariadb": _by_duplicate,
}
