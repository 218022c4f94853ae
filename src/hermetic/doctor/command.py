"""``hermetic doctor``: what is wrong or risky, with the line to change."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ..commands.target import named
from ..configuration import table_from_toml
from ..database import Database
from ..errors import ConfigurationError
from ..group import Group
from .examining import examine
from .findings import Report, Severity
from .report import as_json, as_text

_COLOURS = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.HINT: "cyan"}


def add(commands: Any) -> None:
    """:param commands: argparse's subparsers."""
    doctor = commands.add_parser(
        "doctor",
        help="say what is wrong or risky with servers, drivers, pools and options",
        description="Look, and only look, at servers, drivers, pools and options. Exit code 0: "
        "nothing as bad as --fail-on was found; 1: something was; 2: a server could not be looked "
        "at.",
    )
    doctor.add_argument(
        "subject",
        nargs="?",
        help="a URL, or module:attribute, a Database or Group or a function that gives one; "
        "default: the environment, as Database.from_env",
    )
    doctor.add_argument("--toml", help="a TOML file that the Database or Group is made from")
    doctor.add_argument("--table", default="hermetic", help="default: %(default)s")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.add_argument(
        "--fail-on",
        choices=[severity.value for severity in Severity],
        default=Severity.WARNING.value,
        help="the least severity that gives exit code 1; default: %(default)s",
    )
    doctor.add_argument("--workers", type=int, default=1, help="processes of one program")
    doctor.add_argument("--processes", type=int, default=1, help="how many such programs there are")
    doctor.add_argument(
        "--timeout", type=float, default=10.0, help="seconds for all of it; default: %(default)g"
    )
    doctor.set_defaults(run=_doctor)


def _doctor(given: argparse.Namespace) -> int:
    report = examine(
        _subject(given),
        workers=given.workers,
        processes=given.processes,
        timeout=given.timeout,
    )
    if given.json:
        sys.stdout.write(as_json(report) + "\n")
    else:
        _write(report)
    if not report.complete:
        return 2
    return int(bool(report.at_least(Severity(given.fail_on))))


def _subject(given: argparse.Namespace) -> Database | Group:
    if given.toml:
        table, _ = table_from_toml(Path(given.toml), given.table)
        kind: Any = Group if "databases" in table else Database
        made: Database | Group = kind.from_toml(given.toml, given.table)
        return made
    if not given.subject:
        return Database.from_env()
    if "://" in given.subject:
        return Database(given.subject)
    found = named(given.subject, "db")
    if not isinstance(found, (Database, Group)):
        raise ConfigurationError(
            f"{given.subject} is no Database and no Group.",
            hint="Write a URL, or module:attribute.",
        )
    return found


def _write(report: Report) -> None:
    """Plain, or in colours on a terminal where rich is installed."""
    text = as_text(report)
    if sys.stdout.isatty():
        try:
            from rich.console import Console
            from rich.text import Text
        except ImportError:
            pass
        else:
            coloured = Text(text)
            for severity, style in _COLOURS.items():
                coloured.highlight_regex(rf"(?m)^{severity.value}\b.*$", style)
            Console(soft_wrap=True).print(coloured)
            return
    sys.stdout.write(text + "\n")
