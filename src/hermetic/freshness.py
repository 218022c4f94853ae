"""Whether what was read before is still what the database has: versions of tables, and marks.

Each table has a version. Who commits a change marks the table before the COMMIT is sent, and gives
it a new version when the answer has come; then the mark is gone. Who reads for the cache notes the
versions before it asks the database, and what it has read is good for as long as they are the same
and nothing is marked. A mark that nobody takes away (its process was killed, or never learned how
the COMMIT ended) ends with its lease, and the version changes then. Marks are counted in two
generations: a writer that was killed is given up although others always write.

The versions are numbers in cells, which may lie in memory that several processes share. Reading
takes no lock: whichever of two cells is seen first, what was read around a commit is kept under a
version that is never seen again. Changing takes one, which is the caller's.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, MutableSequence
from typing import NamedTuple
from zlib import crc32

# the cells of a table: its version, how many marks it has, the moment of the last one, the number
# of the generation that marks are made in now, how many are of it, and since when there is this one
CELLS = 6
_VERSION, _OPEN, _LAST, _ERA, _YOUNG, _SINCE = range(CELLS)
# what a version is set to by who cannot wait for the lock: no other one is ever the same
_AT_RANDOM = 62


class Claim(NamedTuple):
    """Somebody's marks: the place of each table, with the generation they were made in."""

    marks: tuple[tuple[int, int], ...]


class Board:
    """Versions and marks in ``cells``: numbers from 0 to 2**64 - 1, all 0 at the beginning.

    :param lease: how long a mark holds that nobody takes away, in the unit of all moments here.
    """

    def __init__(self, cells: MutableSequence[int], lease: int) -> None:
        self.cells = cells
        self.lease = lease
        self.tables = len(cells) // CELLS

    def place(self, name: str) -> int:
        """Where a table's cells are. Two tables may share them: then each is forgotten with the
        other.
        """
        return crc32(name.encode()) % self.tables * CELLS

    def places(self, names: Iterable[str]) -> tuple[int, ...]:
        """``place`` of each, in order, none twice."""
        return tuple(sorted({self.place(name) for name in names}))

    def is_marked(self, places: Iterable[int]) -> bool:
        """Whether a commit is under way, or may be: nothing is to be read from the cache, or kept.

        It takes no lock.
        """
        cells = self.cells
        return any(cells[place + _OPEN] for place in places)

    def is_overdue(self, places: Iterable[int], now: int) -> bool:
        """Whether there is a mark that ``lapse`` would give up; without a lock, a guess."""
        return any(self._overdue(place, now) for place in places)

    def versions(self, places: Iterable[int]) -> tuple[int, ...]:
        """It takes no lock, and is asked before ``is_marked`` by whoever keeps what it reads."""
        cells = self.cells
        return tuple([cells[place + _VERSION] for place in places])

    # ------------------------------------------------------------ under the lock

    def begin(self, places: Iterable[int], now: int) -> Claim:
        """Mark tables, before a COMMIT is sent."""
        marks = []
        cells = self.cells
        for place in places:
            self.lapse((place,), now)
            # who is killed between two of these leaves more marks than there are, and never less
            if not cells[place + _OPEN] or not 0 <= now - cells[place + _SINCE] <= self.lease:
                cells[place + _ERA] += 1
                cells[place + _YOUNG] = 0
                cells[place + _SINCE] = now
            cells[place + _LAST] = now
            cells[place + _OPEN] += 1
            cells[place + _YOUNG] += 1
            self._renew(place)
            marks.append((place, cells[place + _ERA]))
        return Claim(tuple(marks))

    def finish(self, claim: Claim) -> None:
        """Give new versions and take the marks away, when the COMMIT was answered."""
        cells = self.cells
        for place, era in claim.marks:
            self._renew(place)
            if cells[place + _ERA] == era:
                if cells[place + _YOUNG]:
                    cells[place + _YOUNG] -= 1
                    cells[place + _OPEN] -= 1
            elif cells[place + _ERA] == era + 1 and cells[place + _OPEN] > cells[place + _YOUNG]:
                cells[place + _OPEN] -= 1

    def lapse(self, places: Iterable[int], now: int) -> None:
        """Give up marks that have been there for longer than their lease."""
        cells = self.cells
        for place in places:
            if not self._overdue(place, now):
                continue
            # the version first: who sees no mark must not see the old one
            self._renew(place)
            if 0 <= now - cells[place + _LAST] <= self.lease:
                cells[place + _OPEN] = cells[place + _YOUNG]
            else:
                cells[place + _ERA] += 2  # neither of its generations goes on
                cells[place + _OPEN] = cells[place + _YOUNG] = 0

    def forget(self, places: Iterable[int]) -> None:
        """Nothing that was read before is good any more."""
        for place in places:
            self._renew(place)

    def forget_at_once(self, places: Iterable[int]) -> None:
        """As ``forget``, without the lock: whatever its holder writes next is a version that nobody
        has seen either.
        """
        for place in places:
            self.cells[place + _VERSION] = secrets.randbits(_AT_RANDOM)

    def _overdue(self, place: int, now: int) -> bool:
        """Whether all marks are, or those of the generation before: they are older than this one.

        A moment that is yet to come is one of before the machine's last start.
        """
        cells = self.cells
        if not cells[place + _OPEN]:
            return False
        if not 0 <= now - cells[place + _LAST] <= self.lease:
            return True
        aged = not 0 <= now - cells[place + _SINCE] <= self.lease
        return aged and cells[place + _OPEN] > cells[place + _YOUNG]

    def _renew(self, place: int) -> None:
        self.cells[place + _VERSION] += 1
