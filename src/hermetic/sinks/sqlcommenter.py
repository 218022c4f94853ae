"""Comments in sqlcommenter's form: the server's list of what runs names the scope."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..checking import Checker
from ..watching.attaching import HasScopes
from ..watching.attaching import attach as attach_sink
from ..watching.sink import ScopeView, Sink


def attach(
    database: HasScopes,
    *,
    place: bool = False,
    traceparent: bool = False,
    more: Callable[[ScopeView], Mapping[str, str]] | None = None,
) -> Callable[[], None]:
    """Have the statements of scopes say whose they are: ``/*db_driver='hermetic',scope='page'*/``.

    Keys and values are encoded, so that nothing in them ends the comment. A statement that has a
    comment already stays as it is; so do COMMIT and its like, COPY, SQLite's statements, and those
    for many rows at once on MariaDB and MySQL. A text with another comment is another statement to
    whoever prepares or caches it.

    :param place: whether the line that opened the scope is told too, as ``opened_at``.
    :param traceparent: whether OpenTelemetry's current span is told: where it is, no statement
        comes twice, and nothing that was prepared serves again.
    :param more: further keys and values, for a scope; they win.
    :return: what takes it off again.
    """
    check = Checker("sqlcommenter.attach()")
    check.flag("place", place)
    check.flag("traceparent", traceparent)
    current: Callable[[], Mapping[str, str]] | None = None
    if traceparent:
        from .opentelemetry import traceparent as current
    return attach_sink(database, Comments(place=place, traceparent=current, more=more))


class Comments(Sink):
    """The sink."""

    def __init__(
        self,
        *,
        place: bool = False,
        traceparent: Callable[[], Mapping[str, str]] | None = None,
        more: Callable[[ScopeView], Mapping[str, str]] | None = None,
    ) -> None:
        self._place = place
        self._traceparent = traceparent
        self._more = more

    def comment(self, scope: ScopeView) -> Mapping[str, str]:
        found: dict[str, Any] = {"db_driver": "hermetic", "scope": scope.name}
        if self._place:
            found["opened_at"] = scope.opened_at
        if self._traceparent is not None:
            found |= self._traceparent()
        if self._more is not None:
            found |= self._more(scope)
        return found
