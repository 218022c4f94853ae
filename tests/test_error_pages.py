"""The pages of errors: every error has one, says where it is, and the command prints it."""

from __future__ import annotations

import ast
import asyncio
import copy
import io
import logging
import os
import pickle
import re
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy.orm import exc as orm_exc

import hermetic
from hermetic import Database, HermeticError, cli, error_pages
from hermetic.commands import pages
from hermetic.connecting import again
from tests.models import Base, User
from tests.test_errors import CLASSES, blended, make
from tests.worlds import World
from tools import error_pages as made
from tools import generate_docs

ROOT: Final = Path(__file__).parents[1]
LABELS: Final = ("**What happened:** ", "**Typical cause:** ", "**What to do:** ")


def pointer(name: str) -> str:
    return f"For more on this error run: hermetic error {name}"


def formatted(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


# ---------------------------------------------------------------- every error has a page


def errors_in_the_source() -> set[str]:
    """All that derives from HermeticError, whether its module can be imported here or not.

    What is private is known by what it derives from.
    """
    bases: dict[str, set[str]] = {}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                named = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
                bases.setdefault(node.name, set()).update(named)
    found = {"HermeticError"}
    while more := {name for name, of in bases.items() if of & found} - found:
        found |= more
    return {name for name in found if not name.startswith("_")}


def documented() -> dict[str, str]:
    return made.sections(made.SOURCE.read_text(encoding="utf-8"))


def test_the_source_is_read_for_errors_of_every_part() -> None:
    found = errors_in_the_source()

    assert set(CLASSES) < found
    assert {"UnfitValue", "ShardFailed", "CacheAway", "SandboxLeak", "FindingError"} <= found


def test_every_error_has_a_section_and_every_section_an_error() -> None:
    assert documented().keys() == errors_in_the_source()


@pytest.mark.parametrize("name", documented())
def test_a_section_says_what_happened_why_and_what_to_do(name: str) -> None:
    paragraphs = [each.partition("\n")[0] for each in documented()[name].split("\n\n")]

    labelled = [each for each in paragraphs if each.startswith("**")]

    assert len(labelled) == len(LABELS)
    assert all(map(str.startswith, labelled, LABELS))


def test_the_tree_of_the_docs_has_every_error_but_the_faults() -> None:
    text = made.SOURCE.read_text(encoding="utf-8")
    tree = set(re.findall(r"\w+", text.partition("The tree:\n")[2].partition("\n## ")[0]))

    faults = {name for name, cls in CLASSES.items() if issubclass(cls, hermetic.FaultError)}

    assert documented().keys() - faults - tree == set()


def test_the_package_has_the_pages_as_the_docs_are() -> None:
    assert made.PAGES.read_text(encoding="utf-8") == made.written()
    assert list(pages.pages()) == list(documented())


def test_pages_that_are_not_as_the_docs_are_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = generate_docs.ROOT / "stale.txt"
    monkeypatch.setattr(made, "PAGES", stale)

    code = generate_docs.main(["--check"])

    assert code == 1
    assert "stale: stale.txt" in capsys.readouterr().err
    assert not stale.exists()


# ---------------------------------------------------------------- what Markdown becomes

MARKDOWN = """\
**What happened:** a thing, see [unknown commits](retries.md#unknown-commits) and
[`CommitUnknown`](#commitunknown).

- one that is `a` and goes on for so long that it takes a second line of the terminal, or
  a third
- two

<!-- skip -->
```python
with db.session():  # [not](a-link.md)
    pass
```
"""

TEXT = """\
What happened: a thing, see unknown commits (docs/retries.md) and
`CommitUnknown`.

- one that is `a` and goes on for so long that it takes a second line of the
  terminal, or a third
- two

    with db.session():  # [not](a-link.md)
        pass"""


def test_markdown_becomes_text_for_a_terminal() -> None:
    assert made.as_text(MARKDOWN) == TEXT


def test_what_does_not_read_in_a_terminal_is_refused() -> None:
    with pytest.raises(SystemExit, match="what is that in a terminal"):
        made.as_text("| a | table |\n|---|---|")


def test_no_page_has_marks_of_markdown() -> None:
    for name, page in pages.pages().items():
        prose = "\n".join(line for line in page.splitlines() if not line.startswith("    "))
        assert not re.search(r"\]\(|\*\*|<!--|```|^#", prose, re.MULTILINE), name
        assert all(len(line) <= made.WIDTH for line in prose.splitlines()), name


# ---------------------------------------------------------------- an error says where its page is


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_traceback_shows_where_the_page_is(name: str) -> None:
    error = make(name)

    assert error.page == name
    assert formatted(error).endswith(f"{pointer(name)}\n")
    assert pointer(name) not in str(error)


def test_an_error_that_nobody_looks_at_has_made_no_notes() -> None:
    error = HermeticError("Plain.")

    str(error), repr(error), error.page

    assert "__notes__" not in vars(error)
    assert not hasattr(HermeticError, "__notes__")


def test_notes_of_others_follow() -> None:
    error = HermeticError("Plain.")
    error.add_note("one")
    error.add_note("two")

    assert error.__notes__ == [pointer("HermeticError"), "one", "two"]
    assert HermeticError("Another.").__notes__ == [pointer("HermeticError")]


def test_notes_can_be_replaced() -> None:
    error = HermeticError("Plain.")
    error.__notes__ = []

    assert "hermetic error" not in formatted(error)


class TransferRefused(hermetic.RolledBack):
    """An application's own."""


class Paged(hermetic.RetryRequested):
    """An application's own, with a page that is something else."""

    def __init__(self, page: int) -> None:
        super().__init__()
        self.page = page  # type: ignore[assignment]


def test_an_applications_own_error_leads_to_the_nearest_of_hermetics() -> None:
    assert TransferRefused("No.").page == "RolledBack"
    assert formatted(TransferRefused("No.")).endswith(f"{pointer('RolledBack')}\n")


def test_a_private_error_leads_to_the_public_one_that_it_is() -> None:
    private = type("_Refused", (hermetic.ConfigurationError,), {"__module__": "hermetic.some"})

    assert private("No.").page == "ConfigurationError"


def test_an_application_may_have_pages_of_its_own() -> None:
    error = pickle.loads(pickle.dumps(Paged(3)))

    assert error.page == 3
    assert formatted(error).endswith(f"{pointer('RetryRequested')}\n")


@pytest.mark.parametrize(
    "through",
    [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy, again],
    ids=["pickle", "copy", "deepcopy", "again"],
)
@pytest.mark.parametrize("looked_at", [False, True])
def test_the_note_survives_once(through: Callable[[Any], Any], looked_at: bool) -> None:
    for error in (TransferRefused("No."), blended(), hermetic.NoScope("None.")):
        if looked_at:
            formatted(error)

        found = through(through(error))

        assert found.__notes__ == [pointer(error.page)]


def test_an_error_for_somebody_else_has_notes_of_its_own() -> None:
    first = hermetic.PoolTimeout("Late.", pool="app", limit=1)
    first.add_note("attempt 1")

    second = again(first)
    second.add_note("attempt 2")

    assert first.__notes__ == [pointer("PoolTimeout"), "attempt 1"]


def test_a_fault_leads_to_its_own_page_and_keeps_the_notes_of_sqlalchemys_error() -> None:
    from sqlalchemy import exc as sa_exc

    theirs = sa_exc.IntegrityError("INSERT", None, ValueError("x"))
    theirs.add_note("theirs")

    ours = hermetic.blending.fault_error(theirs, blended().fault)

    assert ours.page == "UniqueViolation"
    assert ours.__notes__ == [pointer("UniqueViolation"), "theirs"]
    assert theirs.__notes__ == ["theirs"]


def test_a_group_of_errors_shows_the_note_of_each() -> None:
    group = ExceptionGroup("two", [hermetic.NoScope("None."), blended()])
    ours, _ = group.split(hermetic.NoScope)
    assert ours is not None

    assert pointer("NoScope") in formatted(ours)
    assert pointer("UniqueViolation") in formatted(group)


def test_a_log_of_an_exception_has_the_note() -> None:
    stream = io.StringIO()
    logger = logging.getLogger("an application")
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    try:
        raise hermetic.NoScope("None.", hint="Open one.")
    except hermetic.NoScope as error:
        logger.exception("it failed")
        logger.warning("it failed: %s", error)
    finally:
        logger.removeHandler(handler)

    *_, last, line = stream.getvalue().splitlines()
    assert (last, line) == (pointer("NoScope"), "it failed: None. Open one.")


def test_where_there_is_an_address_the_note_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_pages, "ADDRESS", "https://docs.example/errors.html")

    (note,) = hermetic.NoScope("None.").__notes__

    address = "https://docs.example/errors.html#noscope"
    assert note == f"For more on this error see {address} or run: hermetic error NoScope"


