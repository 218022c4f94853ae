"""Commands of Click and Typer: the exit code tells whether anything was committed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable
from typing import Any

import click
import click.testing
import pytest
import typer
import typer.testing

from hermetic import CommitUnknown, InvalidOption, RetryRequested, Session, UniqueViolation
from hermetic.integrations.click import Sessions, retried
from hermetic.integrations.commands import Sessions as AnySessions
from hermetic.integrations.typer import Sessions as TyperSessions
from hermetic.outbox import Inbox
from tests.behaviour.aftermath import lent, on
from tests.models import User
from tests.proxy import Proxy
from tests.worlds import World

in_threads = on(lambda backend: backend.name == "sqlite")
in_asyncio = on(lambda backend: backend.name == "aiosqlite")
on_psycopg = on(lambda backend: backend.name == "psycopg" and not backend.is_async)

Run = Callable[..., Any]


def leave(how: str, exit_with: Callable[[int], Any]) -> None:
    """Leave a command."""
    match how:
        case "exit":
            exit_with(0)
        case "exit 3":
            exit_with(3)
        case "sys.exit":
            sys.exit()
        case "sys.exit 4":
            sys.exit(4)
        case "sys.exit 0.0":
            sys.exit(0.0)  # type: ignore[arg-type]
        case "fail":
            raise LookupError
        case "interrupt":
            signal.raise_signal(signal.SIGINT)


def of_click(world: World) -> Run:
    sessions = Sessions(world.db)

    @click.group()
    def cli() -> None:
        pass

    @cli.command()
    @click.argument("name")
    @click.option("--how", default="")
    @click.pass_context
    @sessions.command
    def add(ctx: click.Context, name: str, how: str) -> None:
        world.db.current.add(User(username=name))
        leave(how, ctx.exit)

    @cli.command()
    @click.argument("name")
    @sessions.pass_session
    def given(session: Session, name: str) -> None:
        assert session is world.db.current
        session.add(User(username=name))
        session.on_commit(lambda: click.echo(f"{name} is there"))

    runner = click.testing.CliRunner()
    return lambda *args: runner.invoke(cli, args)


def of_typer(world: World) -> Run:
    sessions = TyperSessions(world.db)
    app = typer.Typer()

    @app.command()
    @sessions.command
    def add(name: str, how: str = "") -> None:
        world.db.current.add(User(username=name))
        leave(how, _typer_exit)

    @app.command()
    @sessions.pass_session
    def given(session: Session, name: str) -> None:
        session.add(User(username=name))
        session.on_commit(lambda: typer.echo(f"{name} is there"))

    runner = typer.testing.CliRunner()
    return lambda *args: runner.invoke(app, list(args))


def _typer_exit(code: int) -> None:
    raise typer.Exit(code)


@pytest.mark.parametrize("made", [of_click, of_typer], ids=["click", "typer"])
@in_threads
def test_it_commits_with_exit_code_0_alone(world: World, made: Callable[[World], Run]) -> None:
    run = made(world)
    ways = {
        "exit": 0,
        "exit 3": 3,
        "sys.exit": 0,
        "sys.exit 4": 4,
        "fail": 1,
        "": 0,
        "sys.exit 0.0": 1,
    }
    names = [f"u{number}" for number in range(len(ways))]
    for name, (how, code) in zip(names, ways.items(), strict=True):
        assert run("add", name, "--how", how).exit_code == code
    assert run("add", "struck", "--how", "interrupt").exit_code in (1, 130)
    assert world.usernames() == ["u0", "u2", "u5"]
    given = run("given", "last")
    assert (given.exit_code, given.output) == (0, "last is there\n")
    # the name is taken, and the flush comes with the commit
    again = run("given", "last")
    assert again.exit_code == 65
    assert again.output.startswith("Error: It does not fit")
    assert lent(world.db) == []


@pytest.mark.parametrize("made", [of_click, of_typer], ids=["click", "typer"])
@on_psycopg
def test_a_commit_whose_answer_is_lost(world: World, made: Callable[[World], Run]) -> None:
    with Proxy(world.url) as proxy:
        world.url = proxy.url
        run = made(world)
        assert run("add", "ann").exit_code == 0
        proxy.cut_after()
        lost = run("add", "bob")
        assert lost.exit_code == 74
        assert "not known" in lost.output
        world.db.close()


@in_threads
def test_one_that_is_safe_is_run_again(world: World) -> None:
    sessions = Sessions(world.db, codes={RetryRequested: None, LookupError: 9})
    runs: list[int] = []

    @click.command()
    @click.argument("enough", type=int)
    @sessions.command(isolation="SERIALIZABLE")
    @retried(3)
    def add(enough: int) -> None:
        runs.append(1)
        world.db.current.add(User(username=f"u{len(runs)}"))
        if enough == 0:
            raise LookupError("nobody")
        if len(runs) < enough:
            raise RetryRequested
        raise click.exceptions.Exit(0)

    runner = click.testing.CliRunner()
    assert runner.invoke(add, "3").exit_code == 0
    assert (len(runs), world.usernames()) == (3, ["u3"])
    assert isinstance(runner.invoke(add, "99").exception, RetryRequested)
    failed = runner.invoke(add, "0")
    assert (failed.exit_code, failed.output) == (9, "Error: nobody (LookupError)\n")
    assert world.usernames() == ["u3"]


@in_threads
def test_a_violation_that_was_caught_is_one_all_the_same(world: World) -> None:
    sessions = AnySessions(world.db)

    @sessions.pass_session
    def add(session: Session, name: str) -> None:
        session.add(User(username=name))
        with contextlib.suppress(UniqueViolation):
            session.flush()

    add("ann")
    with pytest.raises(SystemExit) as left:
        add("ann")
    assert left.value.code == 65


@in_threads
def test_no_code_promises_that_nothing_was_changed_by_scopes_of_its_own(world: World) -> None:
    db = world.db
    sessions = AnySessions(db, opens=False)

    @sessions.command
    def add() -> None:
        with db.session() as session:
            session.add(User(username="ann"))
        with db.session():
            raise RetryRequested

    with pytest.raises(RetryRequested):
        add()
    assert world.usernames() == ["ann"]


@in_asyncio
async def test_coroutine_functions(world: World) -> None:
    db = world.db
    sessions = AnySessions(db)

    @sessions.command
    async def add(name: str, code: int) -> None:
        db.current.add(User(username=name))
        await db.current.flush()
        sys.exit(code)

    @sessions.pass_session
    async def given(session: Any, name: str) -> Any:
        session.add(User(username=name))
        await session.flush()
        return await session.scalar("SELECT count(*) FROM users")

    for name, code in (("ann", 0), ("bob", 2)):
        with pytest.raises(SystemExit) as left:
            await asyncio.to_thread(add, name, code)
        assert left.value.code == code
    assert world.usernames() == ["ann"]
    assert await asyncio.to_thread(given, "cyd") == 2
    with pytest.raises(SystemExit) as left:
        await asyncio.to_thread(given, "cyd")
    assert left.value.code == 65

    @sessions.command
    async def outer() -> None:
        db.current.add(User(username="dan"))
        again: Any = add("eve", 0)  # it is part of this one
        with pytest.raises(SystemExit):
            await again
        raise LookupError

    with pytest.raises(LookupError):
        await asyncio.to_thread(outer)
    assert world.usernames() == ["ann", "cyd"]


@in_threads
def test_what_is_wrong_is_said(world: World) -> None:
    with pytest.raises(InvalidOption):
        Sessions(world.db).command(colour=1)
    with pytest.raises(InvalidOption, match="is for tasks"):
        Sessions(world.db, once=Inbox(world.db))
    told = AnySessions(world.db)._code(CommitUnknown("lost"), None)
    assert told == 74
