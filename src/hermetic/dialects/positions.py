"""How far a server has come, as each family tells it: a log's place, or a set of transactions.

A position is a short string of harmless characters, so that it can go into a cookie or a header. It
may come back from there changed by anybody: it is taken apart into numbers, and what was given
never reaches a server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

# what a position may be at most: more is no cookie
_LONGEST = 1000


class Position(Protocol):
    """How far a server had come."""

    def covers(self, other: Any) -> bool:
        """Whether a server that has come so far shows everything that ``other`` stands for."""

    def joined(self, other: Any) -> Any:
        """A position that covers this one and, where they can be compared, the other."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a server said of itself.

    ``position`` is what it shows for certain; ``upper`` is one that covers everything it may have
    shown until then. ``standby`` is whether it follows another one, where it can tell.
    """

    position: Any
    upper: Any
    standby: bool | None = None


class Positions:
    """A family that has none."""

    known: ClassVar[bool] = False

    def question(self, dialect: Any) -> str:
        """What a server is asked, in one statement, whatever its role."""
        raise NotImplementedError

    def sight(self, row: Any) -> Sight:
        """What its answer means."""
        raise NotImplementedError

    def parse(self, text: str) -> Any:
        """A position that was a string.

        :raises ValueError: it is none of this family.
        """
        raise ValueError(text)


# ---------------------------------------------------------------- PostgreSQL


@dataclass(frozen=True, slots=True)
class LogPosition:
    """A place in PostgreSQL's log, on one timeline.

    After a promotion the log goes on under a new timeline, maybe from before a place that the old
    one had reached: across timelines places cannot be compared, and nothing is covered.
    """

    timeline: int
    place: int

    def __str__(self) -> str:
        return f"p{self.timeline:X}.{self.place:X}"

    def covers(self, other: LogPosition) -> bool:
        return self.timeline == other.timeline and self.place >= other.place

    def joined(self, other: LogPosition) -> LogPosition:
        return max(self, other, key=lambda each: (each.timeline, each.place))


# A standby's timeline is at least each of these. An ordinary role sees the first only where it has
# pg_read_all_stats; the others follow at restartpoints. Too low a number is safe: it covers nothing
_TIMELINE = (
    "GREATEST((SELECT received_tli FROM pg_stat_get_wal_receiver()),"
    " (SELECT timeline_id FROM pg_control_checkpoint()),"
    " (SELECT min_recovery_end_timeline FROM pg_control_recovery()))"
)
_INSERTED = "pg_current_wal_insert_lsn()"
# bytes, of a page of the log (PostgreSQL 15, xlog_internal.h)
_HEADER = 24


class PostgreSQLPositions(Positions):
    """PostgreSQL 10 and later; measured on 15."""

    known: ClassVar[bool] = True
    _text = re.compile(r"p([0-9A-F]{1,8})\.([0-9A-F]{1,16})")

    # Inserted, not written: with synchronous_commit off a COMMIT returns before its record is
    # written. A standby takes up a transaction a moment before it says that it has replayed it:
    # what it may have shown is bounded by what it has received (PostgreSQL 15, xlogrecovery.c)
    _question: ClassVar[str] = (
        "SELECT pg_is_in_recovery(),"
        f" CASE WHEN pg_is_in_recovery() THEN {_TIMELINE}::text"
        f" ELSE substr(pg_walfile_name({_INSERTED}), 1, 8) END,"
        " (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()"
        f" ELSE {_INSERTED} END)::text,"
        " (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() END)::text,"
        " current_setting('wal_block_size')::int"
    )

    def question(self, dialect: Any) -> str:
        return self._question

    def sight(self, row: Any) -> Sight:
        standby, timeline, place, received, block = row
        number = int(timeline) if standby else int(timeline, 16)
        position = LogPosition(number, _before_header(_place(place), block))
        upper = position
        if received is not None:
            upper = LogPosition(number, max(position.place, _place(received)))
        return Sight(position, upper, bool(standby))

    def parse(self, text: str) -> LogPosition:
        found = self._text.fullmatch(text)
        if found is None:
            raise ValueError(text)
        return LogPosition(int(found[1], 16), int(found[2], 16))


def _before_header(place: int, block: int) -> int:
    """Where a page was filled, the place for the next record is behind the next page's header, and
    what a standby has replayed ends before it. No record ends with a header.
    """
    return place - _HEADER if place % block == _HEADER else place


def _place(text: str | None) -> int:
    """A number of ``16/B374D848``; a standby that has replayed nothing yet says nothing."""
    high, _, low = (text or "0/0").partition("/")
    return (int(high, 16) << 32) | int(low, 16)


# ---------------------------------------------------------------- MariaDB


@dataclass(frozen=True, slots=True)
class GtidPosition:
    """MariaDB's: the last transaction of each domain. Within one they are numbered in order."""

    domains: tuple[tuple[int, int, int], ...]

    def __str__(self) -> str:
        return "m" + "_".join(f"{d}-{server}-{number}" for d, server, number in self.domains)

    def covers(self, other: GtidPosition) -> bool:
        mine = {domain: number for domain, _, number in self.domains}
        return all(mine.get(domain, 0) >= number for domain, _, number in other.domains)

    def joined(self, other: GtidPosition) -> GtidPosition:
        last = {domain: (domain, server, number) for domain, server, number in self.domains}
        for each in other.domains:
            known = last.get(each[0])
            if known is None or known[2] < each[2]:
                last[each[0]] = each
        return GtidPosition(tuple(sorted(last.values())))


