"""``hermetic recover``: settle what a group has left prepared."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from .. import ConfigurationError, Group
from .target import named

VARIABLE = "HERMETIC_GROUP"


def add(commands: Any) -> None:
    """:param commands: argparse's subparsers."""
    recover = commands.add_parser(
        "recover",
        help="settle what a group has left prepared",
        description="Commit or roll back the units of a group whose process died between PREPARE "
        "and COMMIT. It may run at any time, beside everything else.",
    )
    recover.add_argument(
        "group",
        nargs="?",
        default=os.environ.get(VARIABLE),
        help=f"module:attribute, a Group or a function that gives one; default: ${VARIABLE}",
    )
    recover.add_argument("--toml", help="a TOML file that the Group is made from")
    recover.add_argument("--table", default="hermetic.group", help="default: %(default)s")
    recover.add_argument("--grace", type=float, default=60.0, help="seconds; default: %(default)g")
    recover.add_argument(
        "--timeout", type=float, default=30.0, help="seconds for all of it; default: %(default)g"
    )
    recover.add_argument("--create-log", action="store_true", help="make the log, if it is missing")
    recover.set_defaults(run=_recover)


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
            "No group was named.", hint=f"Name it as module:attribute, by --toml or ${VARIABLE}."
        )
    made = named(given.group, "group")
    if not isinstance(made, Group):
        raise ConfigurationError(f"{given.group} is no Group.", hint="Write module:attribute.")
    return made
