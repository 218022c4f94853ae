"""``hermetic error NAME``: what an error means, and what to do."""

from __future__ import annotations

import argparse
import difflib
import re
import shutil
import sys
import textwrap
from collections.abc import Mapping
from importlib import resources
from typing import Any

from .. import ConfigurationError

# made of docs/errors.md by tools/error_pages.py
_PAGES = "errors.txt"
_HEADING = re.compile(r"^=== (\w+)\n", re.MULTILINE)
_HAPPENED = re.compile(r"What happened: (.+?)[.:;](?=\s|$)", re.DOTALL)


def add(commands: Any) -> None:
    """:param commands: argparse's subparsers."""
    error = commands.add_parser(
        "error",
        help="what an error means, and what to do",
        description="Print the page of an error: what happened, what it typically comes from, and "
        "what to do. Without a name all errors are listed.",
    )
    error.add_argument("name", nargs="?", help="NoScope, or as a traceback has it")
    error.set_defaults(run=_error)


def pages() -> Mapping[str, str]:
    """The page of each error, by the name of its class."""
    text = resources.files(__package__).joinpath(_PAGES).read_text(encoding="utf-8")
    _, *parts = _HEADING.split(text)
    return {name: page.strip() for name, page in zip(parts[::2], parts[1::2], strict=True)}


def page_named(name: str) -> str:
    """An error's page.

    :param name: of the class, in any case, alone or after those of its modules.
    :raises ConfigurationError: there is no such page.
    """
    found = pages()
    names = {each.casefold(): each for each in found}
    wanted = name.rstrip(":").rpartition(".")[2].casefold()
    if wanted in names:
        return found[names[wanted]]
    near = [names[each] for each in difflib.get_close_matches(wanted, names, cutoff=0.7)]
    meant = f"Did you mean {' or '.join(near)}? " if near else ""
    raise ConfigurationError(
        f"No error of hermetic's is called {name!r}.", hint=f"{meant}hermetic error lists them all."
    )


def listing(width: int) -> str:
    """All errors, a line for each."""
    found = pages()
    indent = max(map(len, found)) + 2
    return "\n".join(
        f"{name:{indent}}{textwrap.shorten(_first(page), width - indent, placeholder=' …')}"
        for name, page in found.items()
    )


def _first(page: str) -> str:
    happened = _HAPPENED.search(page)
    assert happened is not None, page
    return happened[1]


def _error(given: argparse.Namespace) -> int:
    if given.name is None:
        shown = listing(max(shutil.get_terminal_size((100, 24)).columns, 60))
    else:
        shown = page_named(given.name)
    sys.stdout.write(f"{shown}\n")
    return 0
