"""One scope, or one finding, with all that is known of it, as lines of a terminal."""

from __future__ import annotations

import textwrap
from typing import Any

from rich.text import Text

from . import words
from .pages import PHASES, Row


def details(row: Row, more: dict[str, Any] | None, width: int) -> list[Text]:
    """:param more: what the process has told of a scope, once it has."""
    if "code" in row:
        return _finding(row, width)
    return _scope(row, more, width)


def _fact(name: str, value: str, width: int, style: str = "") -> list[Text]:
    """A name, and its value in as many lines as it needs."""
    wrapped = textwrap.wrap(value, max(20, width - 14), break_on_hyphens=False) or [""]
    found = [Text.assemble((f"{name:<14}", "dim"), (wrapped[0], style))]
    return found + [Text(" " * 14 + line, style) for line in wrapped[1:]]


def _heading(text: str) -> list[Text]:
    return [Text(), Text(text, "bold")]


def _finding(row: Row, width: int) -> list[Text]:
    pids = ", ".join(map(str, sorted(row["workers"])))
    lines = [Text(words.clean(row["code"]), "bold red")]
    lines += _fact("seen", words.clean(row["message"]), width)
    lines += _fact("do", words.clean(row["advice"]), width, "green")
    lines += _fact("at", words.clean(row["place"]), width)
    often = f"{row['count']} times, the last {words.seconds(row['ago'])} ago"
    lines += _fact("how often", words.clean(f"{often}, in {row['service']} ({pids})"), width)
    link = row["scope"]
    if link is not None:
        where = f"{link['name']} #{link['number']}, opened at {link['opened_at']}"
        lines += _fact("last in", words.clean(where), width)
    if row["statement"]:
        lines += _fact("statement", words.clean(row["statement"]), width)
    return lines + _stack(row["stack"], width)


def _stack(stack: list[str], width: int) -> list[Text]:
    if not stack:
        return []
    lines = _heading("Where its owner is, innermost last")
    return lines + [Text("  " + words.place(frame, width - 2)) for frame in stack]


def _scope(row: Row, more: dict[str, Any] | None, width: int) -> list[Text]:
    live = (more or {}).get("live") or row
    known = {**row, **(more or {}), **live}
    title = f"{known['name']} #{known['number']} of {row['database']}, process {row['pid']}"
    lines = [Text(words.clean(title), "bold")]
    ended = more is not None and more["live"] is None
    lines += _fact("opened at", words.clean(known["opened_at"]), width)
    lines += _fact("owner", words.clean(known["owner"]), width)
    if more is not None and ended:
        end = f"{more['outcome'] or 'nothing was sent'} after {words.seconds(more['seconds'])}"
        error = f", {words.clean(more['error'])}" if more["error"] else ""
        lines += _fact("ended", end + error, width)
    else:
        lines += _fact("at", str(known["phase"]), width, PHASES.get(known["phase"], ""))
    lines += _fact("time", _times(known, ended=ended), width)
    lines += _fact("how", _how(known), width)
    if more is None:
        return [*lines, Text(), Text("Its process was asked for more.", "dim")]
    return lines + _statements(more, width) + _stack(more["stack"], width)


def _times(known: dict[str, Any], *, ended: bool) -> str:
    whole = known["seconds"] if ended else known["age"]
    parts = [
        f"{words.seconds(whole)} in all",
        f"{words.seconds(known['waited'])} waiting for a connection",
        f"{words.seconds(known['working'])} at statements",
    ]
    for name, said in (("rows", "rows"), ("round_trips", "round trips")):
        if known[name] is not None:
            parts.append(f"{words.count(known[name])} {said}")
    idle = known.get("idle")
    if not ended and idle is not None:
        parts.append(f"idle for {words.seconds(idle)}")
    if not ended and known.get("left") is not None:
        parts.append(f"{words.seconds(known['left'])} left")
    return ", ".join(parts)


def _how(known: dict[str, Any]) -> str:
    parts = [str(known["propagation"]), "reads" if known["readonly"] else "writes"]
    parts.append(f"attempt {known['attempt']}")
    parts += [f"{name} {known[name]}" for name in ("tenant", "server") if known[name]]
    return words.clean(", ".join(parts))


def _statements(more: dict[str, Any], width: int) -> list[Text]:
    steps = more["steps"]
    lines = _heading(f"Statements: {more['statements']}, each with its moment and its time")
    if more["statements"] > len(steps):
        lines[-1].append(f" (the first {len(steps)} are kept)", "dim")
    for step in steps:
        took = step["seconds"]
        took = "…" if took is None else words.seconds(took)
        sql = words.clean(step["statement"])
        lines.append(
            Text.assemble(
                (f"{words.seconds(step['at']):>8} ", "dim"), f"{took:>8}  ", sql[: width - 19]
            )
        )
    return lines
