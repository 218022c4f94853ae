"""examples/notebook.ipynb in a real kernel, and a real interrupt."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from nbclient import NotebookClient
from nbformat import v4

from tests.databases import FamilyUrl

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"
# the kernel looks for an interrupt of what is awaited whenever its loop wakes
ENDLESS = {
    "threads": "%%scope db\nsession.add(Reader(name='cyd'))\nsession.flush()\n"
    "print('endless', flush=True)\nimport time\nwhile True:\n    time.sleep(0.05)",
    "asyncio": "%%scope db\nsession.add(Reader(name='cyd'))\nawait session.flush()\n"
    "import asyncio\nprint('endless', flush=True)\nwhile True:\n    await asyncio.sleep(0.05)",
}
LEFT = "await session.scalar('SELECT count(*) FROM readers'), len(db.snapshot().scopes)"


class Interrupting(NotebookClient):
    """Interrupts the kernel when a cell says that it has come to its endless part."""

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        if msg["msg_type"] == "stream" and "endless" in msg["content"]["text"]:
            kernel: Any = self.km
            self.interrupted = asyncio.ensure_future(kernel.interrupt_kernel())
        return super().process_message(msg, cell, cell_index)


@pytest.mark.slow
async def test_the_example_and_interrupts(
    tmp_path: Path, family_url: FamilyUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTEBOOK_URL", family_url("sqlite"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    read: Any = v4.reads
    notebook = read(NOTEBOOK.read_text(encoding="utf-8"))
    make_cell: Any = v4.new_code_cell
    closing = notebook.cells.pop()
    for source in ENDLESS.values():
        cell = make_cell(source, metadata={"tags": ["raises-exception"]})
        notebook.cells += [cell, make_cell("%%scope db\n" + LEFT)]
    notebook.cells.append(closing)

    resources = {"metadata": {"path": str(tmp_path)}}
    await Interrupting(notebook, timeout=60, resources=resources).async_execute()

    shown = [_shown(cell) for cell in notebook.cells if cell.cell_type == "code"]
    assert shown[1:9] == [
        ["(1, 2)", "committed"],
        ["'ann'"],
        ["rolled back", "UniqueViolation"],
        ["['Dracula', 'Emma', 'Walden']"],
        [],
        ["{'Emma': 'bob', 'Walden': 'ann'}"],
        ["5"],
        ["ReadOnlyScope"],
    ]
    assert shown[9:11] == [["committed"], ["[1, 0, 0]"]]
    assert shown[11:] == [
        ["endless", "rolled back", "KeyboardInterrupt"],
        ["(2, 1)", "committed"],
        ["endless", "rolled back", "CancelledError"],
        ["(2, 1)", "committed"],
        [],
    ]


def _shown(cell: Any) -> list[str]:
    found: list[str] = []
    for output in cell.outputs:
        if output.output_type == "stream":
            found += output.text.split("\n")[:-1]
        elif output.output_type == "error":
            found.append(output.ename)
        else:
            found.append(output.data["text/plain"])
    return found
