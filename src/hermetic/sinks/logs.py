"""Structured logging: one record for each scope that has ended, and one for each finding.

Everything is in fields of its own, as ``extra`` of the standard library's logging, which formatters
for JSON and structlog's ``ExtraAdder`` read; no parameters and no statements are among them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ..checking import Checker
from ..errors import Outcome
from ..seen import Finding
from ..watching.attaching import HasScopes
from ..watching.attaching import attach as attach_sink
from ..watching.sink import ScopeView, Sink

_NAME = "hermetic.scopes"


def attach(
    database: HasScopes,
    logger: Any = None,
    *,
    level: int = logging.INFO,
    slow: float | None = 1.0,
    fields: Callable[[ScopeView], dict[str, Any]] | None = None,
) -> Callable[[], None]:
    """Have the scopes of a Database or a Group logged, each when it has ended.

    The record is made in the thread or task that had the scope: what logging or structlog keep in
    the context (a request's number) is in it. Its level is ``level``; WARNING of a slow scope and
    of one that an error ended; ERROR where nobody knows whether it was committed. Findings are
    logged as warnings; by the logger ``hermetic`` they are anyway.

    :param logger: a Logger or LoggerAdapter, or one of structlog's, which is given the fields as
        keywords. Default: the logger ``hermetic.scopes``.
    :param level: of a scope that ended well, or was rolled back on purpose. Default INFO.
    :param slow: seconds, without the wait for the pool, after which it is a warning; ``None`` for
        never. Default 1.
    :param fields: more of them, for a scope; they win.
    :return: what takes it off again.
    :raises InvalidOption: ``slow`` is no time.
    """
    Checker("logs.attach()").seconds("slow", slow, optional=True)
    return attach_sink(database, Logs(logger, level, slow, fields))


class Logs(Sink):
    """The sink. Where its logger takes no record of a level, none is made."""

    def __init__(
        self,
        logger: Any = None,
        level: int = logging.INFO,
        slow: float | None = 1.0,
        fields: Callable[[ScopeView], dict[str, Any]] | None = None,
    ) -> None:
        self._logger = logging.getLogger(_NAME) if logger is None else logger
        self._level = level
        self._slow = slow
        self._more = fields
        self._standard = isinstance(self._logger, (logging.Logger, logging.LoggerAdapter))
        # the logger "hermetic" tells findings itself
        name = str(getattr(self._logger, "name", "")) if self._standard else ""
        self._tells_findings = name.partition(".")[0] != "hermetic"

    def ended(self, scope: ScopeView, note: Any) -> None:
        level = self._level_of(scope)
        if self._standard and not self._logger.isEnabledFor(level):
            return
        found = fields_of(scope)
        if self._more is not None:
            found.update(self._more(scope))
        how = found["outcome"].replace("_", " ")
        if scope.error is not None:
            how = f"{how}, {scope.error}"
        milliseconds = scope.seconds * 1e3
        if self._standard:
            message = "scope %s ended in %.1f ms: %s"
            self._logger.log(level, message, scope.name, milliseconds, how, extra=found)
        else:
            event = f"scope ended: {how}"
            self._logger.log(level, event, **found)

    def found(self, finding: Finding) -> None:
        if not self._tells_findings:
            return
        found: dict[str, Any] = {
            "finding": finding.code,
            "finding_message": finding.message,
            "advice": finding.advice,
            "place": finding.place,
            "scope": None if finding.scope is None else finding.scope.name,
        }
        if self._standard:
            message = "%s: %s (%s)"
            given = (finding.code, finding.message, finding.place)
            self._logger.warning(message, *given, extra=found)
        else:
            self._logger.warning("something that should not be was found", **found)

    def _level_of(self, scope: ScopeView) -> int:
        if scope.outcome is Outcome.UNKNOWN:
            return logging.ERROR
        slow = self._slow is not None and scope.seconds - scope.waited > self._slow
        if slow or scope.error is not None:
            return max(self._level, logging.WARNING)
        return self._level


def fields_of(scope: ScopeView) -> dict[str, Any]:
    """What is told of a scope, under names that no record of logging has itself; seconds are
    rounded to microseconds.
    """
    outcome = scope.outcome
    return {
        "database": scope.database,
        "scope": scope.name,
        "scope_number": scope.number,
        "opened_at": scope.opened_at,
        "outcome": "none" if outcome is None else outcome.name.lower(),
        "error": scope.error,
        "code": scope.code,
        "attempt": scope.attempt,
        "readonly": scope.readonly,
        "tenant": scope.tenant,
        "server": scope.server,
        "statements": scope.statements,
        "rows": scope.rows,
        "round_trips": scope.round_trips,
        "seconds": round(scope.seconds, 6),
        "waited": round(scope.waited, 6),
        "working": round(scope.working, 6),
        "leaving": round(scope.leaving, 6),
    }
