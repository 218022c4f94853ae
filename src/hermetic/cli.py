"""The command ``hermetic``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import HermeticError
from .commands import recover, relay
from .doctor import command as doctor
from .inspector import command as inspector
from .terminal import listing, top

# each has ``add``, which tells of its arguments, and what runs it
_COMMANDS = (doctor, inspector, listing, recover, relay, top)


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
    for command in _COMMANDS:
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
