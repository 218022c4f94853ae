"""Why tests have failed, kept for who tries them again (tools.few_failed)."""

from __future__ import annotations

from typing import Final

import pytest

NOTE: Final = "hermetic/reasons"
_LONGEST: Final = 400


def note_reasons(reporter: pytest.TerminalReporter) -> None:
    """Put the first words of each failure into pytest's cache, by the test's name."""
    cache = getattr(reporter.config, "cache", None)
    if cache is None:
        return
    failed = [*reporter.stats.get("failed", ()), *reporter.stats.get("error", ())]
    cache.set(NOTE, {report.nodeid: reason_of(report) for report in failed})


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is None:
        return report.longreprtext.strip()[-_LONGEST:]
    return f"{crash.path}:{crash.lineno}: {crash.message}"[:_LONGEST]
