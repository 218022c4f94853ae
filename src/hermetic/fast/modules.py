"""Which modules are compiled, and whether they were.

The compiled modules are ordinary Python: ``setup.py`` compiles them with Cython where it can, and
where it cannot the same files run as they are. Two environment variables, read when hermetic is
first imported, are for tests and packagers:

- ``HERMETIC_DISABLE_COMPILED=1`` takes the Python files although compiled ones lie beside them;
- ``HERMETIC_REQUIRE_COMPILED=1`` refuses to start unless every one of them is compiled.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

# read by setup.py too, which must not import the package to build it
COMPILED: tuple[str, ...] = (
    "hermetic.attempt",
    "hermetic.block",
    "hermetic.boundary",
    "hermetic.connection",
    "hermetic.current",
    "hermetic.dialects.psycopg_ahead",
    "hermetic.ending",
    "hermetic.fast.adding",
    "hermetic.fast.arrays",
    "hermetic.fast.bookkeeping",
    "hermetic.fast.bulk_insert",
    "hermetic.fast.counts",
    "hermetic.fast.filling",
    "hermetic.fast.flush",
    "hermetic.fast.flush_async",
    "hermetic.fast.found",
    "hermetic.fast.fresh",
    "hermetic.fast.inside",
    "hermetic.fast.instances",
    "hermetic.fast.kinds",
    "hermetic.fast.lane",
    "hermetic.fast.lean",
    "hermetic.fast.lean_async",
    "hermetic.fast.listening",
    "hermetic.fast.plans",
    "hermetic.fast.sending",
    "hermetic.fast.shapes",
    "hermetic.fast.shaping",
    "hermetic.fast.side",
    "hermetic.fast.statements",
    "hermetic.fast.write_plan",
    "hermetic.frames.binary_rows",
    "hermetic.frames.binary_writing",
    "hermetic.frames.gathering",
    "hermetic.frames.libpq",
    "hermetic.frames.packets",
    "hermetic.frames.parameter_bytes",
    "hermetic.frames.values",
    "hermetic.gate",
    "hermetic.owner",
    "hermetic.place",
    "hermetic.pool",
    "hermetic.registry",
    "hermetic.scope",
    "hermetic.shield",
    "hermetic.sinks.counting",
    "hermetic.trace",
    "hermetic.watching.series",
    "hermetic.watching.sink",
    "hermetic.watching.watcher",
)

_PACKAGE = __name__.partition(".")[0]


def is_compiled(module: ModuleType) -> bool:
    """Whether a module came from its compiled form."""
    return not str(getattr(module, "__file__", "")).endswith(".py")


def uncompiled() -> list[str]:
    """The modules of the list that were imported as Python."""
    known = ((name, sys.modules.get(name)) for name in COMPILED)
    return [name for name, module in known if module is not None and not is_compiled(module)]


class _PythonOnly:
    """Finds the Python file of a module of ours where a compiled one would win."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in COMPILED or path is None:
            return None
        for folder in path:
            file = Path(folder) / f"{name.rpartition('.')[2]}.py"
            if file.exists():
                return importlib.util.spec_from_file_location(name, file)
        return None


class _CompiledOnly:
    """Refuses to find the Python file of a module that should have been compiled."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in COMPILED:
            return None
        found = PathFinder.find_spec(name, path, target)
        if found is None or str(found.origin).endswith(".py"):
            raise ImportError(f"HERMETIC_REQUIRE_COMPILED is set, and {name} is not compiled")
        return found


def _wanted(variable: str) -> bool:
    return os.environ.get(variable, "") not in ("", "0")


if _wanted("HERMETIC_DISABLE_COMPILED"):
    sys.meta_path.insert(0, _PythonOnly)
elif _wanted("HERMETIC_REQUIRE_COMPILED"):
    sys.meta_path.insert(0, _CompiledOnly)
