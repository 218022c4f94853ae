"""Writes the parts of the documentation that the source knows better than any author.

A generated part stands between `<!-- generated: name -->` and `<!-- end -->`. Without arguments all
of them are written anew; with `--check` nothing is written, and the files that would change are
named. The pages of errors that come with the package are written too.

    python -m tools.generate_docs [--check]
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import enum
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from hermetic import DatabaseOptions, Retry, ScopeOptions
from hermetic.doctor.examining import REGISTRIES
from hermetic.integrations.settings import WebOptions
from hermetic.integrations.tasks import TaskOptions
from hermetic.options import RETRYABLE_KINDS
from tests.architecture import LAYERS, PACKAGE
from tests.fire.hermitage import anomalies_table, isolation_table
from tools import error_pages
from tools.ledger import Ledger, Mark

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = ROOT / "docs"
SOURCE: Final = ROOT / "src" / PACKAGE

LAYER_NAMES: Final = (
    "facts",
    "knowledge",
    "decisions",
    "machinery",
    "shells",
    "capabilities",
    "edges",
)

_PART = re.compile(
    r"(?P<head><!-- generated: (?P<name>[\w-]+) -->\n).*?(?P<tail><!-- end -->)", re.DOTALL
)
_PARAM = re.compile(r":param (?P<name>\w+):(?P<text>.*?)(?=\n\s*:\w|\Z)", re.DOTALL)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, name what is stale")
    check = parser.parse_args(arguments).check
    stale = [page for page in sorted(DOCS.glob("*.md")) if _refresh(page, write=not check)]
    if _write(error_pages.PAGES, error_pages.written(), write=not check):
        stale.append(error_pages.PAGES)
    if check and stale:
        names = ", ".join(str(page.relative_to(ROOT)) for page in stale)
        sys.stderr.write(f"stale: {names}; run: python -m tools.generate_docs\n")
        return 1
    return 0


def _refresh(page: Path, *, write: bool) -> bool:
    return _write(page, refreshed(page.read_text(encoding="utf-8")), write=write)


def _write(file: Path, after: str, *, write: bool) -> bool:
    """Whether a file is not as it should be; it is afterwards, if it is to be written."""
    before = file.read_text(encoding="utf-8") if file.exists() else None
    if write and after != before:
        file.write_text(after, encoding="utf-8")
    return after != before


def refreshed(text: str) -> str:
    """A page with its generated parts as they should be."""
    return _PART.sub(lambda part: part["head"] + PARTS[part["name"]]() + part["tail"], text)


# Options


def options_table(cls: type[Any]) -> str:
    """One row per option of a dataclass, from its fields and its docstring."""
    told = {found["name"]: found["text"] for found in _PARAM.finditer(inspect.getdoc(cls) or "")}
    fields = {field.name: field for field in dataclasses.fields(cls)}
    if told.keys() != fields.keys():
        differing = ", ".join(sorted(told.keys() ^ fields.keys()))
        raise SystemExit(f"{cls.__name__}: fields and docstring differ in {differing}")
    rows = [
        f"| `{name}` | {_unit(field, told[name])} | {_default(field)} | {_markdown(told[name])} |"
        for name, field in fields.items()
    ]
    return "\n".join(["| option | unit | default | |", "|---|---|---|---|", *rows, ""])


def _unit(field: dataclasses.Field[Any], text: str) -> str:
    declared = str(field.type)
    if declared.startswith("float"):
        return "seconds" if "second" in text else "per second"
    for kind, unit in (("bool", "yes or no"), ("int", "number"), ("str", "text")):
        if declared.startswith(kind):
            return unit
    return ""


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default
    if value is dataclasses.MISSING:
        value = field.default_factory() if callable(field.default_factory) else None
    if inspect.isfunction(value):
        return ""
    if isinstance(value, enum.StrEnum):
        return f'`"{value.value}"`'
    if isinstance(value, frozenset):
        return "[these](retries.md#what-is-retried)"
    if isinstance(value, ScopeOptions):
        return "[below](#scopeoptions)"
    if isinstance(value, Mapping):
        return "`{}`"
    if isinstance(value, str):
        return f'`"{value}"`'
    if isinstance(value, float) and value.is_integer():
        return f"`{value:.0f}`"
    return f"`{value!r}`"


def _markdown(text: str) -> str:
    plain = " ".join(text.split()).replace("``", "`").replace("|", "\\|")
    # The default has a column of its own.
    return re.sub(r"[.,] [Dd]efault \S+\.(?= |$)", ".", plain)


def retried_kinds() -> str:
    """The kinds of fault that a policy retries unless told otherwise."""
    names = sorted(kind.name for kind in RETRYABLE_KINDS)
    return ", ".join(f"`{name}`" for name in names) + "\n"


# Modules


def modules_table() -> str:
    """One row per module of the package: its layer, and the first sentence of its docstring."""
    rows = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if parts[-1] != "__init__":
            layer = LAYERS[parts[0]]
            rows.append((layer, ".".join(parts), _first_sentence(path)))
    lines = [
        f"| {layer} {LAYER_NAMES[layer]} | `{name}` | {said} |"
        for layer, name, said in sorted(rows)
    ]
    return "\n".join(["| layer | module | |", "|---|---|---|", *lines, ""])


def _first_sentence(path: Path) -> str:
    told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = _markdown(told.partition("\n\n")[0])
    return re.split(r"(?<=[.!?]) (?=[A-Z])", paragraph)[0]


# The doctor


def findings() -> str:
    """A table for each registry of checks: what may be found, how bad that is, how it is known."""
    parts = []
    for checks in REGISTRIES:
        rows = [
            f"| `{check.code}` | {check.severity} | {_markdown(check.title)} | "
            f"{_markdown(check.why)} | {_markdown(check.source)} |"
            for check in checks
        ]
        head = ["| code | severity | found | why it matters | source |", "|---|---|---|---|---|"]
        parts.append("\n".join([f"### {checks.name}", "", *head, *rows, ""]))
    return "\n".join(parts)


# The ledger


def counts() -> str:
    """How many features of the ledger have which mark."""
    rows = Ledger.read(DOCS / "features.md").rows
    of_mark = {mark: sum(row.mark is mark for row in rows) for mark in Mark}
    lines = [f"| {mark.value} | {count} |" for mark, count in of_mark.items()]
    return "\n".join(["| mark | features |", "|---|---|", *lines, f"| all | {len(rows)} |", ""])


PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "database-options": lambda: options_table(DatabaseOptions),
    "scope-options": lambda: options_table(ScopeOptions),
    "retry-options": lambda: options_table(Retry),
    "web-options": lambda: options_table(WebOptions),
    "task-options": lambda: options_table(TaskOptions),
    "retried-kinds": retried_kinds,
    "modules": modules_table,
    "counts": counts,
    "findings": findings,
    "isolation": isolation_table,
    "anomalies": anomalies_table,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
