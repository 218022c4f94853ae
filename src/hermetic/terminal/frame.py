"""One frame of `hermetic top`: a view, fitted to the width and height that there are."""

from __future__ import annotations

import time
from collections.abc import Iterator

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from . import words
from .details import details
from .pages import PAGES, Column, Row, fitting, share_style
from .services import Look
from .view import KEYS, View

# fewer lines or columns than these show nothing that is of use
LEAST_WIDTH, LEAST_HEIGHT = 40, 8


def frame(view: View, width: int, height: int | None) -> Text:
    """What a terminal of this size shows.

    :param height: ``None`` for as many lines as there is something to show.
    """
    width = max(LEAST_WIDTH, width)
    lines = [*_head(view, width), *_pools(view, width, height), _tabs(view, width)]
    foot = [] if height is None else [_foot(view, width)]
    room = None if height is None else max(1, max(LEAST_HEIGHT, height) - len(lines) - len(foot))
    body = list(_body(view, width, room))
    if room is not None:
        body = body[:room] + [Text()] * (room - len(body))
    shown = Text("\n").join([_cut(line, width) for line in [*lines, *body, *foot]])
    shown.no_wrap, shown.overflow = True, "crop"
    return shown


def _cut(line: Text, width: int) -> Text:
    if cell_len(line.plain) > width:
        line.truncate(width, overflow="ellipsis")
    return line


# ---------------------------------------------------------------- above and below


def _head(view: View, width: int) -> list[Text]:
    look = view.shown()
    clock = time.strftime("%H:%M:%S", time.localtime(look.at))
    right = f"held at {clock}" if view.paused else clock
    left = f"hermetic top  {_whose(look)}"
    room = width - len(right) - 2
    first = Text(set_cell_size(left, room) + "  ", "bold")
    first.append(right, "bold yellow" if view.paused else "dim")
    return [first, _counts(view, look)]


def _whose(look: Look) -> str:
    services = [
        f"{words.clean(service.name)} ({len(service.workers)} workers)"
        if len(service.workers) > 1
        else f"{words.clean(service.name)} ({service.workers[0].pid})"
        for service in look.services
    ]
    return ", ".join(services) or "no process yet"


def _counts(view: View, look: Look) -> Text:
    counted = {
        name: sum(worker.counter(name) for worker in look.workers)
        for name in ("committed", "not_committed", "unknown", "retries")
    }
    found = sum(len(service.findings()) for service in look.services)
    silent = sum(worker.problem is not None for worker in look.workers)
    line = Text()
    line.append(f"{sum(worker.open_scopes for worker in look.workers)} open", "bold")
    line.append(f"  {view.rates.rates.get('scopes', 0.0):.0f}/s", "cyan")
    line.append(f"  {counted['committed']} committed", "green")
    line.append(f"  {counted['not_committed']} not")
    line.append(f"  {counted['unknown']} unknown", "bold red" if counted["unknown"] else "")
    line.append(f"  {counted['retries']} retries")
    line.append(f"  {found} findings", "bold red" if found else "")
    if silent:
        line.append(f"  {silent} silent", "bold red")
    return line


def _pools(view: View, width: int, height: int | None) -> Iterator[Text]:
    """The fullest pools, where there is room for them."""
    page = PAGES[2]
    rows = page.rows(view.shown())
    most = 4 if height is None or height >= 20 else 2 if height >= 14 else 0
    rows.sort(key=lambda row: (-row["waiting"], -row["share"]))
    name = min(30, max((len(row["name"]) for row in rows), default=0))
    for row in rows[:most]:
        line = Text("  " + set_cell_size(words.clean(row["name"]), name) + " ")
        line.append(words.bar(row["lent"], row["limit"], 16), share_style(row))
        line.append(f" {row['lent']}/{row['limit']}")
        if row["waiting"]:
            line.append(f"  {row['waiting']} waiting", "bold red")
        yield line


def _tabs(view: View, width: int) -> Text:
    line = Text()
    for number, page in enumerate(PAGES):
        chosen = number == view.number
        mark = f"[{number + 1} {page.name}]" if chosen else f" {number + 1} {page.name} "
        line.append(mark, "bold reverse" if chosen else "dim")
    return line


def _foot(view: View, width: int) -> Text:
    if view.typing:
        return Text.assemble(("filter: ", "bold"), view.filter, ("_", "blink"))
    if view.detail is not None:
        return Text("Esc back  ↑↓ scroll  p hold  q end", "dim")
    line = Text("q end  Tab page  s sort  r reverse  ↑↓ Enter all of it  / filter  p hold  ? keys")
    line.stylize("dim")
    if view.filter:
        line = Text.assemble(("filter: ", "bold"), view.filter, ("  Esc forgets it", "dim"))
    return line


# ---------------------------------------------------------------- the page


def _body(view: View, width: int, room: int | None) -> Iterator[Text]:
    if view.helping:
        yield Text()
        for keys, what in KEYS:
            yield Text.assemble((f"  {keys:<20}", "bold"), what)
        yield Text(f"  Every {view.every:g} s is looked.", "dim")
        return
    if view.detail is not None:
        lines = details(view.detail, view.more, width)
        if room is not None:
            view.top = min(view.top, max(0, len(lines) - room))
        yield from lines[view.top :]
        return
    yield from _table(view, width, room)


def _table(view: View, width: int, room: int | None) -> Iterator[Text]:
    rows = view.rows()
    columns = list(fitting(view.page, width - 1))
    yield _titles(view, columns)
    if not rows:
        yield Text(" " + (_nothing(view)), "dim")
        return
    if room is not None:
        room = max(1, room - 1)
        view.room = room
    chosen = view.index(rows)
    first = 0
    if room is not None and len(rows) > room:
        # the chosen one stays in sight, and there is a line for those that are not
        room = max(1, room - 1)
        first = max(0, min(chosen - room // 2, len(rows) - room))
    last = len(rows) if room is None else first + room
    for number in range(first, min(last, len(rows))):
        yield _row(rows[number], columns, chosen=room is not None and number == chosen)
    if room is not None and len(rows) > room:
        yield Text(f" {first + 1} to {min(last, len(rows))} of {len(rows)}", "dim")


def _nothing(view: View) -> str:
    if view.filter:
        return f"None of {len(view.page.rows(view.shown()))} has {view.filter!r}."
    return view.page.nothing


def _titles(view: View, columns: list[tuple[Column, int]]) -> Text:
    line = Text(" ")
    for number, (column, width) in enumerate(columns):
        title = column.title
        if title == view.sort:
            falling = column.right != (view.page.name in view.reversed)
            title += "▾" if falling else "▴"
        # the mark may stand in the gap
        gap = number + 1 < len(columns)
        fitted = title.rjust(width) if column.right else title.ljust(width)
        line.append(set_cell_size(fitted, width + gap))
    line.stylize("bold underline")
    return line


def _row(row: Row, columns: list[tuple[Column, int]], *, chosen: bool) -> Text:
    line = Text(">" if chosen else " ")
    for number, (column, width) in enumerate(columns):
        text = column.cell(row, width)
        if cell_len(text) > width:
            text = set_cell_size(text, width - 1) + "…"
        pad = " " * (width - cell_len(text))
        style = "" if column.style is None else column.style(row)
        line.append(pad + text if column.right else text + pad, style)
        if number + 1 < len(columns):
            line.append(" ")
    if chosen:
        line.stylize("reverse")
    return line
