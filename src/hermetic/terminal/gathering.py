"""Where a terminal view has it from: the processes of this host, or Databases of this one."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Protocol

from ..nearby.asking import PATIENCE, Answered, ask, ask_all, processes
from ..nearby.identity import identity
from .services import Look, Worker, by_service, databases_of, worker_of


class Source(Protocol):
    """What can be looked at."""

    def look(self, *, history: bool) -> Look:
        """Everything now; with the last hour only where that is wanted."""

    def scope(self, worker: Worker, number: int, database: str) -> dict[str, Any] | None:
        """One scope with its statements and its owner's stack; ``None`` where it is not known."""


class Nearby:
    """The processes of this user on this host.

    :param where: another folder to look in.
    :param service: those of one service alone. Default: all.
    :param pids: these alone. Default: all.
    """

    def __init__(
        self,
        where: Path | None = None,
        service: str | None = None,
        pids: frozenset[int] = frozenset(),
        patience: float = PATIENCE,
    ) -> None:
        self.where = where
        self.service = service
        self.pids = pids
        self.patience = patience
        # who did not answer is still a worker of the service that it was one of
        self._known: dict[int, dict[str, Any]] = {}

    def look(self, *, history: bool) -> Look:
        """:raises OSError: the folder that was named cannot be looked into."""
        found, left_out = processes(self.where)
        if self.pids:
            found = [each for each in found if each.number in self.pids]
        question = {"ask": "state", "history": history}
        workers = [self._worker(each) for each in ask_all(found, question, self.patience)]
        if self.service is not None:
            workers = [each for each in workers if each.service == self.service]
        return Look(by_service(workers), left_out)

    def _worker(self, answered: Answered) -> Worker:
        if answered.problem is not None:
            known = self._known.get(answered.pid, {})
            answered = Answered(answered.process, known, answered.problem)
        elif answered.said:
            self._known[answered.pid] = {**answered.said, "state": None}
        return worker_of(answered)

    def scope(self, worker: Worker, number: int, database: str) -> dict[str, Any] | None:
        """One scope of one process."""
        if worker.answered is None:
            return None
        question = {"ask": "scope", "number": number, "database": database}
        answered = ask(worker.answered.process, question, self.patience)
        return None if answered is None else answered.said.get("scope")


class Own:
    """Databases of this process, without a socket between."""

    def __init__(self, *databases: Any) -> None:
        self.databases = databases

    def look(self, *, history: bool) -> Look:
        """Of this moment."""
        from ..inspector.state import state_of

        said = identity(list(self.databases))
        state: Any = state_of(*self.databases, steps=0, with_history=history)
        worker = Worker(
            pid=os.getpid(),
            service=said["service"],
            command=said["command"],
            since=said["since"],
            databases=databases_of(state),
            said={**said, "state": state},
        )
        return Look(by_service([worker]), at=time.time())

    def scope(self, worker: Worker, number: int, database: str) -> dict[str, Any] | None:
        """One scope of it."""
        from ..inspector.state import scope_of

        found: Any = scope_of(number, *self.databases, database=database)
        return None if found is None else dict(found)
