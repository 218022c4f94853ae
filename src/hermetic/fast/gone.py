"""What stands in for the private parts of SQLAlchemy where a name of them is gone.

A release that renames one of them must not keep hermetic from being imported: the fast paths are
off then, and nothing of the stand-in is used but its reason.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class _Name:
    """Whatever a module does with a name while it is imported."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self

    def __getitem__(self, key: Any) -> Any:
        return self

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return ()


class StandIn(ModuleType):
    """A module every name of which is there, and says why none of them is."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, __doc__)
        self.reason = reason

    def problem(self) -> str:
        return self.reason

    why_off = problem

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Name()


def import_or_stand_in(name: str) -> None:
    """Import a module that names private parts of others at its top."""
    try:
        importlib.import_module(name)
    except (ImportError, AttributeError) as gone:
        package, _, own = name.rpartition(".")
        module = sys.modules[name] = StandIn(name, str(gone))
        setattr(sys.modules[package], own, module)
