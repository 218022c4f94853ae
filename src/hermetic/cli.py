"""The command ``hermetic``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import ConfigurationError, HermeticError
from .commands import pages, recover, relay
from .doctor import command as doctor
from .inspector import command as inspector
from .terminal import listing, top

# each has ``add``, which tells of its arguments, and what runs it
_COMMANDS = (doctor, pages, inspector, listing, recover, relay, top)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    :return: 0 where nothing is left to do, 1 where something is, 2 for what it was not able to do.
    """
    given = _parser().parse_args(arguments)
    try:
        code: int = given.run(given)
    except (HermeticError, ImportError) as error:
        sys.stderr.write(f"hermetic: {error}\n{_further(error)}")
        return 2
    return code


def _further(error: BaseException) -> str:
    """An error's notes, which nobody sees without a traceback."""
    # as itself it is a command's own, of which the hint has said all
    if type(error) is ConfigurationError:
        return ""
    return "".join(f"{note}\n" for note in getattr(error, "__notes__", ()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hermetic", description="Tools for hermetic.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
