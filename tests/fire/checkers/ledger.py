"""The ledger of tokens: what clients were told of their units, against what the tables hold.

Each run of a unit writes its token and its own number into a row of two tables, k rows in all. No
row of a run may be there without the others, and no token with the rows of two runs.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final, TypeAlias

from hermetic import Outcome
from tests.fire.checkers.violations import Violation

# token, number of the run, number of the part
Mark: TypeAlias = tuple[str, int, int]

PARTS: Final = 5


class Ledger:
    """What clients meant to do, and what they were told. Shared by threads.

    :param path: a file that keeps every entry before the call returns, also if the process is
        killed then.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._told: dict[str, Outcome | None] = {}
        self._file: IO[str] | None = path.open("a") if path else None

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """What a process that is gone has left; a last line that it did not end is not there."""
        found = cls()
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                token, outcome = json.loads(line)
                found._told[token] = Outcome(outcome) if outcome else None
        return found

    def intend(self, token: str) -> None:
        self._enter(token, None)

    def told(self, token: str, outcome: Outcome) -> None:
        self._enter(token, outcome)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def counts(self) -> Counter[str]:
        """How many tokens have which outcome; `untold` are those that nobody lived to hear."""
        return Counter(told.name if told else "untold" for told in self._told.values())

    def check(self, marks: Iterable[Mark], parts: int = PARTS) -> list[Violation]:
        """:param marks: every row of both tables."""
        rows: defaultdict[str, defaultdict[int, Counter[int]]]
        rows = defaultdict(lambda: defaultdict(Counter))
        for token, run, part in marks:
            rows[token][run][part] += 1
        return [
            *(
                Violation("stranger", f"{token} is in the tables, and nobody meant to write it")
                for token in rows.keys() - self._told.keys()
            ),
            *(
                violation
                for token, outcome in self._told.items()
                for violation in _check(token, outcome, rows.get(token, {}), parts)
            ),
        ]

    def unknown_and_there(self, marks: Iterable[Mark]) -> int:
        """How many units whose outcome nobody knew were applied."""
        there = {token for token, _, _ in marks}
        return sum(told is Outcome.UNKNOWN and t in there for t, told in self._told.items())

    def _enter(self, token: str, outcome: Outcome | None) -> None:
        with self._lock:
            self._told[token] = outcome
            if self._file is not None:
                self._file.write(json.dumps([token, outcome.value if outcome else None]) + "\n")
                self._file.flush()
                os.fsync(self._file.fileno())


def _check(
    token: str, outcome: Outcome | None, runs: dict[int, Counter[int]], parts: int
) -> Iterator[Violation]:
    for run, found in runs.items():
        if len(found) != parts:
            yield Violation("half a unit", f"{token}, run {run}: parts {sorted(found)} of {parts}")
        if any(count > 1 for count in found.values()):
            yield Violation("duplicate", f"{token}, run {run}: {dict(found)}")
    if len(runs) > 1:
        yield Violation("duplicate", f"{token} was applied by the runs {sorted(runs)}")
    if outcome is Outcome.COMMITTED and not runs:
        yield Violation("lost commit", f"{token} was told COMMITTED, and is not there")
    if outcome is Outcome.NOT_COMMITTED and runs:
        yield Violation("phantom", f"{token} was told NOT_COMMITTED, and run {list(runs)} is there")