# ---------------------------------------------------------------- MySQL


@dataclass(frozen=True, slots=True)
class GtidSet:
    """MySQL's: the transactions of each server, in closed intervals that do not touch."""

    sources: tuple[tuple[str, tuple[tuple[int, int], ...]], ...]

    def __str__(self) -> str:
        parts = []
        for source, intervals in self.sources:
            runs = (f"{a}" if a == b else f"{a}-{b}" for a, b in intervals)
            parts.append(":".join((source, *runs)))
        return "s" + "_".join(parts)

    def covers(self, other: GtidSet) -> bool:
        mine = dict(self.sources)
        return all(
            any(a <= first and last <= b for a, b in mine.get(source, ()))
            for source, intervals in other.sources
            for first, last in intervals
        )

    def joined(self, other: GtidSet) -> GtidSet:
        both: dict[str, list[tuple[int, int]]] = {}
        for source, intervals in (*self.sources, *other.sources):
            both.setdefault(source, []).extend(intervals)
        return GtidSet(tuple(sorted((source, _united(each)) for source, each in both.items())))


def _united(intervals: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for first, last in sorted(intervals):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return tuple(found)


class MySQLPositions(Positions):
    """GTIDs: MariaDB 10.5 and later, measured on 10.11; MySQL 8 by its documentation alone."""

    known: ClassVar[bool] = True
    _gtid = re.compile(r"([0-9]{1,10})-([0-9]{1,10})-([0-9]{1,20})")
    _source = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
    _interval = re.compile(r"([0-9]{1,20})(?:-([0-9]{1,20}))?")

    def question(self, dialect: Any) -> str:
        # a global variable of MariaDB's that any user may read: what was replicated and what was
        # written here, together
        if getattr(dialect, "is_mariadb", False):
            return "SELECT 'm', @@gtid_current_pos"
        return "SELECT 's', @@global.gtid_executed"

    def sight(self, row: Any) -> Sight:
        kind, said = row
        text = said.decode() if isinstance(said, bytes) else str(said or "")
        if not text:
            # no binary log, or nothing in it yet
            return Sight(None, None)
        plain = "".join(text.split()).lower().replace(",", "_")
        position = self._parsed(kind.decode() if isinstance(kind, bytes) else kind, plain)
        return Sight(position, position)

    def parse(self, text: str) -> Any:
        if len(text) > _LONGEST or not text.isascii():
            raise ValueError(text)
        return self._parsed(text[:1], text[1:])

    def _parsed(self, kind: str, text: str) -> Any:
        if kind == "m":
            matches = [self._gtid.fullmatch(part) for part in text.split("_")]
            if not all(matches):
                raise ValueError(text)
            found = [(int(m[1]), int(m[2]), int(m[3])) for m in matches if m is not None]
            return GtidPosition(tuple(sorted(found)))
        if kind == "s":
            return GtidSet(tuple(sorted(self._of_source(part) for part in text.split("_"))))
        raise ValueError(text)

    def _of_source(self, text: str) -> tuple[str, tuple[tuple[int, int], ...]]:
        source, *runs = text.split(":")
        matches = [self._interval.fullmatch(run) for run in runs]
        if not self._source.fullmatch(source) or not matches or not all(matches):
            raise ValueError(text)
        pairs = [(int(m[1]), int(m[2] or m[1])) for m in matches if m is not None]
        if any(first > last for first, last in pairs):
            raise ValueError(text)
        return source, _united(pairs)


def covers(reached: Any, wanted: Any) -> bool:
    """Whether a position covers another; none covers nothing, and nothing has to be covered."""
    if wanted is None:
        return True
    return type(reached) is type(wanted) and bool(reached.covers(wanted))


def joined(known: Any, seen: Any) -> Any:
    """Two positions in one, either of which may be none."""
    if known is None or type(known) is not type(seen):
        return known if seen is None else seen
    return known.joined(seen)
