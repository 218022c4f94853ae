"""Users and passwords that an application gives anew for each connection."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy.util import await_only

from .dialects.classify import classify
from .errors import ConfigurationError
from .faults import FaultKind

_KEYS = frozenset({"username", "password"})


class Credentials:
    """Stands around the connect of one engine's dialect.

    What the application gives is kept nowhere, and shown in no error.
    """

    def __init__(
        self, provider: Callable[[], Any], family: str, connect: Any, *, asynchronous: bool
    ) -> None:
        self._provider = provider
        self._family = family
        self._connect = connect
        self._asynchronous = asynchronous

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Connect, once more with new credentials where the server refuses the first.

        One refusal in a row is all that a server sees of a rotation: others who connect wait.
        """
        given = self._given(kwargs)
        try:
            return self._connect(*args, **{**kwargs, **given})
        except Exception as error:
            fault = classify(error, family=self._family)
            if fault is None or fault.kind is not FaultKind.AUTHENTICATION:
                raise
        given = self._given(kwargs)
        return self._connect(*args, **{**kwargs, **given})

    def _given(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """What to connect with, by the driver's names for it."""
        given = self._provider()
        if inspect.isawaitable(given):
            if not self._asynchronous:
                if inspect.iscoroutine(given):
                    given.close()
                raise self._wrong("is a coroutine, which threads cannot await")
            given = await_only(given)
        if isinstance(given, str):
            given = {"password": given}
        if not isinstance(given, Mapping) or not set(given) <= _KEYS:
            raise self._wrong("gave neither a password nor a mapping of username and password")
        if not all(isinstance(value, str) for value in given.values()):
            raise self._wrong("gave something that is not a string")
        # MySQLdb's name for it
        password = "passwd" if "passwd" in kwargs else "password"
        names = {"username": "user", "password": password}
        return {names[key]: value for key, value in given.items()}

    def _wrong(self, problem: str) -> ConfigurationError:
        name = getattr(self._provider, "__qualname__", type(self._provider).__name__)
        return ConfigurationError(
            f"The callable of option 'credentials', {name}, {problem}.",
            hint="It returns a password, or {'username': …, 'password': …}. Under asyncio alone it "
            "may be a coroutine function.",
        )
