"""Which SQLAlchemy is installed, and what its series have differently. All else is written for 2.1.

Read on 2.0.56 to 2.0.58, and on 2.1.7 to 2.1.9.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, orm
from sqlalchemy.orm import SessionTransaction
from sqlalchemy.pool import base

# a pre-release is what it comes before
RELEASE = tuple(int(part) for part in sqlalchemy.__version__.split(".")[:2])
IS_2_0 = RELEASE < (2, 1)

# why the fast paths are off, where that is known from the release alone and needs no warning
NO_FAST_PATHS: str | None = (
    f"they are made for SQLAlchemy 2.1, and this is {sqlalchemy.__version__}" if IS_2_0 else None
)


def _delete_all(session: Any, instances: Iterable[object]) -> None:
    """``Session.delete_all``, which 2.0 has not."""
    for instance in instances:
        orm.Session.delete(session, instance)


def _merge_all(
    session: Any, instances: Iterable[Any], *, load: bool = True, options: Any = None
) -> list[Any]:
    """``Session.merge_all``, which 2.0 has not: pending changes are flushed once, not for each."""
    if load:
        session._autoflush()
    with session.no_autoflush:
        return [
            orm.Session.merge(session, instance, load=load, options=options)
            for instance in instances
        ]


delete_all: Any = getattr(orm.Session, "delete_all", _delete_all)
merge_all: Any = getattr(orm.Session, "merge_all", _merge_all)


def connections_of(transaction: SessionTransaction) -> Collection[Connection]:
    """The connections that a transaction of a session has taken so far, also after its end."""
    if not IS_2_0:
        return transaction.connections
    # by connection and by bind; each stands there twice
    return {entry[0] for entry in transaction._connections.values()}


def keep_from_cleaning(fairy: Any, reference: Any) -> None:
    """Have the end of what a borrower holds of a pooled connection clean nothing up."""
    if not IS_2_0:
        fairy._finalizer.detach()
    else:
        # the reference is what does it there, and lives as long as it is listed
        base._strong_ref_connection_records.pop(reference, None)  # type: ignore[attr-defined]
