"""All cases, in the order of their files."""

from __future__ import annotations

from tests.differential.cases import gets, selects, writes
from tests.differential.cases.table import BY_HAND, CASES

__all__ = ("BY_HAND", "CASES", "gets", "selects", "writes")
