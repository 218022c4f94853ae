"""`hermetic top` while it runs: looks in one thread, keys and frames in another."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Condition, Event, Thread

from rich.console import Console
from rich.live import Live

from .frame import frame
from .gathering import Source
from .keys import Keyboard
from .services import Look
from .view import View

# seconds between two questions for the keyboard, and so between a new look and its frame at most
_TICK = 0.1


class Looking:
    """Looks in a thread of its own: a process that answers late keeps no key waiting.

    The condition is of what is wanted and what was seen.
    """

    def __init__(self, source: Source, view: View) -> None:
        self._source = source
        self._view = view
        self._changed = Condition()
        self._look: Look | None = None
        self._problem: Exception | None = None
        self._over = False
        self._at_once = False
        self._thread = Thread(target=self._run, name="looking", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over:
            view = self._view
            try:
                look = self._source.look(history=view.page.history)
            except Exception as error:  # raised to whoever watches
                self._problem = error
                return
            with self._changed:
                self._look = look
                if not self._at_once:
                    self._changed.wait_for(self._wanted, view.every)
                self._at_once = False

    def _wanted(self) -> bool:
        return self._over or self._at_once

    def latest(self) -> Look | None:
        """The last one, once.

        :raises Exception: what looking has raised.
        """
        if self._problem is not None:
            raise self._problem
        with self._changed:
            look, self._look = self._look, None
        return look

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


def watch(
    source: Source,
    console: Console,
    view: View,
    *,
    over: Event | None = None,
    started: Callable[[], None] | None = None,
) -> None:
    """Show it until ``q`` is pressed, or it is over.

    :param over: set when it is.
    :param started: called when the first frame was shown.
    """
    looking = Looking(source, view)
    try:
        with Keyboard() as keyboard, Live(console=console, screen=True, auto_refresh=False) as live:
            shown: tuple[int, int] | None = None
            while over is None or not over.is_set():
                look = looking.latest()
                if look is not None and not view.paused:
                    view.see(look)
                    _refresh_details(source, view)
                pressed = keyboard.read(0.0 if shown is None else _TICK)
                if not _press(pressed, source, view, looking):
                    return
                size = console.size.width, console.size.height
                if look is not None or pressed or size != shown:
                    live.update(frame(view, *size), refresh=True)
                    if shown is None and started is not None:
                        started()
                    shown = size
    finally:
        looking.end()


def _press(keys: list[str], source: Source, view: View, looking: Looking) -> bool:
    """:return: whether it goes on."""
    for key in keys:
        before = view.number
        done = view.press(key)
        if done == "end":
            return False
        if done == "details":
            _refresh_details(source, view)
        if view.number != before:
            looking.again()
    return True


def _refresh_details(source: Source, view: View) -> None:
    row = view.detail
    if row is None or "worker" not in row:
        return
    found = source.scope(row["worker"], row["number"], row["database"])
    # what has ended and is kept no more is shown as it was
    view.more = view.more if found is None else found


def once(source: Source, console: Console, view: View, between: float = 0.0) -> None:
    """Print a single frame.

    :param between: seconds between two looks, from which rates are told; 0 for one look.
    """
    view.see(source.look(history=view.page.history))
    if between:
        time.sleep(between)
        view.see(source.look(history=view.page.history))
    console.print(frame(view, console.width, None))
