"""What is seen of the bank: `hermetic top` while it is open, and the checks at its end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from banking.checks import Check
from hermetic import Database
from hermetic.terminal.frame import frame
from hermetic.terminal.gathering import Own
from hermetic.terminal.screen import watch
from hermetic.terminal.view import View


async def show(
    console: Console, db: Database, progress: Callable[[], float], over: threading.Event
) -> None:
    """Look on until the work is over; where there is no terminal, print one frame of it."""
    source, view = Own(db), View(every=0.2)
    if console.is_terminal and not console.is_dumb_terminal:
        await asyncio.to_thread(watch, source, console, view, over=over)
        return
    view.see(source.look(history=False))
    while not over.is_set():
        await asyncio.sleep(0.01)
        if progress() < 0.4:
            continue
        look = source.look(history=False)
        if look.workers[0].open_scopes:
            view.see(look)
            console.print(frame(view, console.width, None), "")
            return


def verdict(checks: Iterable[Check]) -> Table:
    """The checks as a table."""
    table = Table(title="Checks", box=SIMPLE_HEAD, expand=True)
    table.add_column("", no_wrap=True)
    table.add_column("check")
    table.add_column("seen")
    for check in checks:
        mark = Text("ok", "green") if check.passed else Text("FAILED", "bold red")
        table.add_row(mark, check.name, check.seen)
    return table
