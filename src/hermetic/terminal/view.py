"""What somebody has chosen to see in `hermetic top`, and what keys do to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from . import words
from .pages import PAGES, Page, Row
from .services import Look

KEYS = (
    ("q", "end"),
    ("1 … 6, Tab", "another page"),
    ("s, S", "sort by another column"),
    ("r", "the other way round"),
    ("↑ ↓ PgUp PgDn, j k", "choose a row, or scroll"),
    ("Enter", "all of a scope or a finding"),
    ("Esc", "back; forget the filter"),
    ("/", "rows with this text alone"),
    ("p, Space", "hold on, go on"),
    ("+ -", "look less often, more often"),
    ("w", "another service alone, or all"),
    ("h, ?", "this"),
)
# seconds between two looks
_EVERY = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(slots=True)
class Rates:
    """How much happens in a second, by the counters of two looks."""

    _at: float = 0.0
    _seen: dict[int, dict[str, int]] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)

    def see(self, look: Look) -> None:
        """One more look."""
        names = ("scopes", "committed", "retries")
        seen = {
            worker.pid: {name: worker.counter(name) for name in names}
            for worker in look.workers
            if worker.problem is None
        }
        passed = look.at - self._at
        if self._seen and passed > 0:
            # of the workers that were there before
            both = seen.keys() & self._seen.keys()
            self.rates = {
                name: sum(max(0, seen[pid][name] - self._seen[pid][name]) for pid in both) / passed
                for name in names
            }
        self._at, self._seen = look.at, seen


@dataclass(slots=True)
class View:
    """Choices, and the last look. ``detail`` is what is shown in place of the page, if anything."""

    number: int = 0
    look: Look = field(default_factory=lambda: Look([]))
    rates: Rates = field(default_factory=Rates)
    every: float = 1.0
    paused: bool = False
    filter: str = ""
    typing: bool = False
    helping: bool = False
    service: str | None = None
    # of each page: the column that it is sorted by, and whether the other way round
    sorts: dict[str, str] = field(default_factory=dict)
    reversed: set[str] = field(default_factory=set)
    chosen: Any = None
    # the row that is looked at, what is known of it, and the first line shown
    detail: Row | None = None
    more: dict[str, Any] | None = None
    top: int = 0
    # how many rows there was room for
    room: int = 10

    @property
    def page(self) -> Page:
        """The one that is shown, or is below the details."""
        return PAGES[self.number]

    @property
    def sort(self) -> str:
        """The title of the column that it is sorted by."""
        return self.sorts.get(self.page.name, self.page.first)

    def see(self, look: Look) -> None:
        """Another look."""
        self.look = look
        self.rates.see(look)

    def shown(self) -> Look:
        """What is meant of the look: one service of it, or all."""
        if self.service is None:
            return self.look
        services = [each for each in self.look.services if each.name == self.service]
        return Look(services, self.look.left_out, self.look.at)

    def rows(self) -> list[Row]:
        """The rows of the page, in their order."""
        page = self.page
        rows = page.rows(self.shown())
        if self.filter:
            wanted = self.filter.lower()
            rows = [row for row in rows if wanted in _words(page, row)]
        return page.sorted(rows, self.sort, reverse=page.name in self.reversed)

    def index(self, rows: list[Row]) -> int:
        """Which of them is chosen: the first where the one that was is gone."""
        return next((i for i, row in enumerate(rows) if row["key"] == self.chosen), 0)

    # ------------------------------------------------------------ keys

    def press(self, key: str) -> str | None:
        """Do what a key is for.

        :return: ``end``, ``details`` where those of the chosen row are wanted, or nothing.
        """
        if self.typing:
            self._type(key)
            return None
        if key in ("q", "ctrl-c"):
            return "end"
        if key == "enter":
            return self._enter()
        action = _ACTIONS.get(key)
        if action is not None:
            action(self)
        elif key.isdecimal() and 0 < int(key) <= len(PAGES):
            self._turn_to(int(key) - 1)
        return None

    def _type(self, key: str) -> None:
        if key in ("enter", "esc"):
            self.typing = False
            self.filter = "" if key == "esc" else self.filter
        elif key == "backspace":
            self.filter = self.filter[:-1]
        elif len(key) == 1 and key.isprintable():
            self.filter += key

    def _enter(self) -> str | None:
        rows = self.rows()
        if self.detail is not None or not rows or self.page.name not in ("scopes", "findings"):
            return None
        self.detail, self.more, self.top = rows[self.index(rows)], None, 0
        return "details" if self.page.name == "scopes" else None

    def _turn_to(self, number: int) -> None:
        self.number = number % len(PAGES)
        self.chosen = self.detail = self.more = None
        self.helping = False

    def _move(self, by: int) -> None:
        if self.detail is not None:
            self.top = max(0, self.top + by)
            return
        rows = self.rows()
        if rows:
            self.chosen = rows[max(0, min(len(rows) - 1, self.index(rows) + by))]["key"]

    def _back(self) -> None:
        if self.helping:
            self.helping = False
        elif self.detail is not None:
            self.detail = self.more = None
        else:
            self.filter = ""

    def _sort(self, by: int) -> None:
        orders = self.page.orders
        self.sorts[self.page.name] = orders[(orders.index(self.sort) + by) % len(orders)]

    def _reverse(self) -> None:
        self.reversed ^= {self.page.name}

    def _pace(self, by: int) -> None:
        known = min(range(len(_EVERY)), key=lambda each: abs(_EVERY[each] - self.every))
        self.every = _EVERY[max(0, min(len(_EVERY) - 1, known + by))]

    def _another_service(self) -> None:
        names = [None, *(service.name for service in self.look.services)]
        known = names.index(self.service) if self.service in names else 0
        self.service = names[(known + 1) % len(names)]

    def _pause(self) -> None:
        self.paused = not self.paused

    def _type_filter(self) -> None:
        self.typing = True

    def _help(self) -> None:
        self.helping = not self.helping


def _words(page: Page, row: Row) -> str:
    shown = (column.cell(row, 400) for column in page.columns)
    return words.clean(" ".join(shown)).lower()


_ACTIONS: dict[str, Callable[[View], None]] = {
    "tab": lambda view: view._turn_to(view.number + 1),
    "shift-tab": lambda view: view._turn_to(view.number - 1),
    "down": lambda view: view._move(1),
    "j": lambda view: view._move(1),
    "up": lambda view: view._move(-1),
    "k": lambda view: view._move(-1),
    "page-down": lambda view: view._move(view.room),
    "page-up": lambda view: view._move(-view.room),
    "home": lambda view: view._move(-1_000_000),
    "end": lambda view: view._move(1_000_000),
    "s": lambda view: view._sort(1),
    "S": lambda view: view._sort(-1),
    "r": View._reverse,
    "/": View._type_filter,
    "p": View._pause,
    " ": View._pause,
    "+": lambda view: view._pace(1),
    "-": lambda view: view._pace(-1),
    "w": View._another_service,
    "h": View._help,
    "?": View._help,
    "esc": View._back,
    "backspace": View._back,
}
