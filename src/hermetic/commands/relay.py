"""``hermetic relay``: send the messages of an outbox."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from typing import Any

from .. import ConfigurationError
from ..outbox import AsyncRelay, Relay
from .target import named

VARIABLE = "HERMETIC_RELAY"


def add(commands: Any) -> None:
    """:param commands: argparse's subparsers."""
    relay = commands.add_parser(
        "relay",
        help="send the messages of an outbox",
        description="Send what is in an outbox and what comes, until SIGTERM or SIGINT; what is "
        "being sent is finished first. Any number may run at once.",
    )
    relay.add_argument(
        "relay",
        nargs="?",
        default=os.environ.get(VARIABLE),
        help=f"module:attribute, a relay or a function that gives one; default: ${VARIABLE}",
    )
    relay.add_argument("--drain", action="store_true", help="end when nothing is due any more")
    relay.set_defaults(run=_relay)


def _relay(given: argparse.Namespace) -> int:
    if not given.relay:
        raise ConfigurationError(
            "No relay was named.", hint=f"Name it as module:attribute, or by ${VARIABLE}."
        )
    relay = named(given.relay, "relay")
    if not isinstance(relay, Relay | AsyncRelay):
        raise ConfigurationError(f"{given.relay} is no relay.", hint="Write module:attribute.")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: relay.stop())
    if isinstance(relay, Relay):
        relay.drain() if given.drain else relay.run()
    else:
        asyncio.run(relay.drain() if given.drain else relay.run())
    sys.stdout.write(f"{relay.told}\n")
    return int(relay.told.parked > 0)
