"""Tests of applications: sandboxes in which everything is rolled back, databases from templates.

The pytest plugin is ``pytest_hermetic``, which brings the fixtures.
"""

from __future__ import annotations

from .errors import (
    OutsideSandbox,
    SandboxBusy,
    SandboxEnded,
    SandboxError,
    SandboxLeak,
    SandboxMixed,
    SandboxWarning,
    TemplateError,
)
from .sandbox import Sandbox, outside, sandbox
from .templates import Template, template

__all__ = [
    "OutsideSandbox",
    "Sandbox",
    "SandboxBusy",
    "SandboxEnded",
    "SandboxError",
    "SandboxLeak",
    "SandboxMixed",
    "SandboxWarning",
    "Template",
    "TemplateError",
    "outside",
    "sandbox",
    "template",
]
