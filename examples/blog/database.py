"""The extension: one for all modules of the application."""

from __future__ import annotations

from hermetic.integrations.flask import Hermetic

from .model import Base

db = Hermetic(base=Base, timeout=10.0)
