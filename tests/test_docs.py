"""No block of code in the documentation has rotted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hermetic.release import NO_FAST_PATHS
from tests.databases import FamilyUrl
from tests.documents import ROOT, WRITTEN_URL, PageRun, Rotten, blocks_of, pages, selected

_PAGES = pages()
_PRIVATE_PART = re.compile(r"^\| `(\w+)` \| ((?:`\w+`(?:, )?)+) \|", re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")


def _having_code(where: str) -> list[Path]:
    return [page for page in _PAGES if selected(page, where)]


def _name(page: Path) -> str:
    return page.name


@pytest.mark.sqlite
@pytest.mark.parametrize("page", _having_code("sqlite"), ids=_name)
def test_the_code_of(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if NO_FAST_PATHS is not None and page.name == "quickstart.md":
        pytest.skip("it shows that they are on")
    monkeypatch.chdir(tmp_path)

    PageRun(WRITTEN_URL).run(selected(page, "sqlite"))


@pytest.mark.postgresql
@pytest.mark.parametrize("page", _having_code("postgresql"), ids=_name)
def test_the_code_for_postgresql_of(
    page: Path, family_url: FamilyUrl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    PageRun(family_url("postgresql")).run(selected(page, "postgresql"))


def test_a_block_that_is_not_run_says_why() -> None:
    skipped = [block for page in _PAGES for block in blocks_of(page) if "skip" in block.marks]

    assert [str(block) for block in skipped if not block.marks["skip"]] == []


def test_links_between_pages_lead_somewhere() -> None:
    dead = [
        f"{page.name}: {target}"
        for page in _PAGES
        for target in _LINK.findall(page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]

    assert dead == []


def test_the_private_parts_of_sqlalchemy_that_design_names_are_touched_where_it_says() -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")

    named = [
        (ROOT / "src" / "hermetic" / f"{module}.py", part.strip("`"))
        for module, parts in _PRIVATE_PART.findall(text)
        for part in parts.split(", ")
    ]

    assert len(named) > 5
    assert [part for path, part in named if part not in path.read_text(encoding="utf-8")] == []


# The runner itself is able to fail


def _run(tmp_path: Path, page: str) -> None:
    path = tmp_path / "README.md"
    path.write_text(page, encoding="utf-8")
    blocks = [block for block in blocks_of(path) if block.language in ("python", "output")]
    PageRun(WRITTEN_URL).run(blocks)


TRUE_PAGES = [
    "```python\nprint(1 + 1)  # 2\n```\n",
    "```python\nfor n in (1, 2):\n    print(n)\n```\ntext\n```output\n1\n2\n```\n",
    "```python\nprint('from here to there')  # from … there\n```\n",
    "```python\nint('x')  # raises ValueError\n```\n```output\nValueError: invalid … 'x'\n```\n",
    "```python\nimport asyncio\nawait asyncio.sleep(0)\nn = 3\n```\n```python\nprint(n)  # 3\n```",
]
ROTTEN_PAGES = [
    "```python\nprint(1 + 1)  # 3\n```\n",
    "```python\nif False:\n    print(1)  # 1\n```\n",
    "```python\nprint(1)\n```\n```output\n2\n```\n",
    "```python\nint('1')  # raises ValueError\n```\n",
]


@pytest.mark.parametrize("page", TRUE_PAGES)
def test_a_page_that_is_true_passes(page: str, tmp_path: Path) -> None:
    _run(tmp_path, page)


@pytest.mark.parametrize("page", ROTTEN_PAGES)
def test_a_page_that_is_not_true_fails(page: str, tmp_path: Path) -> None:
    with pytest.raises(Rotten):
        _run(tmp_path, page)


def test_an_error_that_was_not_announced_passes_through(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        _run(tmp_path, "```python\n1 / 0  # raises ValueError\n```\n")
