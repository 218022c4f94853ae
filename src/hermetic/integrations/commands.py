"""Commands of a command line: a unit of work for each, which its exit code tells the outcome of."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Concatenate, Final, ParamSpec, TypeVar, overload

from .. import errors as e
from ..decorated import check_decorated
from ..errors import HermeticError, InvalidOption, Outcome, RolledBack
from ..events import logger
from ..options import ScopeOptions
from .answers import CONFLICT, LATE, STATUSES, UNAVAILABLE, status_of
from .settings import retried
from .tasks import Sessions as _Sessions
from .tasks import TaskUnit

__all__ = ["Sessions", "retried"]

P = ParamSpec("P")
R = TypeVar("R")
_F = TypeVar("_F", bound=Callable[..., Any])

# as sysexits.h has them
DATA: Final = 65
UNKNOWN: Final = 74
PASSING: Final = 75

# The nearest class of an error's own decides; None: it is raised as it is.
CODES: Final[Mapping[type[BaseException], int | None]] = {
    e.UniqueViolation: DATA,
    e.ForeignKeyViolation: DATA,
    e.CommitUnknown: UNKNOWN,
    e.CompletionUnknown: UNKNOWN,
}
_SAID: Final = {
    DATA: "It does not fit what is there already. Nothing was changed.",
    PASSING: "The database cannot do it at the moment. Nothing was changed.",
    UNKNOWN: "It is not known whether the changes were made.",
}


class Sessions(_Sessions):
    """The sessions of a Database's commands: what those of Click and Typer have in common.

    :param codes: the exit code for each class of errors, in place of those that it has otherwise;
        ``None`` for an error that is raised as it is.
    :param options: the fields of TaskOptions and ScopeOptions.
    :raises InvalidOption: an option is unknown, or its value outside its limits.
    """

    def __init__(
        self,
        database: Any,
        *,
        codes: Mapping[type[BaseException], int | None] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(database, **options)
        if self.options.once is not None:
            raise InvalidOption("once", self.options.once, "is for tasks", place="command options")
        self._codes = {**CODES, **(codes or {})}

    # what is wrapped is called from outside of any loop, a coroutine function too
    @overload
    def command(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Callable[P, R]: ...
    @overload
    def command(self, function: _F, /) -> _F: ...
    @overload
    def command(self, /, **scope: Any) -> Callable[[_F], _F]: ...
    def command(self, function: Any = None, /, **scope: Any) -> Any:
        """Decorate a command's function, below the decorators of the library: each call is a unit.

        It commits when the function has returned, or left with exit code 0; with any other code,
        an exception or an interrupt it rolls back. A coroutine function is run in a loop.

        :param scope: options of its scope, over those of ``Sessions``.
        :raises InvalidOption: an option is unknown, or its value outside its limits.
        """
        ScopeOptions().updated(scope, place="command()")
        if function is None:
            return functools.partial(self._wrapped, scope=scope)
        return self._wrapped(function, scope=scope)

    @overload
    def pass_session(
        self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> Callable[P, R]: ...
    @overload
    def pass_session(self, function: Callable[Concatenate[Any, P], R], /) -> Callable[P, R]: ...
    def pass_session(self, function: Callable[..., Any], /) -> Callable[..., Any]:
        """As ``command``, for a function whose first parameter is the session."""
        parameters = inspect.signature(function).parameters
        asynchronous = inspect.iscoroutinefunction(function)

        def call(*args: Any, **kwargs: Any) -> Any:
            if asynchronous:
                return _with_session(self, function, args, kwargs)
            return function(self.session(), *args, **kwargs)

        wrapped: Callable[..., Any] = self._wrapped(function, scope={}, call=call)
        signature = inspect.signature(function)
        wrapped.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=list(parameters.values())[1:]
        )
        return wrapped

    def fail(self, message: str, code: int) -> BaseException:
        """What has the library end the program."""
        logger.error("%s", message)
        return SystemExit(code)

    def settle(self, unit: TaskUnit, error: BaseException) -> BaseException:
        """The exit code of a command that failed by the database's doing."""
        code = self._code(error, unit.outcome)
        if code is None:
            return error
        logger.info("command %s failed", unit.name, exc_info=error)
        said = _SAID.get(code) or str(error)
        hint = f" {error.hint}" if isinstance(error, HermeticError) and error.hint else ""
        return self.fail(f"{said} ({type(error).__name__}){hint}", code)

    def _code(self, error: BaseException, outcome: Outcome | None) -> int | None:
        for kind in type(error).__mro__:
            if kind in self._codes:
                return self._codes[kind]
        if not isinstance(error, HermeticError) or outcome is Outcome.COMMITTED:
            return None
        if outcome is Outcome.UNKNOWN:
            return UNKNOWN
        if outcome is None:
            return None  # scopes of its own were all that it had: some may have been committed
        if isinstance(error, RolledBack) and error.__cause__ is not None:
            # as what was caught on the way
            return self._code(error.__cause__, outcome)
        passing = status_of(error, STATUSES) in (CONFLICT, UNAVAILABLE, LATE)
        return PASSING if passing else None

    def _wrapped(
        self,
        function: Callable[..., Any],
        scope: Mapping[str, Any],
        call: Callable[..., Any] | None = None,
    ) -> Any:
        check_decorated(function)
        name = getattr(function, "__name__", None)
        call = call or function

        async def in_loop(args: Any, kwargs: Any) -> Any:
            left: list[BaseException] = []
            inside = functools.partial(_leaving_async, left, call, args, kwargs)
            return _left(left, await self.arun(function, inside, name=name, scope=scope))

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            if inspect.iscoroutinefunction(function):
                coroutine = in_loop(args, kwargs)
                if asyncio._get_running_loop() is not None:
                    return coroutine  # for the command that calls this one to await
                return asyncio.run(coroutine)
            left: list[BaseException] = []
            inside = functools.partial(_leaving, left, call, args, kwargs)
            return _left(left, self.run(function, inside, name=name, scope=scope))

        return run


def _left(left: list[BaseException], result: Any) -> Any:
    if left:
        raise left[-1]
    return result


async def _with_session(sessions: Sessions, function: Any, args: Any, kwargs: Any) -> Any:
    return await function(await sessions.asession(), *args, **kwargs)


def _leaving(left: list[BaseException], function: Any, args: Any, kwargs: Any) -> Any:
    """Call a function; its leaving with exit code 0 is put off until after the commit."""
    left.clear()
    try:
        return function(*args, **kwargs)
    except BaseException as error:
        if not _is_well(error):
            raise
        left.append(error)


async def _leaving_async(left: list[BaseException], function: Any, args: Any, kwargs: Any) -> Any:
    left.clear()
    try:
        return await function(*args, **kwargs)
    except BaseException as error:
        if not _is_well(error):
            raise
        left.append(error)


def _is_well(error: BaseException) -> bool:
    if isinstance(error, SystemExit):
        # anything else but a number is a message, and exit code 1
        return error.code is None or (isinstance(error.code, int) and error.code == 0)
    # Click's and Typer's are two classes
    return type(error).__name__ == "Exit" and getattr(error, "exit_code", None) == 0
