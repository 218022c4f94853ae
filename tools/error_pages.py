"""Makes of ``docs/errors.md`` the pages that ``hermetic error`` prints, as text for a terminal.

They are a file of the package, so that they are at hand wherever an error is raised;
``tools.generate_docs`` writes it, and its ``--check`` says whether it is as the docs are.
"""

from __future__ import annotations

import importlib
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = ROOT / "docs" / "errors.md"
PAGES: Final = ROOT / "src" / "hermetic" / "commands" / "errors.txt"

WIDTH: Final = 79
# where users import errors from
_MODULES: Final = (
    "hermetic",
    "hermetic.frames",
    "hermetic.shards",
    "hermetic.cache",
    "hermetic.testing",
)
_HEAD: Final = """\
What `hermetic error` prints. Made of docs/errors.md by tools/generate_docs: mend it there.
"""
_SECTION = re.compile(r"^### (\w+)\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
_FENCE = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"^<!--.*?-->\n", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\(([^)#\s]*)(?:#[^)]*)?\)")
_LABEL = re.compile(r"\*\*([^*]+)\*\*")


def sections(markdown: str) -> dict[str, str]:
    """What the docs have of each error, by its name."""
    found = _SECTION.findall(markdown)
    return {name: text.strip() for name, text in found}


def written() -> str:
    """The whole file."""
    parts = [_HEAD]
    for name, markdown in sections(SOURCE.read_text(encoding="utf-8")).items():
        parts.append(f"=== {name}\n{heading(name)}\n\n{as_text(markdown)}\n")
    return "\n".join(parts)


def heading(name: str) -> str:
    """Where it is imported from, and as what else it can be caught."""
    for module in _MODULES:
        found = getattr(importlib.import_module(module), name, None)
        if found is not None:
            break
    else:
        raise SystemExit(f"docs/errors.md: nobody exports {name}")
    bases = [each.__name__ for each in found.__bases__ if each is not Exception]
    kinds = " and ".join(f"{'an' if each[0] in 'AEIO' else 'a'} {each}" for each in bases)
    return f"{module}.{name}" + (f", {kinds}" if kinds else "")


def as_text(markdown: str) -> str:
    """A section without Markdown's marks, but for those of code: they part it from prose."""
    parts = _FENCE.split(_COMMENT.sub("", markdown))
    blocks: list[str] = []
    for number, part in enumerate(parts):
        # every second one was between fences
        if number % 2:
            blocks.append(textwrap.indent(part.rstrip(), "    "))
        else:
            blocks += _paragraphs(part)
    return "\n\n".join(blocks)


def _paragraphs(markdown: str) -> Iterator[str]:
    for paragraph in filter(None, (each.strip() for each in markdown.split("\n\n"))):
        if paragraph.startswith(("|", ">", "#", ":::")):
            raise SystemExit(f"docs/errors.md: what is that in a terminal?\n{paragraph}")
        items = re.split(r"^- ", paragraph, flags=re.MULTILINE)
        if items[0]:
            yield _filled(items[0])
        if items[1:]:
            yield "\n".join(_filled(item, "- ", "  ") for item in items[1:])


def _filled(text: str, first: str = "", later: str = "") -> str:
    plain = _LABEL.sub(r"\1", _LINK.sub(_words, " ".join(text.split())))
    return textwrap.fill(
        plain,
        WIDTH,
        initial_indent=first,
        subsequent_indent=later,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _words(link: re.Match[str]) -> str:
    """A link's text, and which page it leads to, where that is another one."""
    text, page = link.groups()
    return f"{text} (docs/{page})" if page else text
