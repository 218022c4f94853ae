"""Tests of the examples, as applications."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.missing import left_out

collect_ignore_glob = ["test_*.py"] if left_out("examples") else []
sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