# ---------------------------------------------------------------- as they are raised


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database(f"sqlite:///{tmp_path}/app.db") as db:
        Base.metadata.create_all(db.engine)
        yield db


def _nowhere(db: Database) -> None:
    _ = db.current


def _ended(db: Database) -> None:
    with db.session() as session:
        pass
    session.execute("SELECT 1")


def _by_hand(db: Database) -> None:
    with db.session() as session:
        session.commit()


def _readonly(db: Database) -> None:
    with db.session(readonly=True) as session:
        session.add(User(username="ann"))


def _swallowed(db: Database) -> None:
    with db.session() as session:
        try:
            with db.session():
                raise LookupError
        except LookupError:
            pass
        session.add(User(username="ann"))


def _refused(db: Database) -> None:
    with db.session(propagation="mandatory"):
        pass


def _twice(db: Database) -> None:
    with db.session() as session:
        session.add_all([User(id=1, username="ann"), User(id=1, username="bob")])


def _too_late(db: Database) -> None:
    with db.session(timeout=1e-9) as session:
        session.execute("SELECT 1")


def _alone(db: Database) -> None:
    with db.session() as session:
        session.execute("DELETE FROM users")
        with db.session(propagation="requires_new") as inner:
            inner.execute("DELETE FROM users")


def _misspelt(db: Database) -> None:
    db.session(isolatoin="SERIALIZABLE")  # type: ignore[call-arg]


