"""The state of a process: everything that is open, waits, has ended or was found, as JSON."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from hermetic import Database, Group, Outcome, Watch
from hermetic.inspector import State, scope_of, state_of
from hermetic.inspector.shape import DatabaseState, ScopeState
from hermetic.known import all_open
from hermetic.shards import Shards
from tests import worlds
from tests.behaviour.aftermath import on
from tests.inspector.quiet import QUIET
from tests.models import User
from tests.worlds import PATIENCE, World

one_of_each_world = on(lambda backend: backend.name in ("psycopg", "asyncpg", "pymysql", "sqlite"))
in_threads = on(lambda backend: backend.name in ("psycopg", "pymysql", "sqlite"))


def only(state: State) -> DatabaseState:
    (found,) = state["databases"]
    assert json.loads(json.dumps(state)) == state, "it is what JSON has"
    return found


def scope_named(state: DatabaseState, name: str) -> ScopeState:
    (found,) = [each for each in state["scopes"] if each["name"] == name]
    return found


@one_of_each_world
async def test_an_open_scope_is_told_with_what_it_is_at(world: World) -> None:
    db = world.database(watch=Watch(**QUIET), pool_size=1)
    async with world.session(db, name="outer", timeout=60) as session:
        before = only(state_of(db))
        await session.execute("SELECT 'a secret'")
        async with world.session(db, name="joined"):
            during = only(state_of(db))

    assert scope_named(before, "outer")["phase"] == "open"
    outer, joined = scope_named(during, "outer"), scope_named(during, "joined")
    assert (outer["phase"], outer["statements"], outer["root"]) == ("idle", 1, None)
    assert (joined["root"], joined["depth"]) == (outer["number"], 1)
    assert outer["last_statement"] == "SELECT '…'"
    assert outer["idle"] is not None
    assert outer["left"] is not None
    assert 0 < outer["left"] <= 60
    (connection,) = during["connections"]
    assert connection["scope"] == outer["number"] == during["pools"][0]["holders"][0]["scope"]
    assert connection["number"] == outer["connection"]
    after = only(state_of(db))
    assert (after["scopes"], after["open_scopes"]) == ([], 0)
    assert after["connections"][0]["idle"] is not None
    assert after["history"] is not None
    assert [each["name"] for each in after["history"]["recent"]] == ["outer"]


@in_threads
def test_who_waits_for_a_connection_is_told(world: World) -> None:
    db = world.database(watch=Watch(**QUIET), pool_size=1)
    waiting = threading.Thread(target=_ask, args=(db,), name="the one in line")
    with db.session(name="holding") as session:
        session.execute("SELECT 1")
        waiting.start()
        try:
            state = _state_when(db, lambda found: found["pools"][0]["waiting"] == 1)
            detail = scope_of(scope_named(state, "in line")["number"], db)
        finally:
            session.rollback_only()
    waiting.join(PATIENCE)

    pool = state["pools"][0]
    assert [each["scope"] for each in pool["holders"]] == [scope_named(state, "holding")["number"]]
    in_line = scope_named(state, "in line")
    assert [each["scope"] for each in pool["waiters"]] == [in_line["number"]]
    assert "the one in line" in pool["waiters"][0]["owner"]
    assert (in_line["phase"], in_line["statements"]) == ("waiting", 0)
    assert 0 < in_line["waited"] <= in_line["age"]
    assert detail is not None
    assert detail["live"] is not None
    assert detail["live"]["phase"] == "waiting"
    assert any("in _ask" in line for line in detail["stack"])


def _ask(db: Database) -> None:
    with db.session(name="in line") as session:
        session.execute("SELECT 1")


def _state_when(db: Database, holds: Callable[[DatabaseState], bool]) -> DatabaseState:
    for _ in range(int(PATIENCE * 100)):
        state = only(state_of(db))
        if holds(state):
            return state
        threading.Event().wait(0.01)
    raise AssertionError(state)


@one_of_each_world
async def test_an_ended_scope_can_be_asked_for_by_its_number(world: World) -> None:
    db = world.database(watch=Watch(**QUIET))
    with pytest.raises(ZeroDivisionError):
        async with world.session(db, name="failing") as session:
            for _ in range(3):
                await session.execute("SELECT 1")
            raise ZeroDivisionError

    history = only(state_of(db, steps=2))["history"]
    assert history is not None
    (failed,) = history["failed"]
    assert (failed["error"], failed["outcome"]) == ("ZeroDivisionError", "NOT_COMMITTED")
    assert (len(failed["steps"]), failed["statements"]) == (2, 3)
    assert (history["names"][0]["name"], history["names"][0]["failed"]) == ("failing", 1)
    assert sum(point["count"] for point in history["timeline"]) == 1
    detail = scope_of(failed["number"], db)
    assert detail is not None
    assert len(detail["steps"]) == 3
    assert (detail["live"], detail["database"]) == (None, db.name)
    assert scope_of(failed["number"] + 10**9, db) is None
    assert scope_of(failed["number"], db, database="another") is None


@one_of_each_world
async def test_a_finding_leads_to_its_line_and_its_scope(world: World) -> None:
    db = world.database(watch=Watch(**QUIET, repeats=2))
    async with world.session(db, name="again") as session:
        for number in range(4):
            await session.execute(select(User.id).where(User.id == number))

    (finding,) = only(state_of(db))["findings"]
    assert finding["code"] == "repeated-statement"
    # the statement is sent from the test's file, or from the one that makes both worlds alike
    assert finding["file"] in (__file__, worlds.__file__)
    assert finding["place"].startswith(f"{finding['file']}:{finding['line']} in ")
    assert finding["scope"] is not None
    assert finding["scope"]["name"] == "again"
    assert scope_of(finding["scope"]["number"], db) is not None
    assert only(state_of(db))["findings"][0]["id"] == finding["id"], "ids do not change"


def test_a_database_that_nobody_watches_is_told_as_far_as_it_is_known(tmp_path: Path) -> None:
    with Database(f"sqlite:///{tmp_path}/plain.db") as db:
        with db.session(name="plain") as session:
            session.execute("SELECT 1")
            state = only(state_of(db))
            detail = scope_of(state["scopes"][0]["number"], db)

        assert (state["watched"], state["history"], state["findings"]) == (False, None, [])
        assert state["scopes"][0]["phase"] == "idle"
        assert detail is not None
        assert (detail["watched"], detail["statements"], detail["steps"]) == (False, 1, [])
        assert only(state_of(db))["counters"]["committed"] == 1


def test_every_open_database_of_the_process_is_found_with_its_group(tmp_path: Path) -> None:
    one = Database(f"sqlite:///{tmp_path}/one.db", name="same")
    two = Database(f"sqlite:///{tmp_path}/two.db", name="same")
    with Group(one=one, two=two, name="both") as group:
        with group.session(name="in both") as session:
            session.execute("SELECT 1")
            told = {each["id"]: each for each in state_of(group)["databases"]}
        assert {one, two, group} <= set(all_open())
        assert told["both"]["members"] == ["same", "same #2"]
        assert [scope["name"] for scope in told["both"]["scopes"]] == ["in both"]
        (part,) = told["same"]["scopes"]
        assert part["root"] == told["both"]["scopes"][0]["number"]
        assert told["same"]["pools"][0]["holders"][0]["scope"] == part["number"]
    assert not {one, two, group} & set(all_open()), "those that are closed are no more"


def test_shards_are_told_as_their_databases(tmp_path: Path) -> None:
    urls = {name: f"sqlite:///{tmp_path}/{name}.db" for name in ("east", "west")}
    with Shards(urls) as shards:
        assert [each["id"] for each in state_of(shards)["databases"]] == ["east", "west"]


def test_a_database_that_nobody_keeps_is_forgotten(tmp_path: Path) -> None:
    db: Any = Database(f"sqlite:///{tmp_path}/gone.db", name="soon gone")
    assert "soon gone" in [each.name for each in all_open()]
    del db
    gc.collect()
    assert "soon gone" not in [each.name for each in all_open()]


def test_no_password_is_told(tmp_path: Path) -> None:
    with Database("postgresql://ann:hunter2@localhost/x?sslpassword=hunter2", name="x") as db:
        assert "hunter2" not in json.dumps(state_of(db))


def test_an_outcome_is_told_by_its_name() -> None:
    assert [outcome.name for outcome in Outcome] == ["COMMITTED", "NOT_COMMITTED", "UNKNOWN"]
