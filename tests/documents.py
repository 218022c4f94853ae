"""The documentation's code, run as its readers would run it.

The Python blocks of a page are run in order, in one namespace and in an empty folder. What a page
may say about its blocks, so that readers see what is true:

    print(x)  # 3             the line prints 3; `…` stands for anything
    call()  # raises NoScope  the statement that the line is part of raises that error

A block of language `output` holds what the block before it printed, and what it raised, as far as
no comment has it already; line breaks and `…` are free. Comments of the page's own, directly above
a block, say what readers need not see:

    <!-- tables -->           first of all on every other page; there `db`, `User`, … are known
    <!-- on: postgresql -->   run against PostgreSQL, in a namespace of its own
    <!-- skip: reason -->     not run

`await` may stand outside of functions, as in asyncio's REPL.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import io
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from hermetic import Database

ROOT: Final = Path(__file__).parents[1]
TABLES_PAGE: Final = ROOT / "docs" / "quickstart.md"
# What the pages' Database is called in their text.
WRITTEN_URL: Final = "sqlite:///app.db"

_FENCE = re.compile(r"^(?P<ticks>```+)(?P<language>[\w-]*)\s*$")
_MARK = re.compile(r"^<!-- (?P<name>tables|on|skip)(?:: (?P<value>.+?))? -->$")
_PRINTS = re.compile(r"^\s*print\(.*\)  # (?P<text>.+)$")
_RAISES = re.compile(r"# raises (?P<name>\w+)")


class Rotten(AssertionError):
    """A page says something that is not so."""


@dataclass(frozen=True)
class Block:
    page: Path
    # Of its first line of code, from 1.
    line: int
    language: str
    text: str
    marks: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks_of(page: Path) -> list[Block]:
    return list(_blocks(page, page.read_text(encoding="utf-8").splitlines()))


def _blocks(page: Path, lines: list[str]) -> Iterator[Block]:
    marks: dict[str, str] = {}
    opened: tuple[str, str, int] | None = None
    for number, line in enumerate(lines, 1):
        if opened is not None:
            ticks, language, first = opened
            if line.rstrip() == ticks:
                yield Block(page, first, language, "\n".join(lines[first - 1 : number - 1]), marks)
                opened, marks = None, {}
            continue
        fence, mark = _FENCE.match(line), _MARK.match(line)
        if fence is not None:
            opened = fence["ticks"], fence["language"], number + 1
        elif mark is not None:
            marks = {**marks, mark["name"]: mark["value"] or ""}
        else:
            marks = {}


def tables() -> list[Block]:
    """The blocks that every page goes on from."""
    return [block for block in blocks_of(TABLES_PAGE) if "tables" in block.marks]


def selected(page: Path, where: str) -> list[Block]:
    """What of a page is run on one database, its outputs included."""
    chosen = []
    wanted = False
    for block in blocks_of(page):
        if block.language == "python":
            wanted = block.marks.get("on", "sqlite") == where and "skip" not in block.marks
        if wanted and block.language in ("python", "output"):
            chosen.append(block)
    return [*tables(), *chosen] if chosen and page != TABLES_PAGE else chosen


class PageRun:
    """One page in one namespace on one database."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._module = ModuleType("page")
        self._printed: list[tuple[int, str]] = []
        self._module.__dict__["print"] = self._print
        self._runner = asyncio.Runner()
        # Also those whose name was given to another one since.
        self._opened: dict[int, Database | Engine | AsyncEngine] = {}

    def run(self, blocks: Iterable[Block]) -> None:
        unexplained = ""
        before: Block | None = None
        with self._open():
            for block in blocks:
                if block.language == "output":
                    if not _matches(block.text, unexplained):
                        raise Rotten(f"{block}: {before} printed\n{unexplained}")
                    unexplained = ""
                    continue
                unexplained = self._run_block(block)
                before = block

    def _run_block(self, block: Block) -> str:
        """Run a block; returns what it printed and raised and no comment of it tells."""
        source = "\n" * (block.line - 1) + block.text.replace(WRITTEN_URL, self._url)
        tree = ast.parse(source, filename=str(block.page))
        lines = source.splitlines()
        self._printed.clear()
        for statement in tree.body:
            decorators = getattr(statement, "decorator_list", [])
            first = min(node.lineno for node in (statement, *decorators))
            span = lines[first - 1 : statement.end_lineno]
            promised = [found["name"] for line in span if (found := _RAISES.search(line))]
            self._run_statement(statement, promised, f"{block.page.name}:{first}")
        return self._check_prints(block, lines)

    def _run_statement(self, statement: ast.stmt, promised: list[str], where: str) -> None:
        filename = where.partition(":")[0]
        code = compile(
            ast.Module([statement], []),
            filename,
            "exec",
            flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            dont_inherit=True,
        )
        try:
            if code.co_flags & inspect.CO_COROUTINE:
                self._runner.run(eval(code, self._module.__dict__))
            else:
                exec(code, self._module.__dict__)
        except Exception as error:
            names = {cls.__name__ for cls in type(error).__mro__}
            if not promised or not names.issuperset(promised):
                raise
            self._printed.append((0, f"{promised[0]}: {error}"))
        else:
            if promised:
                raise Rotten(f"{where} did not raise {promised[0]}")
        for value in self._module.__dict__.values():
            if isinstance(value, (Database, Engine, AsyncEngine)):
                self._opened[id(value)] = value

    def _check_prints(self, block: Block, lines: list[str]) -> str:
        unexplained = []
        explained: dict[int, list[str]] = {
            number: [] for number, line in enumerate(lines, 1) if _PRINTS.match(line)
        }
        for number, text in self._printed:
            if number in explained:
                explained[number].append(text)
            else:
                unexplained.append(text)
        for number, texts in explained.items():
            match = _PRINTS.match(lines[number - 1])
            assert match is not None
            if len(texts) != 1 or not _matches(match["text"], texts[0]):
                raise Rotten(f"{block.page.name}:{number} printed {texts}")
        return "\n".join(unexplained)

    def _print(self, *values: object, **options: Any) -> None:
        written = io.StringIO()
        print(*values, **{**options, "file": written})  # noqa: T201 - into the string
        self._printed.append((sys._getframe(1).f_lineno, written.getvalue().rstrip("\n")))

    @contextmanager
    def _open(self) -> Iterator[None]:
        sys.modules[self._module.__name__] = self._module
        try:
            with self._runner:
                try:
                    yield
                finally:
                    self._runner.run(self._close())
        finally:
            del sys.modules[self._module.__name__]

    async def _close(self) -> None:
        for value in self._opened.values():
            if isinstance(value, Database):
                await value.aclose()
            elif isinstance(value, AsyncEngine):
                await value.dispose()
            else:
                value.dispose()


def _matches(written: str, real: str) -> bool:
    """Whether a text is what a page says it is; `…` stands for anything."""
    parts = [re.escape(" ".join(part.split())) for part in written.split("…")]
    pattern = r"\s*.*?\s*".join(part.strip() for part in parts)
    return re.fullmatch(pattern, " ".join(real.split()), re.DOTALL) is not None
