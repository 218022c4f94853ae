"""Cells of IPython as scopes: when they are committed, and that they are else as they were."""

from __future__ import annotations

import pytest
from IPython.core.error import UsageError

from hermetic import ConfigurationError, InvalidOption, ReadOnlyScope, UniqueViolation
from tests.databases import FamilyUrl

from .conftest import Notebook

ADD_ANN = '%%scope\nsession.add(User(username="ann"))\n'


@pytest.fixture
def on_sqlite(notebook: Notebook, family_url: FamilyUrl) -> Notebook:
    notebook.begin(family_url("sqlite"))
    return notebook


def test_a_cell_is_committed_when_it_ends_well(
    notebook: Notebook, family: str, family_url: FamilyUrl, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook.begin(family_url(family))

    shown = notebook.run(ADD_ANN + "ann = session.scalars(select(User)).one()\nann.username")

    assert shown == "ann"
    assert notebook.usernames() == ["ann"]
    assert capsys.readouterr().out.splitlines()[-1] == "committed"
    assert notebook.run("ann.username") == "ann"  # it can be read in a later cell


def test_a_cell_that_fails_leaves_nothing(
    notebook: Notebook, family: str, family_url: FamilyUrl, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook.begin(family_url(family))

    failed = notebook.try_run(ADD_ANN + "session.flush()\n1 / 0")
    assert isinstance(failed.error_in_exec, ZeroDivisionError)
    assert "rolled back" in capsys.readouterr().out
    interrupted = notebook.try_run(ADD_ANN + "session.flush()\nraise KeyboardInterrupt")
    assert isinstance(interrupted.error_in_exec, KeyboardInterrupt)

    assert notebook.usernames() == []
    assert notebook.open_scopes() == 0


def test_a_failed_commit_is_the_failure_of_its_cell(on_sqlite: Notebook) -> None:
    on_sqlite.run(ADD_ANN)

    again = on_sqlite.try_run(ADD_ANN)

    assert isinstance(again.error_in_exec, UniqueViolation)
    assert not again.success


def test_a_cell_that_awaits_has_a_session_of_asyncio(
    notebook: Notebook, family: str, family_url: FamilyUrl
) -> None:
    notebook.begin(family_url(family))

    shown = notebook.run(ADD_ANN + "found = await session.scalars(select(User))\nfound.one().id")
    assert shown == 1
    failed = notebook.try_run(
        '%%scope\nsession.add(User(username="bob"))\nawait session.flush()\n1 / 0'
    )

    assert isinstance(failed.error_in_exec, ZeroDivisionError)
    assert notebook.usernames() == ["ann"]
    assert type(notebook.shell.user_ns["session"]).__name__ == "AsyncSession"
    assert notebook.open_scopes() == 0


def test_the_line_takes_a_database_and_options(
    on_sqlite: Notebook, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = on_sqlite.try_run(ADD_ANN.replace("%%scope", "%%scope db, readonly=True"))
    assert isinstance(refused.error_in_exec, ReadOnlyScope)

    on_sqlite.run("other = Database('sqlite://')")
    unnamed = on_sqlite.try_run(ADD_ANN)
    assert isinstance(unnamed.error_in_exec, ConfigurationError)
    assert "db, other" in str(unnamed.error_in_exec)
    for line in ("%%scope db, retries=3", "%%scope other, db"):
        wrong = on_sqlite.try_run(line).error_in_exec
        assert isinstance(wrong, InvalidOption | UsageError)
    for line in ("%%scope db,,", "%%scope db)("):
        assert isinstance(on_sqlite.try_run(line).error_before_exec, SyntaxError)
    on_sqlite.run("other.close()")


def test_what_a_cell_is_without_a_scope_it_is_with_one(
    on_sqlite: Notebook, capsys: pytest.CaptureFixture[str]
) -> None:
    # in front of everything, as the compiler wants it
    on_sqlite.run("%%scope\nfrom __future__ import annotations\nvalue: Unknown = 3")
    assert on_sqlite.shell.user_ns["value"] == 3
    # a semicolon is silence, `In` and the traceback have the cell's own lines
    capsys.readouterr()
    assert on_sqlite.run("%%scope\n4;") is None
    assert "4" not in capsys.readouterr().out
    on_sqlite.try_run("%%scope\nx = 1\n1 / 0")
    shown = capsys.readouterr().out
    assert "line 3" in shown
    assert "hermetic_cells" not in shown
    # the shell may show more than the last value, or none
    on_sqlite.shell.ast_node_interactivity = "all"
    on_sqlite.run("%%scope\n5\n6")
    assert "5" in capsys.readouterr().out
    on_sqlite.shell.ast_node_interactivity = "last_expr_or_assign"
    assert on_sqlite.run("%%scope\nseven = 7") == 7
    on_sqlite.shell.ast_node_interactivity = "none"
    assert on_sqlite.run("%%scope\n8") is None


def test_every_cell_reads_in_a_scope(
    on_sqlite: Notebook, capsys: pytest.CaptureFixture[str]
) -> None:
    on_sqlite.run(ADD_ANN)
    on_sqlite.run("%scopes on timeout=20")
    capsys.readouterr()

    assert on_sqlite.run("session.scalars(select(User.username)).all()") == ["ann"]
    assert on_sqlite.run("await session.scalar(select(User.username))") == "ann"
    assert "committed" not in capsys.readouterr().out
    refused = on_sqlite.try_run('session.add(User(username="bob"))')
    assert isinstance(refused.error_in_exec, ReadOnlyScope)
    # what a magic of the cell compiles is in the cell's scope
    assert on_sqlite.run("%time session.scalar(select(User.username))") == "ann"
    # and a cell that says so writes
    on_sqlite.run(ADD_ANN.replace("ann", "bob"))
    on_sqlite.run("%scopes off")
    assert on_sqlite.run("db.current if db.snapshot().scopes else None") is None
    assert on_sqlite.usernames() == ["ann", "bob"]


def test_every_cell_can_write_where_that_is_asked_for(on_sqlite: Notebook) -> None:
    on_sqlite.run("%scopes on db, readonly=False")
    on_sqlite.run('session.add(User(username="ann"))')

    assert on_sqlite.usernames() == ["ann"]
    wrong = on_sqlite.try_run("%scopes on retries=3")
    assert isinstance(wrong.error_in_exec, InvalidOption)
    assert isinstance(on_sqlite.try_run("%scopes").error_in_exec, UsageError)


def test_a_database_that_is_closed_does_not_lock_the_notebook_up(
    on_sqlite: Notebook, family_url: FamilyUrl
) -> None:
    on_sqlite.run("%scopes on")
    on_sqlite.run("await db.aclose()")

    on_sqlite.run(f"db = Database({family_url('sqlite')!r})")

    assert on_sqlite.run("session.scalars(select(User)).all()") == []


def test_the_extension_can_be_taken_out(on_sqlite: Notebook) -> None:
    on_sqlite.run("%load_ext hermetic.integrations.notebook")  # twice is once
    on_sqlite.run("%scopes on")
    on_sqlite.run("%unload_ext hermetic.integrations.notebook")

    assert on_sqlite.run("db.snapshot().scopes") == ()
    assert isinstance(on_sqlite.try_run(ADD_ANN).error_in_exec, UsageError)


def test_a_cell_magic_above_scope_has_no_scope_of_every_cell(on_sqlite: Notebook) -> None:
    on_sqlite.run("%scopes on")

    on_sqlite.run("%%capture said\n%%time\n" + ADD_ANN)

    assert on_sqlite.usernames() == ["ann"]
    assert on_sqlite.run("%%time\nlen(session.scalars(select(User)).all())") == 1


def test_a_cell_inside_a_cell_leaves_the_outer_one_its_word(
    on_sqlite: Notebook, capsys: pytest.CaptureFixture[str]
) -> None:
    on_sqlite.run(ADD_ANN + "done = get_ipython().run_cell('%%scope\\nsession.flush()')")

    assert capsys.readouterr().out.split() == ["committed"]
    assert on_sqlite.run("done.success")
