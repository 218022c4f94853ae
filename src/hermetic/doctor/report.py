"""A report as text, and as JSON."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from .findings import Finding, Report, Severity

SCHEMA = 1
_WIDTH = 88


def as_json(report: Report) -> str:
    """What ``hermetic doctor --json`` prints. Its keys stay; new ones may come."""
    return json.dumps(as_dict(report), indent=2, ensure_ascii=False)


def as_dict(report: Report) -> dict[str, Any]:
    """The same as Python's own values."""
    return {
        "schema": SCHEMA,
        "hermetic": version("hermetic"),
        "complete": report.complete,
        "counts": counts(report),
        "looked": [asdict(each) for each in report.looked],
        "findings": [asdict(each) for each in report.findings],
        "unseen": [asdict(each) for each in report.unseen],
    }


def counts(report: Report) -> dict[str, int]:
    """How many findings there are of each severity, the worst first."""
    found = [each.severity for each in report.findings]
    return {severity.value: found.count(severity) for severity in reversed(Severity)}


def as_text(report: Report) -> str:
    """What ``hermetic doctor`` prints."""
    lines = [
        f"{each.database} ({each.server}): {each.version}, {each.url}" for each in report.looked
    ]
    for finding in report.findings:
        lines += ["", *_finding(finding)]
    if report.unseen:
        lines += ["", "not looked at:"]
        for each in report.unseen:
            lines += _wrapped(
                f"{each.database} ({each.server}), {each.what}: {each.why}", "  ", "    "
            )
    told = ", ".join(
        f"{number} {name}{'' if number == 1 else 's'}" for name, number in counts(report).items()
    )
    return "\n".join([*lines, "", told]).lstrip("\n")


def _finding(finding: Finding) -> list[str]:
    place = f"{finding.database} ({finding.server})"
    lines = [f"{finding.severity.value:8}{finding.code}: {place}"]
    for name, text in (("seen", finding.seen), ("why", finding.why), ("change", finding.change)):
        lines += _wrapped(f"{name:8}{text}", " " * 8, " " * 16)
    return lines


def _wrapped(text: str, first: str, later: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=later,
        break_long_words=False,
        break_on_hyphens=False,
    )
