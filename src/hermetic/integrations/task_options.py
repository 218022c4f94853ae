"""What the units of work of tasks promise, as options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..checking import Checker
from ..options import Retry, ScopeOptions
from ..outbox import Inbox
from .settings import MARK, with_scope

__all__ = ["TaskOptions"]


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """What the units of work of tasks promise.

    :param retry: the policy of tasks that are run again at once, in the same process, with a fresh
        session: a number of attempts or a Retry. Which ones, ``retried`` says. Default 5.
    :param once: an Inbox, in which each task's token is noted in the task's own transaction: what
        is delivered once more after it was committed is not run again. Default ``None``.
    :param opens: whether the scope is opened when the task begins, so that ``db.current`` is its
        session and ``db.session()`` joins it. No connection is taken before the first statement.
        With ``False`` it is opened by ``session`` or ``asession``. Default ``True``.
    :param scope: options of the units' scopes, which can be given as options of their own.
    """

    retry: Any = 5
    once: Inbox | None = None
    opens: bool = True
    scope: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check = Checker("task options")
        check.flag("opens", self.opens)
        if self.once is not None and not isinstance(self.once, Inbox):
            raise check.refuse("once", self.once, "must be an Inbox")
        policy = ScopeOptions().updated({"retry": self.retry}, place="task options").retry
        object.__setattr__(self, "retry", policy)

    @classmethod
    def build(cls, options: Mapping[str, Any]) -> TaskOptions:
        """From keywords: fields of its own, and of ScopeOptions.

        :raises InvalidOption: one is unknown, or wrong.
        """
        return cls(**with_scope(cls, options, place="task options"))

    def policy(self, function: object) -> Retry | None:
        """The policy of a task, if it is safe to run it again in the same process."""
        marked: Retry | bool | None = getattr(function, MARK, None)
        if isinstance(marked, Retry):
            return marked
        return self.retry if marked else None
