"""The registry of checks: each is a function from facts to signs, with what is said of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from .about import About
from .findings import Finding, Severity


class Facts(Protocol):
    """What was read of a server, or of this side, in one go."""

    @property
    def about(self) -> About: ...


F = TypeVar("F", bound=Facts)


@dataclass(frozen=True, slots=True)
class Sign:
    """What a check has seen, and the line to change; ``severity`` where it is not the usual."""

    seen: str
    change: str
    severity: Severity | None = None


@dataclass(frozen=True, slots=True)
class Check(Generic[F]):
    """A check, with what the documentation says of it.

    :param source: where the fact about the server is from.
    """

    code: str
    severity: Severity
    title: str
    why: str
    source: str
    function: Callable[[F], Iterator[Sign]]


class Checks(Generic[F]):
    """The checks of one family, or of this side.

    :param place: what the findings are about, where that is no server; ``None`` for the server's
        own name.
    """

    def __init__(self, name: str, place: str | None = None) -> None:
        self.name = name
        self._place = place
        self._known: dict[str, Check[F]] = {}

    def __iter__(self) -> Iterator[Check[F]]:
        return iter(self._known.values())

    def add(
        self, code: str, severity: Severity, title: str, *, why: str, source: str = ""
    ) -> Callable[[Callable[[F], Iterator[Sign]]], Callable[[F], Iterator[Sign]]]:
        """Have a function among the checks: it yields a sign for each thing that it finds."""

        if code in self._known:
            raise ValueError(f"two checks are called {code}")

        def enter(function: Callable[[F], Iterator[Sign]]) -> Callable[[F], Iterator[Sign]]:
            self._known[code] = Check(code, severity, title, why, source, function)
            return function

        return enter

    def run(self, facts: F) -> Iterator[Finding]:
        """Everything that the facts show."""
        about = facts.about
        for check in self._known.values():
            for sign in check.function(facts):
                yield Finding(
                    check.code,
                    sign.severity or check.severity,
                    about.database,
                    self._place or about.server,
                    sign.seen,
                    check.why,
                    sign.change,
                )


def option(name: str, value: Any) -> str:
    """The line that gives a Database an option."""
    return f"Database(…, {name}={value!r})"
