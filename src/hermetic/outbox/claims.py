"""What a relay has in hand: taken from the table for a time, and given back.

Only the first message of a key may be taken, and with it those that follow. While it is there, and
taken, nobody else has a message of that key; what was sent is deleted in one go with the others
that were taken together.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Table, and_, delete, exists, or_, select, update
from sqlalchemy.orm import Session

from .clock import SECOND, database_now
from .message import Message

# heads that others may take at this moment, for each that is wanted
_MORE = 4
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message in hand, and its row."""

    id: int
    message: Message


def claim(
    session: Session, table: Table, lease: str, seconds: float, most: int
) -> list[list[Claimed]] | None:
    """Take messages that are due: in runs, each of one key in its order, or of one message.

    :return: ``None``: there are some, which others are taking at this moment.
    """
    heads = _heads(session, table, most)
    if not heads:
        return []
    listed = list(heads)
    mine = (
        select(table.c.id)
        .where(table.c.id.in_(listed), table.c.leased <= database_now())
        .with_for_update(skip_locked=True)
    )
    taken = [heads[id_] for id_ in session.scalars(mine)][:most]
    if not taken:
        return None
    rows = _runs(session, table, taken, most)
    until = database_now() + int(seconds * SECOND)
    ids = [row.id for row in rows]
    session.execute(update(table).where(table.c.id.in_(ids)).values(lease=lease, leased=until))
    return _grouped(rows)


def _heads(session: Session, table: Table, most: int) -> dict[int, tuple[int, str | None]]:
    earlier = table.alias("earlier")
    behind = exists().where(
        earlier.c.key == table.c.key,
        earlier.c.sequence < table.c.sequence,
        earlier.c.parked.is_(False),
    )
    due = (
        select(table.c.id, table.c.key)
        .where(
            table.c.parked.is_(False),
            table.c.due <= database_now(),
            table.c.leased <= database_now(),
            or_(table.c.key.is_(None), ~behind),
        )
        .order_by(table.c.id)
        .limit(most * _MORE)
    )
    return {id_: (id_, key) for id_, key in session.execute(due)}


def _runs(
    session: Session, table: Table, heads: Iterable[tuple[int, str | None]], most: int
) -> list[Any]:
    """The rows of heads, and those that follow, as many as are wanted altogether.

    A key's rows were inserted under its lock: they are in the order of their ids, too.
    """
    alone = [id_ for id_, key in heads if key is None]
    keys = [key for _, key in heads if key is not None]
    wanted = or_(table.c.id.in_(alone), and_(table.c.key.in_(keys), table.c.parked.is_(False)))
    now = database_now()
    # one that somebody has in hand while the head is free: the head was parked, and is again due
    is_due = and_(table.c.due <= now, table.c.leased <= now).label("is_due")
    rows = session.execute(select(table, is_due).where(wanted).order_by(table.c.id).limit(most))
    found, waiting = [], set()
    for row in rows:
        # one that is to wait has those of its key wait that follow it
        if row.is_due and row.key not in waiting:
            found.append(row)
        elif row.key is not None:
            waiting.add(row.key)
    return found


def _grouped(rows: Iterable[Any]) -> list[list[Claimed]]:
    runs: dict[object, list[Claimed]] = {}
    for row in rows:
        message = Message(
            token=row.token,
            topic=row.topic,
            key=row.key,
            sequence=row.sequence,
            payload=row.payload,
            headers=row.headers,
            created=_EPOCH + timedelta(microseconds=row.created),
            attempts=row.attempts,
        )
        runs.setdefault(row.id if row.key is None else row.key, []).append(Claimed(row.id, message))
    for run in runs.values():
        run.sort(key=lambda each: each.message.sequence or 0)
    return list(runs.values())


def delete_sent(session: Session, table: Table, lease: str, ids: Collection[int]) -> int:
    """Delete what was sent; how many of them were still ours."""
    if not ids:
        return 0
    mine = delete(table).where(table.c.id.in_(list(ids)), table.c.lease == lease)
    count: int = session.execute(mine).rowcount  # type: ignore[attr-defined]
    return count


def put_back(session: Session, table: Table, lease: str) -> None:
    """Give up whatever is in hand: others may have it at once.

    By its rows' keys: an update by anything else locks, on MariaDB, all that it looks at.
    """
    mine = list(session.scalars(select(table.c.id).where(table.c.lease == lease)))
    if mine:
        session.execute(
            update(table)
            .where(table.c.id.in_(mine), table.c.lease == lease)
            .values(lease=None, leased=0)
        )


def put_off(
    session: Session, table: Table, lease: str, id_: int, pause: float | None, error: str
) -> None:
    """Note that sending one has failed.

    :param pause: seconds until it is due again; ``None`` to give it up.
    """
    values: dict[str, Any] = {
        "attempts": table.c.attempts + 1,
        "error": error,
        "lease": None,
        "leased": 0,
    }
    if pause is None:
        values["parked"] = True
    else:
        values["due"] = database_now() + int(pause * SECOND)
    session.execute(update(table).where(table.c.id == id_, table.c.lease == lease).values(**values))


def renew(
    session: Session, table: Table, lease: str, ids: Collection[int], seconds: float
) -> set[int]:
    """Keep what is in hand for longer; which of it still is.

    First of all it is asked, and locked: what another relay has taken meanwhile is its own.
    """
    listed = list(ids)
    mine = (
        select(table.c.id).where(table.c.id.in_(listed), table.c.lease == lease).with_for_update()
    )
    held = set(session.scalars(mine))
    if held:
        session.execute(
            update(table)
            .where(table.c.id.in_(list(held)))
            .values(leased=database_now() + int(seconds * SECOND))
        )
    return held
