"""Nothing is lost, invented or out of order when processes are killed in the middle of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.behaviour.outbox_killed import Book, compared
from tests.behaviour.test_outbox import made
from tests.worlds import World


@pytest.mark.slow
async def test_processes_are_killed(world: World, tmp_path: Path) -> None:
    if world.is_async:
        pytest.skip("the tables are the same, and the statements")
    box = await made(world)
    box.db.close()

    done = subprocess.run(  # noqa: ASYNC221 - there is no loop
        [
            sys.executable,
            *("-m", "tests.behaviour.outbox_killed"),
            world.url,
            str(tmp_path),
            *("--kills", "8"),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ([("committed", "x"), ("committed", "y"), ("sent", "x", "a", 1)], "lost"),
        ([("rolled back", "x"), ("sent", "x", "a", 1)], "invented"),
        ([("sent", "x", "a", 2), ("sent", "y", "a", 1)], "disordered"),
        ([("sent", "x", "a", 1), ("sent", "y", "a", 3)], "disordered"),
    ],
)
def test_the_comparison_finds_what_is_wrong(
    tmp_path: Path, lines: list[tuple[object, ...]], what: str
) -> None:
    book = Book(tmp_path / "book")
    for line in lines:
        book.note(*line)

    found = compared(book, 0)

    wrong = {name for name in ("lost", "invented", "disordered") if getattr(found, name)}
    assert wrong == {what}
