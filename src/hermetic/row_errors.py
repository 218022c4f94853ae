"""What is wrong with one row of many."""

from __future__ import annotations

from .errors import ConfigurationError, ScopeRef


class InvalidRow(ConfigurationError):
    """One of many rows cannot be written, which was seen before it was sent.

    ``row`` is its position among the rows that were given, from 0; ``field`` the name of the column
    in question, if it is one. The row's values are in neither.
    """

    def __init__(
        self,
        message: str,
        *,
        row: int,
        field: str | None = None,
        scope: ScopeRef | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, scope=scope, hint=hint)
        self.row = row
        self.field = field