def _again(db: Database) -> None:
    for attempt in db.attempts(retry=2):
        with attempt:
            raise hermetic.RetryRequested


def _closed(db: Database) -> None:
    db.close()
    with db.session():
        pass


def _not_loaded(db: Database) -> None:
    with db.session() as session:
        user = User(username="ann")
        session.add(user)
        session.flush()
        session.expire(user)
    _ = user.username


def _not_sql(db: Database) -> None:
    with db.session() as session:
        session.execute("SELEC 1")


SCENARIOS: Final[dict[str, Callable[[Database], None]]] = {
    "NoScope": _nowhere,
    "ScopeEnded": _ended,
    "ScopeControls": _by_hand,
    "ReadOnlyScope": _readonly,
    "RolledBack": _swallowed,
    "ScopeRefused": _refused,
    "UniqueViolation": _twice,
    "DeadlineExceeded": _too_late,
    "PoolSelfDeadlock": _alone,
    "InvalidOption": _misspelt,
    "RetryRequested": _again,
    "DatabaseClosed": _closed,
    "DetachedAccess": _not_loaded,
    "InvalidStatement": _not_sql,
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_is_raised_shows_where_its_page_is(name: str, db: Database) -> None:
    with pytest.raises(getattr(hermetic, name)) as caught:
        SCENARIOS[name](db)

    last = formatted(caught.value).rstrip().splitlines()
    assert pointer(name) in last
    assert caught.value.page == name
    assert name in documented()


async def test_a_fault_of_every_driver_shows_where_its_page_is(world: World) -> None:
    with pytest.raises(hermetic.UniqueViolation) as caught:
        async with world.session() as session:
            session.add_all([User(id=1, username="ann"), User(id=2, username="ann")])

    assert formatted(caught.value).endswith(f"{pointer('UniqueViolation')}\n")


def test_a_program_that_ends_by_an_error_leaves_the_note_behind() -> None:
    script = "from hermetic import Database\nDatabase('sqlite://').current"

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert done.stderr.splitlines()[-1] == pointer("NoScope")


def test_a_loop_of_asyncio_logs_the_note(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async def lost() -> None:
            raise hermetic.NoScope("None.")

        task = asyncio.ensure_future(lost())
        await asyncio.wait([task])
        context = {"message": "never retrieved", "exception": task.exception()}
        asyncio.get_running_loop().call_exception_handler(context)

    asyncio.run(main())

    assert pointer("NoScope") in caplog.text


def test_sqlalchemys_own_errors_have_no_page() -> None:
    error = orm_exc.DetachedInstanceError("x")

    assert not hasattr(error, "page")
    assert "hermetic error" not in formatted(error)


# ---------------------------------------------------------------- the command


def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hermetic.cli", "error", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "72"},
    )


def test_the_command_prints_a_page() -> None:
    done = ran("NoScope")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{pages.pages()['NoScope']}\n"
    heading, _, text = done.stdout.partition("\n\n")
    assert heading == "hermetic.NoScope, a ScopeError"
    assert text.startswith("What happened: ")


def test_the_command_lists_all_errors_a_line_for_each() -> None:
    done = ran()

    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(documented())
    assert all(len(line) <= 72 for line in lines)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("noscope", "NoScope"),
        ("hermetic.NoScope", "NoScope"),
        ("hermetic.errors.UniqueViolation:", "UniqueViolation"),
        ("hermetic.frames.UnfitValue", "UnfitValue"),
        ("hermetic.frame_errors.UnfitValue", "UnfitValue"),
        ("hermetic.shards.ForeignShard", "ForeignShard"),
        ("CacheAway", "CacheAway"),
        ("hermetic.testing.errors.SandboxLeak", "SandboxLeak"),
    ],
)
def test_an_error_is_found_by_what_a_traceback_calls_it(given: str, name: str) -> None:
    assert pages.page_named(given) == pages.pages()[name]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("NoScop", "Did you mean NoScope? "),
        ("UniqueViolated", "Did you mean UniqueViolation? "),
        ("Quux", ""),
    ],
)
def test_a_wrong_name_is_told_the_nearest(
    given: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli.main(["error", given])

    assert code == 2
    assert capsys.readouterr().err == (
        f"hermetic: No error of hermetic's is called {given!r}. {told}"
        "hermetic error lists them all.\n"
    )


def test_a_command_that_fails_says_where_the_page_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing() -> None:
        raise hermetic.CommitUnknown("It is not known.")

    monkeypatch.setitem(sys.modules, "app", type(sys)("app"))
    monkeypatch.setattr(sys.modules["app"], "group", failing, raising=False)

    code = cli.main(["recover", "app:group"])

    assert code == 2
    assert capsys.readouterr().err == f"hermetic: It is not known.\n{pointer('CommitUnknown')}\n"
