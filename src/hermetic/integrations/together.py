"""The units of work of one request, where several Databases have each their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import Outcome

if TYPE_CHECKING:
    from ..work import Work


class Together:
    """What the units of a request know of each other: they end one by one, the innermost first."""

    def __init__(self) -> None:
        self._works: list[Work] = []
        # as the innermost middleware hands it on, and the application changes it (ASGI)
        self.scope: Any = None

    def add(self, work: Work) -> None:
        """One that was asked for a session."""
        if work not in self._works:
            self._works.append(work)

    @property
    def outcomes(self) -> set[Outcome | None]:
        """How those ended that could change something; ``None`` is of one that is open."""
        return {each.outcome for each in self._works if _changes(each)}

    def may_repeat(self, own: Work) -> bool:
        """Whether the request may be run again by ``own``.

        Not where another one has committed, or may have, nor where one is open: that keeps what
        this run has done in it.
        """
        others = [each for each in self._works if each is not own and _changes(each)]
        ended = all(each.outcome is Outcome.NOT_COMMITTED for each in others)
        return ended and not self.others_open(own)

    def others_open(self, own: Work | None) -> bool:
        """Whether another one is open, further out."""
        return any(each.opened for each in self._works if each is not own)

    def repeat(self, own: Work | None) -> None:
        """Forget the units that were rolled back with this run; the next one has others."""
        self._works = [each for each in self._works if each is own or each.opened]


def _changes(work: Work) -> bool:
    scope = work.scope
    return scope is not None and not scope.options.readonly


def expected(work: Work | None, error: BaseException) -> set[Outcome | None]:
    """How an open unit will have ended when the answer to an error leaves.

    When its commit fails another answer takes the place of that one.
    """
    scope = None if work is None or not work.opened else work.scope
    if scope is None or not isinstance(error, scope.options.commit_on):
        return set()
    return {Outcome.COMMITTED}
