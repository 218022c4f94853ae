"""`hermetic top` while it runs: looks in one thread, keys and frames in another."""

from __future__ import annotations

import time
from dataclasses import dataclass
from threading import Condition, Event, Thread
from typing import Any

from rich.console import Console
from rich.live import Live

from .frame import frame
from .gathering import Source
from .keys import Keyboard
from .pages import Row
from .services import Look
from .view import View

# seconds between two questions for the keyboard, and so between a new look and its frame at most
_TICK = 0.1


@dataclass(frozen=True, slots=True)
class Seen:
    """A look, and what is known of the scope whose row was being looked at."""

    look: Look
    row: Row | None
    more: dict[str, Any] | None


class Looking:
    """Looks in a thread of its own: a process that answers late keeps no key waiting.

    The condition is of what is wanted and what was seen.
    """

    def __init__(self, source: Source, view: View) -> None:
        self._source = source
        self._view = view
        self._changed = Condition()
        self._seen: Seen | None = None
        self._problem: Exception | None = None
        self._over = False
        self._at_once = False
        self._thread = Thread(target=self._run, name="looking", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over:
            try:
                seen = self._look()
            except Exception as error:  # raised to whoever watches
                self._problem = error
                return
            with self._changed:
                self._seen = seen
                self._changed.wait_for(self._wanted, self._view.every)
                self._at_once = False

    def _look(self) -> Seen:
        row, more = self._view.detail, None
        look = self._source.look(history=self._view.page.history)
        if row is not None and "worker" in row:
            more = self._source.scope(row["worker"], row["number"], row["database"])
        return Seen(look, row, more)

    def _wanted(self) -> bool:
        return self._over or self._at_once

    def latest(self) -> Seen | None:
        """What was seen last, once.

        :raises Exception: what looking has raised.
        """
        if self._problem is not None:
            raise self._problem
        with self._changed:
            seen, self._seen = self._seen, None
        return seen

    def again(self) -> None:
        """Without waiting for the time of the next one."""
        with self._changed:
            self._at_once = True
            self._changed.notify()

    def end(self) -> None:
        """No more of it. A look that is under way is not waited for."""
        with self._changed:
            self._over = True
            self._changed.notify()


def watch(source: Source, console: Console, view: View, *, over: Event | None = None) -> None:
    """Show it until ``q`` is pressed, or it is over.

    :param over: set when it is.
    """
    looking = Looking(source, view)
    shown: tuple[int, int] | None = None
    try:
        with Keyboard() as keyboard, Live(console=console, screen=True, auto_refresh=False) as live:
            while over is None or not over.is_set():
                seen = looking.latest()
                if seen is not None:
                    _take(seen, view)
                pressed = keyboard.read(0.0 if shown is None else _TICK)
                if not _press(pressed, view, looking):
                    return
                size = console.size.width, console.size.height
                if seen is not None or pressed or size != shown:
                    live.update(frame(view, *size), refresh=True)
                    shown = size
    finally:
        looking.end()


def _take(seen: Seen, view: View) -> None:
    if not view.paused:
        view.see(seen.look)
    # what has ended and is kept no more is shown as it was
    if seen.more is not None and seen.row is view.detail:
        view.more = seen.more


def _press(keys: list[str], view: View, looking: Looking) -> bool:
    """:return: whether it goes on."""
    for key in keys:
        before = view.number
        done = view.press(key)
        if done == "end":
            return False
        if done == "details" or view.number != before:
            looking.again()
    return True


def once(source: Source, console: Console, view: View, between: float = 0.0) -> None:
    """Print a single frame.

    :param between: seconds between two looks, from which rates are told; 0 for one look.
    """
    view.see(source.look(history=view.page.history))
    if between:
        time.sleep(between)
        view.see(source.look(history=view.page.history))
    console.print(frame(view, console.width, None))
