"""Limits of watching that nothing exceeds by itself, so that a test finds what it plants."""

from __future__ import annotations

from typing import Any, Final

# nobody looks by itself while a test runs
QUIET: Final[dict[str, Any]] = {"every": 3600.0, "slow": 3600.0, "held": 3600.0, "idle": 3600.0}
