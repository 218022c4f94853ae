"""All cases, in the order of their files."""

from __future__ import annotations

from tests.differential.cases import (
    attributes,
    bulk,
    errors,
    expiry,
    gets,
    identity,
    loads,
    relations,
    selects,
    transactions,
    writes,
)
from tests.differential.cases.table import BY_HAND, CASES

__all__ = (
    "BY_HAND",
    "CASES",
    "attributes",
    "bulk",
    "errors",
    "expiry",
    "gets",
    "identity",
    "loads",
    "relations",
    "selects",
    "transactions",
    "writes",
)
