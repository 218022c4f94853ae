"""A shell of IPython, without a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.databases import FamilyUrl
from tests.missing import left_out

if TYPE_CHECKING:
    from IPython.core.interactiveshell import ExecutionResult

collect_ignore_glob = ["test_*.py"] if left_out("notebooks") else []

BEGINNING = """\
from sqlalchemy import select
from hermetic import Database
from tests.models import Base, User
db = Database({url!r})
Base.metadata.create_all(db.engine)
%load_ext hermetic.integrations.notebook
"""


class Notebook:
    """Cells, run one after the other."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell

    def begin(self, url: str) -> None:
        self.run(BEGINNING.format(url=url))

    def try_run(self, cell: str) -> ExecutionResult:
        found: ExecutionResult = self.shell.run_cell(cell, store_history=True)
        return found

    def run(self, cell: str) -> Any:
        """Run a cell that ends well; its value."""
        ended: Any = self.try_run(cell)
        ended.raise_error()
        return ended.result

    def usernames(self) -> list[str]:
        with self.shell.user_ns["db"].session(readonly=True) as session:
            return sorted(session.scalars("SELECT username FROM users"))

    def open_scopes(self) -> int:
        return len(self.shell.user_ns["db"].snapshot().scopes)


@pytest.fixture
def notebook(
    family_url: FamilyUrl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Notebook]:
    from IPython.core.async_helpers import get_asyncio_loop
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    # the shell puts a module of its own there
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    shell: Any = InteractiveShell.instance(config=config)
    made = Notebook(shell)
    try:
        yield made
    finally:
        made.run("if 'db' in globals():\n    await db.aclose()")
        InteractiveShell.clear_instance()
        get_asyncio_loop().close()  # type: ignore[no-untyped-call]
