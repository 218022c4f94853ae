"""Uses of a session that are refused: the error is raised anyhow, and is found besides.

Whoever catches the error of a template or a background task may never read it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.exc import MissingGreenlet

from ..place import user_frame
from ..seen import Finding
from .causes import cause_of_statement, described


def used_after_end(scope: Any) -> None:
    """A session is used, and its scope is over."""
    found = _findings(scope)
    if found is not None:
        found.add(
            Finding(
                "used-after-end",
                "A session was used after its scope had ended.",
                "Open a scope of its own there with db.session(), or do it before the block ends.",
                described(user_frame()),
                scope.ref,
            )
        )


def failed_in_scope(scope: Any, error: BaseException) -> None:
    """A statement of an asyncio scope was sent where nothing can wait for its answer."""
    if not isinstance(error, MissingGreenlet):
        return
    found = _findings(scope)
    if found is None:
        return
    cause = cause_of_statement()
    what = cause.relationship or cause.column
    if what is None:
        message = "A statement was sent in a coroutine without being awaited."
        advice = "Await the session's method, or use session.run_sync() for code that cannot."
    else:
        message = f"{what} was loaded at its first use, which a coroutine cannot wait for."
        advice = f"{cause.advice} Or await object.awaitable_attrs, or session.refresh()."
    found.add(
        Finding(
            "lazy-load-in-asyncio",
            message,
            advice,
            cause.place,
            scope.ref,
            statement=scope.last_statement,
        )
    )


def _findings(scope: Any) -> Any:
    """Those of its Database, where somebody watches it."""
    watcher = scope.registry.watch
    return watcher.findings if watcher is not None and watcher.looks else None
