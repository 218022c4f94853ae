"""``selectinload`` of collections: the same statements, the collections filled in one step each.

SQLAlchemy's loader prepares the statement; the part of it that fetches and hands out is replaced.
"""

from __future__ import annotations

from typing import Any

from .filling import fill
from .private import SelectInLoader


class _Filling:
    """Stands for a ``_SelectInLoader`` of SQLAlchemy's, with one method of its own."""

    __slots__ = ("_strategy",)

    def __init__(self, strategy: Any) -> None:
        self._strategy = strategy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._strategy, name)

    def _load_via_parent(
        self,
        our_states: list[Any],
        query_info: Any,
        query: Any,
        context: Any,
        execution_options: Any,
        chunksize: int,
    ) -> None:
        """Fetch what belongs to so many parents at a time, and give each its collection."""
        key, size = self._strategy.key, query_info.n_pk
        for start in range(0, len(our_states), chunksize):
            parents = our_states[start : start + chunksize]
            keys = [primary[0] if query_info.zero_idx else primary for primary, *_ in parents]
            result = context.session.execute(
                query, params={"primary_keys": keys}, execution_options=execution_options
            )
            unique = result.context is not None and result.context.requires_uniquing
            group = None if unique else getattr(getattr(result, "chunks", None), "grouped", None)
            found: dict[Any, list[Any]] | None = None if group is None else group(size)
            if found is not None:
                fill(parents, key, found, False)
                continue
            members: dict[Any, list[Any]] = {}
            for row in result.unique() if unique else result._raw_all_tuples():
                members.setdefault(row[:size], []).append(row[size])
            fill(parents, key, members, True)


def quick_loader(loader: Any) -> Any:
    """A post loader, or what does the same in less time."""
    strategy = getattr(loader, "__self__", None)
    if (
        type(strategy) is not SelectInLoader
        or loader.__func__ is not SelectInLoader._load_for_path
        or not strategy.uselist
    ):
        return loader
    filling = _Filling(strategy)

    load_for_path: Any = SelectInLoader._load_for_path

    def load(*arguments: Any, **named: Any) -> None:
        load_for_path(filling, *arguments, **named)

    return load
