"""How much is tried: all of it with HERMETIC_THOROUGH=1, otherwise a share where all is long."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, TypeVar

T = TypeVar("T")

THOROUGH: Final = os.environ.get("HERMETIC_THOROUGH", "") not in ("", "0")


def share(cases: Sequence[T], number: int, of: int) -> list[T]:
    """The share with a number, counted from 0, of so many that are all cases together."""
    return list(cases) if THOROUGH else list(cases[number % of :: of])
