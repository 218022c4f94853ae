"""The clock that deadlines and waits are measured by: the real one, also where a test froze time.

Libraries that freeze time put a function of theirs in the place of ``time.monotonic`` wherever they
find it, in modules that are not compiled. A server and a driver go on by the real one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import module_from_spec
from typing import Any


def _once_more() -> Any:
    """The module ``time`` again: its functions are others than those that are looked for, and the
    real ones also where hermetic is imported while time is frozen.
    """
    spec: Any = time.__spec__
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_time = _once_more()
monotonic: Callable[[], float] = _time.monotonic
monotonic_ns: Callable[[], int] = _time.monotonic_ns
