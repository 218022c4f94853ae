"""Sinks: what scopes did, as logs, metrics, traces, and comments in SQL.

Each is a module of its own with a function ``attach``; another one is a subclass of ``Sink``.
"""

from __future__ import annotations

from ..watching.attaching import attach
from ..watching.sink import ScopeView, Sink

__all__ = ["ScopeView", "Sink", "attach"]
