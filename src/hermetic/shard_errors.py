"""What goes wrong between shards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import HermeticError, ScopeError, ScopeRef


class ForeignShard(ScopeError):
    """Something of one shard in a scope of another: ``shard`` is the scope's, ``owner`` its own."""

    def __init__(
        self,
        message: str,
        *,
        shard: str,
        owner: str | None,
        scope: ScopeRef | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, scope=scope, hint=hint)
        self.shard = shard
        self.owner = owner


class ShardFailed(HermeticError):
    """Of shards that were asked together, some did not answer.

    ``shard`` is the first of them, in the order of the shards; ``errors`` has what each of them
    raised, ``results`` what the others gave.
    """

    def __init__(
        self,
        message: str,
        *,
        errors: Mapping[str, BaseException],
        results: Mapping[str, Any],
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.shard = next(iter(errors))
        self.errors = errors
        self.results = results
