"""What the compiled modules use of Cython, where that is not installed and they run as Python."""

from __future__ import annotations

compiled = False
