"""Draws the figures of a `make bench` for the README: docs/costs.svg.

make bench && python -m tools.bench_chart [bench/results/cpython-3.13.json]
"""

from __future__ import annotations

import sys
from typing import Any, Final

from tools.bench_results import HERMETIC, RAW, ROOT, SQLALCHEMY, Results, chosen, figure

CHART: Final = ROOT / "docs" / "costs.svg"
_COLOURS: Final = {
    RAW: "#9aa0a6",
    HERMETIC: "#1a7f37",
    SQLALCHEMY: "#cf222e",
    "peewee": "#d9a400",
    "Django": "#0b4f30",
    "Tortoise": "#6f42c1",
}
_SMALL: Final = ("get", "select", "readonly", "insert", "change")
_MANY: Final = ("load", "add_all", "change_many", "lazy_one", "lazy_many", "selectin")
_PANELS: Final = (
    ("One unit of work, SQLite", "sqlite", _SMALL),
    ("One unit of work, PostgreSQL (psycopg)", "psycopg", _SMALL),
    ("One unit of work, PostgreSQL (asyncpg)", "asyncpg", _SMALL),
    ("Many rows, SQLite: time for each", "sqlite", _MANY),
)


def draw(results: Results) -> Any:
    """A figure of four panels; a group of bars for each work, a bar for each contender."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # text stays text, and the same results make the same file
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "hermetic", "font.size": 8})
    drawn = Figure(figsize=(10, 9), layout="constrained", facecolor="white")
    for axes, (title, stage, works) in zip(drawn.subplots(2, 2).flat, _PANELS, strict=True):
        _panel(axes, results, stage, works)
        axes.set_title(title, loc="left", fontweight="bold")
    handles = [
        mpl.patches.Patch(color=colour, label=name)
        for name, colour in _COLOURS.items()
        if _takes_part(results, name)
    ]
    drawn.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    return drawn


def _takes_part(results: Results, name: str) -> bool:
    cases = [results.case(stage, work) for _, stage, works in _PANELS for work in works]
    return any(case is not None and name in case.figures() for case in cases)


def _panel(axes: Any, results: Results, stage: str, works: tuple[str, ...]) -> None:
    place, ticks, names = 0.0, [], []
    for work in works:
        case = results.case(stage, work)
        if case is None:
            continue
        figures = case.figures()
        bars = [name for name in _COLOURS if name in figures]
        ticks.append(place + (len(bars) - 1) / 2)
        names.append(case.text.replace(", ", ",\n"))
        for name in bars:
            axes.barh(place, figures[name], color=_COLOURS[name], height=0.9)
            axes.text(figures[name] * 1.06, place, figure(figures[name]), va="center", fontsize=6)
            place += 1
        place += 1
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.set_yticks(ticks, names)
    axes.invert_yaxis()
    axes.set_xlabel("µs, logarithmic scale")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def main() -> int:
    draw(Results(chosen())).savefig(CHART, metadata={"Date": None})
    return 0


if __name__ == "__main__":
    sys.exit(main())
