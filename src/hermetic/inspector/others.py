"""The processes of this host as a source of the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from ..nearby.asking import Answered, Process, ask, ask_all, processes
from .shape import VERSION, FindingState, HistoryState, ScopeDetail, State
from .sources import find


class Others:
    """This user's processes that have a watched Database, by their numbers.

    :param where: another folder to look in. Default: this user's.
    :param service: those of one service alone. Default: all.
    :param pids: these alone. Default: all.
    """

    def __init__(
        self, where: Path | None, service: str | None = None, pids: frozenset[int] = frozenset()
    ) -> None:
        self._where = where
        self._service = service
        self._pids = pids
        self._processes: dict[str, Process] = {}
        self._problems: list[str] = []

    def _asked(self, *, history: bool) -> list[tuple[str, State]]:
        """:raises OSError: the folder that was named cannot be looked into."""
        found, left_out = processes(self._where)
        if self._pids:
            found = [each for each in found if each.number in self._pids]
        answers = ask_all(found, {"ask": "state", "history": history})
        problems, seen = list(left_out), []
        for each in answers:
            problem = self._problem_of(each)
            if problem is not None:
                problems.append(f"process {each.pid}: {problem}")
            elif self._service in (None, each.said.get("service")) and "state" in each.said:
                self._processes[str(each.pid)] = each.process
                seen.append((str(each.pid), cast(State, each.said["state"])))
        self._problems = problems
        return seen

    @staticmethod
    def _problem_of(answered: Answered) -> str | None:
        state: Any = answered.said.get("state")
        if answered.problem is None and state is not None and state.get("version") != VERSION:
            return "it has another release of hermetic"
        return answered.problem

    def live(self) -> dict[str, State]:
        """As Source."""
        return dict(self._asked(history=False))

    def problems(self) -> list[str]:
        """As Source."""
        return list(self._problems)

    def history(self) -> dict[str, dict[str, HistoryState]]:
        """As Source."""
        return {
            pid: {
                each["id"]: each["history"]
                for each in state["databases"]
                if each["history"] is not None
            }
            for pid, state in self._asked(history=True)
        }

    def scope(self, process: str, database: str, number: int) -> ScopeDetail | None:
        """As Source."""
        known = self._processes.get(process)
        if known is None:
            return None
        answered = ask(known, {"ask": "scope", "number": number, "database": database})
        return None if answered is None else cast(Any, answered.said.get("scope"))

    def finding(self, process: str, database: str, number: str) -> FindingState | None:
        """As Source."""
        known = self._processes.get(process)
        if known is None:
            return None
        answered = ask(known, {"ask": "state", "history": False})
        state = None if answered is None else answered.said.get("state")
        return None if state is None else find([state], database, number)

    def act(self, process: str, database: str, action: str) -> bool:
        """As Source. Other processes are only looked at."""
        return False
