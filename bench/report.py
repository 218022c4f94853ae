"""The table for the terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench.contenders import HERMETIC, RAW, SQLALCHEMY
from bench.results import Result

_COLUMNS = (
    "on",
    "work",
    "",
    "raw",
    "SQLAlchemy",
    "hermetic",
    "faster",
    "quartiles",
    "x raw",
    "goal",
    "how it went",
    "peers",
)
_RIGHT = {"raw", "SQLAlchemy", "hermetic", "faster", "x raw"}
TITLE = (
    "faster: SQLAlchemy's figure as a multiple of hermetic's; x raw: hermetic's as a multiple of "
    "the raw driver's; medians of the rounds"
)


def lines(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """A line for each measure of each result; the first says what it is of, and how it went."""
    rows: list[tuple[str, ...]] = []
    for result in results:
        first = (result.stage, result.text)
        verdict = (str(result.goal or ""), _verdict(result))
        for kind, measured in result.measures.items():
            figures = measured.figures
            rivals = [name for name in figures if name not in {RAW, SQLALCHEMY, HERMETIC}]
            rows.append(
                (
                    *first,
                    result.unit if kind == "count" else f"{kind} {result.unit}",
                    *(_figure(figures.get(name)) for name in (RAW, SQLALCHEMY, HERMETIC)),
                    *_ratios(result, kind),
                    *verdict,
                    ", ".join(f"{name} {_figure(figures[name])}" for name in rivals),
                )
            )
            first = verdict = ("", "")
    return rows


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _ratios(result: Result, kind: str) -> tuple[str, str, str]:
    slower = result.measures[kind].slower
    theirs, raw = slower.get(SQLALCHEMY), slower.get(RAW)
    return (
        f"{theirs.median:.2f}" if theirs else "",
        f"{theirs.low:.2f}-{theirs.high:.2f}" if theirs else "",
        f"{1 / raw.median:.2f}" if raw else "",
    )


def _verdict(result: Result) -> str:
    told = []
    if result.lost:
        told.append(f"FLOOR LOST: {', '.join(result.lost)}")
    if result.goal:
        told.append(f"not yet: {', '.join(result.missed)}" if result.missed else "reached")
    if result.behind:
        told.append(f"behind {', '.join(result.behind)}")
    return "; ".join(told)


def show(results: Sequence[Result]) -> None:
    """Print the table, by rich where that is installed."""
    rows = lines(results)
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        _show_plain(rows)
        return
    table = Table(title=TITLE)
    for column in _COLUMNS:
        table.add_column(column, justify="right" if column in _RIGHT else "left")
    for row in rows:
        if row[0]:
            table.add_section()
        table.add_row(*row, style="red" if "FLOOR LOST" in row[-2] else None)
    # as wide as it has to be where nobody tells how wide the reader is
    Console(width=None if sys.stdout.isatty() else 190).print(table)


def _show_plain(rows: list[tuple[str, ...]]) -> None:
    table = [_COLUMNS, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(_COLUMNS))]
    print(TITLE)
    for row in table:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
