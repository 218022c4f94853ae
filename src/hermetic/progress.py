"""How far a long call has come: as a bar in the terminal, or told to a function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import length_hint
from typing import Any, TypeAlias

from .clock import monotonic
from .errors import ConfigurationError, InvalidOption


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a call on many rows has come.

    :param what: what it does, in a few words.
    :param done: rows that are done.
    :param total: rows that there are; ``None`` where nobody knows before the end.
    :param seconds: since it began.
    :param rate: rows for each second of that.
    :param left: seconds that the rest will take at that rate; ``None`` without a total.
    :param finished: whether this is the last record of the call.
    """

    what: str
    done: int
    total: int | None
    seconds: float
    rate: float
    left: float | None
    finished: bool


# a bar, a function that is told, or nothing
Wanted: TypeAlias = "bool | Callable[[Progress], object] | None"


class Following:
    """Counts rows, and tells whoever wants to know."""

    __slots__ = ("_began", "_tell", "done", "total", "what")

    def __init__(
        self, what: str, total: int | None, tell: Callable[[Progress], object] | None
    ) -> None:
        self.what = what
        self.total = total
        self.done = 0
        self._tell = tell
        self._began = monotonic()

    def more(self, rows: int) -> None:
        """So many rows more are done."""
        self.done += rows
        if self._tell is not None:
            self._tell(self.record(finished=False))

    def record(self, *, finished: bool) -> Progress:
        seconds = monotonic() - self._began
        rate = self.done / seconds if seconds > 0 else 0.0
        left = None
        if self.total is not None:
            left = max(0, self.total - self.done) / rate if rate > 0 else None
        return Progress(self.what, self.done, self.total, seconds, rate, left, finished)


@contextmanager
def following(progress: Wanted, what: str, rows: object = None) -> Iterator[Following]:
    """Follow a call: ``following.more(rows)`` after each batch.

    The function is called in the caller's thread or task after every batch, and once more at the
    end with ``finished``; what it raises ends the call as an error. It is not told of a failure.

    :param progress: ``True`` for a bar (of rich), a function of a ``Progress``, or nothing.
    :param what: what is done, in a few words: "insert into users".
    :param rows: what is gone through, or how many; its length is the total where it has one.
    :raises ConfigurationError: a bar is wanted, and rich is not installed.
    """
    check(progress)
    total = rows if isinstance(rows, int) else length_hint(rows, -1)
    whole = None if total < 0 else total
    if progress is True:
        with _bar(what, whole) as tell:
            yield from _followed(what, whole, tell)
    elif callable(progress):
        yield from _followed(what, whole, progress)
    else:
        yield Following(what, whole, None)


def check(progress: object) -> None:
    """:raises InvalidOption: it is none of what ``progress`` may be."""
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        problem = "must be True for a bar, a function of a Progress, or None"
        raise InvalidOption("progress", progress, problem, place="progress")


def _followed(
    what: str, total: int | None, tell: Callable[[Progress], object]
) -> Iterator[Following]:
    counted = Following(what, total, tell)
    yield counted
    tell(counted.record(finished=True))


@contextmanager
def _bar(what: str, total: int | None) -> Iterator[Callable[[Progress], object]]:
    bars = _rich()
    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[rate]}"),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns) as shown:
        task = shown.add_task(what, total=total, rate="")

        def tell(record: Progress) -> None:
            end = record.done if record.finished else record.total
            rate = f"{record.rate:,.0f}/s"
            shown.update(task, completed=record.done, total=end, rate=rate)

        yield tell


def _rich() -> Any:
    try:
        from rich import progress
    except ImportError as error:
        raise ConfigurationError(
            "A bar of progress needs rich.",
            hint="Install it with: pip install 'hermetic[rich]', or give a function.",
        ) from error
    return progress
