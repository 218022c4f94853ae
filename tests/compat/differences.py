"""The list of SQLAlchemy's tests that fail by design."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

LIST: Final = Path(__file__).with_name("differences.toml")


def intended() -> dict[str, str]:
    """Test → the reason why it differs."""
    entries = tomllib.loads(LIST.read_text(encoding="utf-8"))["difference"]
    return {entry["test"]: entry["reason"] for entry in entries}
