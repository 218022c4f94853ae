"""PostgreSQL behind a pooler that lends its connections for one transaction each (PgBouncer).

Whatever is set for a session would be set for whoever is lent that connection next. So all that a
connection of hermetic's is otherwise born with goes with BEGIN, in the same round trip, and ends
with the transaction.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any

from ..errors import InvalidOption
from ..options import DatabaseOptions

# the drivers that it is known of
DRIVERS = ("psycopg", "asyncpg")

# between the statements of a beginning; no BEGIN has it in it
_BETWEEN = "; "

# who makes a connection, or of which class: what follows on BEGIN would be left out
_TAKEN = ("async_creator_fn", "connection_class", "creator", "async_creator")


def settings(options: DatabaseOptions) -> dict[str, str]:
    """What the server is told of limits, by its names."""
    found = {}
    for name, seconds in (
        ("statement_timeout", options.statement_timeout),
        ("lock_timeout", options.lock_timeout),
        ("idle_in_transaction_session_timeout", options.idle_in_transaction_timeout),
    ):
        if seconds is not None:
            found[name] = f"{max(1, math.ceil(seconds * 1000))}ms"
    return found


def following(options: DatabaseOptions) -> str:
    """What follows on BEGIN, in the same text."""
    return "".join(
        f"{_BETWEEN}SET LOCAL {name} = '{value}'" for name, value in settings(options).items()
    )


def statements(beginning: bytes) -> tuple[bytes, ...]:
    """The statements of a beginning, for a protocol that takes one at a time."""
    between = _BETWEEN.encode()
    return tuple(beginning.split(between)) if between in beginning else (beginning,)


def check(driver: str, options: DatabaseOptions) -> None:
    """Refuse what does not go together with a pooler."""
    if options.pooler is None:
        return
    if driver not in DRIVERS:
        problem = f"is not known of with {driver}"
        hint = f"Use {' or '.join(DRIVERS)}."
        raise InvalidOption("pooler", options.pooler, problem, place="Database()", hint=hint)
    for name in _TAKEN:
        if name in options.connect_args or name in options.engine_options:
            problem = f"takes connections that hermetic makes, and {name} is given"
            raise InvalidOption("pooler", options.pooler, problem, place="Database()")


class Pooled:
    """Mixed into psycopg's connections."""

    # how often its server was waited for; the cursors count what they send
    exchanges: int = 0
    # what follows on BEGIN
    following: bytes = b""

    def _get_tx_start_command(self) -> bytes:
        command: bytes = super()._get_tx_start_command()  # type: ignore[misc]
        return command + self.following

    def _exec_command(
        self: Any, command: Any, *args: Any, **kwargs: Any
    ) -> Generator[Any, Any, Any]:
        # psycopg takes one answer to a command; ``psycopg_ahead`` sends them together
        answer = None
        begins = self.following and command == self._get_tx_start_command()
        for statement in statements(command) if begins else (command,):
            if self._pipeline is None:
                self.exchanges += 1
            answer = yield from super()._exec_command(statement, *args, **kwargs)  # type: ignore[misc]
        return answer
