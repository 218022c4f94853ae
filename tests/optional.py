"""Libraries that a user may be without: tests of what stands on them are skipped aloud, and fail in
CI.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest


def optional(name: str) -> Any:
    """The library; a module of tests that lacks it is skipped."""
    try:
        return importlib.import_module(name)
    except ImportError:
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            raise
        pytest.skip(f"{name} is MISSING; its tests are skipped", allow_module_level=True)
