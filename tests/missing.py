"""Optional libraries that tests are of. Where one is missing its tests are left out, which the run
says; where CI is set they fail.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Final

# by the folders or files below `tests` that are of them
OPTIONAL: Final = {
    "web": ("fastapi", "flask", "httpx", "litestar", "uvicorn"),
    "examples": ("celery", "fastapi", "flask", "httpx"),
    "notebooks": ("IPython", "ipykernel", "nbclient"),
    "workers": ("apscheduler", "celery", "click", "dramatiq", "redis", "rq", "typer"),
}


def missing(of: str) -> list[str]:
    """Which of the libraries are not installed."""
    return [name for name in OPTIONAL[of] if importlib.util.find_spec(name) is None]


def left_out(of: str) -> bool:
    """Whether tests are not even collected: they would fail where they import what is missing."""
    return bool(missing(of)) and os.environ.get("CI", "").lower() not in {"1", "true"}
