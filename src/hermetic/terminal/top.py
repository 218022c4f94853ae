"""``hermetic top``: what the processes of this host do, live."""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any

from .. import ConfigurationError
from .listing import NOBODY, narrowing, source_of
from .words import clean

# as the pages have them; rich, which pages need, is not there in every installation
_PAGES = ("scopes", "names", "pools", "servers", "findings", "processes")


def add(commands: Any) -> None:
    """:param commands: argparse's subparsers."""
    parser = commands.add_parser(
        "top",
        help="what the processes of this host do, live",
        description="The open scopes of this user's processes that have a watched Database, with "
        "their pools, servers and findings. ? tells the keys.",
    )
    narrowing(parser)
    parser.add_argument("--page", choices=_PAGES, default="scopes", help="default: %(default)s")
    parser.add_argument("--sort", help="the title of the column that rows are sorted by")
    parser.add_argument("--filter", default="", help="rows with this text alone")
    parser.add_argument(
        "--every", type=_seconds, default=1.0, help="seconds between two looks; default: 1"
    )
    parser.add_argument(
        "--once",
        action="store_true",
        help="print one frame and end, as where there is no terminal; the exit code is 1 if there "
        "is no process",
    )
    parser.set_defaults(run=_top)


def _seconds(given: str) -> float:
    seconds = float(given)
    if not (math.isfinite(seconds) and 0.1 <= seconds <= 3600):
        raise argparse.ArgumentTypeError("must be from 0.1 to 3600")
    return seconds


def _top(given: argparse.Namespace) -> int:
    try:
        from rich.console import Console

        from .pages import PAGES
        from .screen import once, watch
        from .view import View
    except ImportError as error:
        if error.name is None or not error.name.startswith("rich"):
            raise
        raise ConfigurationError(
            "hermetic top needs rich, which is not installed.",
            hint="pip install 'hermetic[terminal]'. hermetic list needs nothing.",
        ) from error
    console = Console(highlight=False)
    view = View(number=_PAGES.index(given.page), every=given.every, filter=given.filter)
    if given.sort is not None:
        titles = PAGES[view.number].orders
        if given.sort.upper() not in titles:
            raise ConfigurationError(
                f"--sort {clean(given.sort)!r} is no column of {given.page}.",
                hint=f"There are {', '.join(titles).lower()}.",
            )
        view.sorts[given.page] = given.sort.upper()
    source = source_of(given)
    try:
        if not given.once and console.is_terminal and not console.is_dumb_terminal:
            watch(source, console, view)
            return 0
        once(source, console, view, given.every)
    except OSError as error:
        raise ConfigurationError(
            f"It cannot be looked into: {error}.", hint="Name another --folder, or none."
        ) from error
    except KeyboardInterrupt:
        return 0
    if not view.look.workers:
        sys.stderr.write(f"{NOBODY}\n")
        return 1
    return 0
