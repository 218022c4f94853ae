"""Puts the figures of a `make bench` into the README: the last one's, or those of a file.

make bench && python -m tools.readme_costs [bench/results/cpython-3.13.json]
"""

from __future__ import annotations

import re
import sys
import textwrap
from typing import Final

from tools.bench_results import (
    HERMETIC,
    NOT_PEERS,
    RAW,
    ROOT,
    SQLALCHEMY,
    STAGES,
    Case,
    Results,
    chosen,
    figure,
)

README: Final = ROOT / "README.md"

_SMALL: Final = ("get", "select", "readonly", "insert", "change")
_MANY: Final = (
    "load",
    "rows_dataclass",
    "rows_namedtuple",
    "rows_struct",
    "add_all",
    "construct",
    "change_many",
    "lazy_one",
    "lazy_many",
    "selectin",
)
_CROWDS: Final = (("psycopg_pool", "threads"), ("asyncpg_pool", "tasks"))
_COUNTS: Final = (
    ("psycopg_wire", "trips_read", "psycopg"),
    ("psycopg_wire", "trips_write", "psycopg"),
    ("asyncpg_wire", "trips_read", "asyncpg"),
    ("asyncpg_wire", "trips_write", "asyncpg"),
    ("pymysql_wire", "trips_read", "MariaDB"),
    ("pymysql_wire", "trips_write", "MariaDB"),
    ("sqlite", "memory", "SQLite"),
    ("sqlite", "memory_after", "SQLite"),
)
_TIMES: Final = "\N{MULTIPLICATION SIGN}"
_PART: Final = re.compile(r"(?<=<!-- bench -->\n).*?(?=<!-- end -->)", re.DOTALL)

_WIDTH: Final = 100
_CHART: Final = "![Raw driver, hermetic, SQLAlchemy and peers, on a log scale](docs/costs.svg)"
_BEFORE: Final = """\
hermetic's time in microseconds, and how many times as fast as plain SQLAlchemy and as slow as the
raw driver it is, by the median of the ratios in turns. The raw driver keeps one connection and
makes no objects. The peers' column has their times as multiples of hermetic's, where each comes
closest. A goal that is not reached stands beside the figure.
"""


def costs(results: Results) -> str:
    """Everything that stands between the marks in the README."""
    parts = [
        f"{_CHART}\n\n{textwrap.fill(_BEFORE, _WIDTH)}\n",
        _timed(results, "one unit of work, µs", _SMALL, tuple(STAGES)),
        _timed(results, "many, µs for each", _MANY, ("sqlite", "psycopg")),
        _crowds(results),
        _counts(results),
        textwrap.fill(_after(results), _WIDTH, break_on_hyphens=False) + "\n",
    ]
    return "\n".join(part for part in parts if part)


def _after(results: Results) -> str:
    sizes = results.sizes
    return (
        f"`make bench`, up to {results.rounds} rounds in turns: {sizes['rows']:,} rows are loaded, "
        f"added and constructed, {sizes['changed']:,} changed; relationships are those of "
        f"{sizes['parents']:,} objects. {results.versions}."
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; nothing where it would have no rows."""
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _timed(results: Results, title: str, works: tuple[str, ...], stages: tuple[str, ...]) -> str:
    rows = []
    for work in works:
        cases = [results.case(stage, work) for stage in stages]
        found = [case for case in cases if case is not None]
        if found:
            cells = ["" if case is None else _cell(case) for case in cases]
            rows.append([found[0].text, *cells, _peers(found)])
    return _table([title, *(STAGES[stage] for stage in stages), "peers"], rows)


def _cell(case: Case) -> str:
    theirs, raw = case.slower(SQLALCHEMY), case.slower(RAW)
    told = [f"**{figure(case.figures()[HERMETIC])}**"]
    if theirs is not None:
        told.append(f"{theirs:.1f}{_TIMES}{_missed(theirs, case.goal.get('faster'))}")
    if raw is not None:
        multiple = 1 / raw
        told.append(f"{multiple:.1f} raw{_missed(-multiple, _negative(case.goal.get('raw')))}")
    return ", ".join(told)


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


def _missed(value: float, goal: float | None) -> str:
    """The goal, where it is not reached."""
    return "" if goal is None or value >= goal else f" (goal {abs(goal):g})"


def _peers(cases: list[Case]) -> str:
    closest: dict[str, float] = {}
    for case in cases:
        for name in case.figures():
            slower = case.slower(name)
            if name not in NOT_PEERS and slower is not None:
                closest[name] = min(slower, closest.get(name, slower))
    return ", ".join(f"{name} {value:.1f}" for name, value in closest.items())


def _crowds(results: Results) -> str:
    rows = []
    for stage, work in _CROWDS:
        case = results.case(stage, work)
        if case is None:
            continue
        rate, p99 = case.slower(SQLALCHEMY), case.slower(SQLALCHEMY, "p99")
        if rate is None or p99 is None:
            continue
        rows.append(
            [
                case.text,
                f"**{1e6 / case.figures()[HERMETIC]:,.0f}** units/s",
                f"{rate:.1f}{_TIMES}{_missed(rate, case.goal.get('faster'))}",
                f"**{case.figures('p99')[HERMETIC] / 1e3:.1f}** ms",
                f"{p99:.1f}{_TIMES}{_missed(p99, case.goal.get('p99'))}",
                _peers([case]),
            ]
        )
    head = ["PostgreSQL", "throughput", "SQLAlchemy's", "99 of 100 within", "SQLAlchemy's", "peers"]
    return _table(head, rows)


def _counts(results: Results) -> str:
    rows = []
    for stage, work, place in _COUNTS:
        case = results.case(stage, work)
        if case is None:
            continue
        figures = case.figures()
        shown = {name: f"{value:,.3g}" for name, value in figures.items()}
        if case.unit != "trips":
            shown = {name: figure(value) for name, value in figures.items()}
        peers = ", ".join(f"{who} {told}" for who, told in shown.items() if who not in NOT_PEERS)
        most = _negative(case.goal.get("most"))
        ours = f"**{shown[HERMETIC]}**{_missed(-figures[HERMETIC], most)}"
        told = [shown.get(RAW, ""), shown.get(SQLALCHEMY, ""), ours, peers]
        rows.append([f"{case.text}, {place}", case.unit, *told])
    return _table(["counted", "", "raw driver", "SQLAlchemy", "hermetic", "peers"], rows)


def main() -> int:
    figures = costs(Results(chosen()))
    text = README.read_text(encoding="utf-8")
    README.write_text(_PART.sub(lambda _: figures, text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
