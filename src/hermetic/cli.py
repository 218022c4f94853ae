"""The command ``hermetic``."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from . import ConfigurationError, Group, HermeticError

_VARIABLE = "HERMETIC_GROUP"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    :return: 0 where nothing is left to do, 1 where something is, 2 for what it was not able to do.
    """
    given = _parser().parse_args(arguments)
    try:
        code: int = given.run(given)
    except (HermeticError, ImportError) as error:
        sys.stderr.write(f"hermetic: {error}\n")
        return 2
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hermetic", description="Tools for hermetic.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    recover = commands.add_parser(
        "recover",
        help="settle what a group has left prepared",
        description="Commit or roll back the units of a group whose process died between PREPARE "
        "and COMMIT. It may run at any time, beside everything else.",
    )
    recover.add_argument(
        "group",
        nargs="?",
        default=os.environ.get(_VARIABLE),
        help=f"module:attribute, a Group or a function that gives one; default: ${_VARIABLE}",
    )
    recover.add_argument("--toml", help="a TOML file that the Group is made from")
    recover.add_argument("--table", default="hermetic.group", help="default: %(default)s")
    recover.add_argument("--grace", type=float, default=60.0, help="seconds; default: %(default)g")
    recover.add_argument(
        "--timeout", type=float, default=30.0, help="seconds for all of it; default: %(default)g"
    )
    recover.add_argument("--create-log", action="store_true", help="make the log, if it is missing")
    recover.set_defaults(run=_recover)
    return parser


def _recover(given: argparse.Namespace) -> int:
    with _group(given) as group:
        if given.create_log:
            group.create_log()
        done = group.recover(grace=given.grace, timeout=given.timeout)
    sys.stdout.write(f"{done}\n")
    return int(bool(done.left))


def _group(given: argparse.Namespace) -> Group:
    if given.toml:
        return Group.from_toml(given.toml, given.table)
    if not given.group:
        raise ConfigurationError(
            "No group was named.", hint=f"Name it as module:attribute, by --toml or ${_VARIABLE}."
        )
    module, _, attribute = given.group.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    found = getattr(importlib.import_module(module), attribute or "group", None)
    made = found() if callable(found) else found
    if not isinstance(made, Group):
        raise ConfigurationError(f"{given.group} is no Group.", hint="Write module:attribute.")
    return made


if __name__ == "__main__":
    sys.exit(main())
