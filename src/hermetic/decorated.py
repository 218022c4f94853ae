"""What is decorated: which functions may be, where their session goes, what they may be given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import orm
from sqlalchemy.ext import asyncio as sa_asyncio
from sqlalchemy.orm.state import InstanceState

from .errors import ConfigurationError, StaleInstance


def check_decorated(function: object) -> None:
    name = getattr(function, "__qualname__", repr(function))
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigurationError(
            f"{name} is a generator function: its scope would be over before it is read, or "
            "stay open for as long as nobody does.",
            hint="Open the scope inside it, or return a list.",
        )
    if isinstance(function, (classmethod, staticmethod)):
        raise ConfigurationError(
            f"{name} is a {type(function).__name__} already.",
            hint=f"Put @{type(function).__name__} above @db.session(…).",
        )
    if isinstance(function, type) or not callable(function):
        raise ConfigurationError(
            f"{name} is not a function.",
            hint="Decorate functions, methods and coroutine functions.",
        )


@dataclass(frozen=True, slots=True)
class SessionSlot:
    """Where a function takes its session. ``index`` is ``None`` for a keyword-only parameter."""

    index: int | None
    name: str | None

    @classmethod
    def of(cls, function: Callable[..., Any]) -> SessionSlot:
        """The parameter called ``session``, or annotated as one, or else the first.

        :raises ConfigurationError: there is none.
        """
        parameters = list(inspect.signature(function).parameters.values())
        found = next((p for p in parameters if p.name == "session"), None)
        found = found or next((p for p in parameters if _is_session(p.annotation)), None)
        if found is None:
            skip = 1 if parameters and parameters[0].name in ("self", "cls") else 0
            found = next(iter(parameters[skip:]), None)
        if found is None or found.kind in (found.KEYWORD_ONLY, found.VAR_KEYWORD):
            if found is not None and found.name == "session":
                return cls(None, found.name)
            raise ConfigurationError(
                f"{function.__qualname__} has no parameter for the session.",
                hint="Add one called 'session'; callers do not pass it.",
            )
        keyword = found.name if found.kind is found.POSITIONAL_OR_KEYWORD else None
        return cls(parameters.index(found), keyword)

    def fill(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], session: object
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A caller's arguments with the session among them."""
        if self.index is not None and (self.name is None or len(args) >= self.index):
            return (*args[: self.index], session, *args[self.index :]), kwargs
        assert self.name is not None
        return args, {**kwargs, self.name: session}

    def left_out(self, function: Callable[..., Any]) -> inspect.Signature:
        """The signature that callers see."""
        signature = inspect.signature(function)
        parameters = [
            parameter
            for index, parameter in enumerate(signature.parameters.values())
            if parameter.kind is parameter.VAR_POSITIONAL
            or (parameter.name != self.name if self.name else index != self.index)
        ]
        return signature.replace(parameters=parameters)


def _is_session(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.rpartition(".")[2] in ("Session", "AsyncSession")
    return isinstance(annotation, type) and issubclass(
        annotation, (orm.Session, sa_asyncio.AsyncSession)
    )


def new_objects_among(arguments: tuple[Any, ...]) -> Iterator[InstanceState[Any]]:
    """The states of new objects among a unit's arguments.

    :raises StaleInstance: one is not new: it belongs to another session, or did.
    """
    for value in arguments:
        if isinstance(value, dict):
            several: Any = value.values()
        else:
            several = value if isinstance(value, (list, tuple, set, frozenset)) else (value,)
        for each in several:
            state = getattr(each, "_sa_instance_state", None)
            if not isinstance(state, InstanceState):
                continue
            if state.key is not None:
                raise StaleInstance(
                    f"A {type(each).__name__} of another session was passed to a unit that may run "
                    "again; a later attempt would work on what an earlier one left of it.",
                    hint="Pass its primary key, and load it inside the unit.",
                )
            yield state
