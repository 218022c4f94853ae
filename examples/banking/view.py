"""Who holds what, as tables for the terminal."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, JustifyMethod
from rich.live import Live
from rich.table import Table
from rich.text import Text

from banking.checks import Check
from banking.ledger import Ledger
from hermetic import Database, Snapshot

_SHOWN = 14

# the columns of the scopes: title, narrowest and widest width
_COLUMNS = (
    ("scope", 12, 20),
    ("owner", 17, 24),
    ("state", 10, 20),
    ("ms", 4, 6),
    ("sent", 4, 4),
    ("run", 3, 3),
    ("conn", 4, 4),
)


def picture(snapshot: Snapshot, ledger: Ledger, width: int) -> Group:
    """One moment: open scopes with their owners, pools, counters."""
    with_statement = width >= 100
    scopes = Table(title=f"Open scopes of {snapshot.database!r}", box=SIMPLE_HEAD, expand=True)
    for title, least, most in _COLUMNS:
        side: JustifyMethod = "right" if most <= 6 else "left"
        scopes.add_column(title, justify=side, no_wrap=True, min_width=least, max_width=most)
    if with_statement:
        scopes.add_column("last statement", no_wrap=True, ratio=1)
    for scope in sorted(snapshot.scopes, key=lambda scope: -scope.age)[:_SHOWN]:
        row = (
            f"{scope.name} #{scope.number}",
            scope.owner.removesuffix(" of thread 'MainThread'"),
            scope.state + (", reads" if scope.readonly else ""),
            f"{scope.age * 1000:.0f}",
            str(scope.statements),
            str(scope.attempt),
            "" if scope.connection is None else str(scope.connection),
            " ".join((scope.last_statement or "").split()),
        )
        scopes.add_row(*row[: len(scopes.columns)])
    pools = Table(box=SIMPLE_HEAD, expand=True)
    for column in ("pool", "out", "of", "waiting", "admitted", "had to wait", "mean wait, ms"):
        pools.add_column(column, justify="left" if column == "pool" else "right")
    for pool in snapshot.pools:
        mean = pool.wait_seconds / pool.waited * 1000 if pool.waited else 0.0
        numbers = (pool.lent, pool.limit, pool.waiting, pool.admitted, pool.waited)
        pools.add_row(pool.name, *map(str, numbers), f"{mean:.1f}")
    count = snapshot.counters
    line = (
        f"{len(ledger.applied)} transfers, {len(snapshot.connections)} connections, "
        f"{count['committed']} committed, {count['not_committed']} not committed, "
        f"{count['unknown']} unknown, {count['retries']} retries"
    )
    return Group(scopes, pools, Text(line))


async def show(
    console: Console,
    db: Database,
    ledger: Ledger,
    progress: Callable[[], float],
    over: threading.Event,
) -> None:
    """Redraw until the work is over; where nobody looks on, print it at three moments."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while not over.is_set():
                live.update(picture(db.snapshot(), ledger, console.width), refresh=True)
                await asyncio.sleep(0.12)
        return
    moments = [0.01, 0.4, 0.8]
    while moments and not over.is_set():
        snapshot = db.snapshot()
        if progress() >= moments[0] and snapshot.scopes:
            del moments[0]
            console.print(picture(snapshot, ledger, console.width), "")
        await asyncio.sleep(0.01)


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
