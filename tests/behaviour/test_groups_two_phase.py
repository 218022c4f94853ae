"""Units of several databases that are applied in all of them or in none, whoever dies when."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from hermetic import (
    CommitUnknown,
    ConfigurationError,
    Database,
    Group,
    HermeticError,
    InvalidOption,
    InvalidStatement,
    Outcome,
    Recovery,
    RolledBack,
    UniqueViolation,
    coordinator,
)
from hermetic.coordinator import Coordinator
from hermetic.decisions import FileLog
from hermetic.dialects.two_phase import PostgreSQLTwoPhase
from hermetic.proof import new_token
from tests.backends import BACKENDS, Backend
from tests.behaviour.aftermath import (
    busy,
    eventually,
    lent,
    on_postgresql,
    on_servers,
    on_servers_in_asyncio,
)
from tests.behaviour.ledgers import Entry, Pair, create, do, log_of, name_of, pair, rows, seen
from tests.behaviour.units_killed import group_of
from tests.behaviour.watching import Boom
from tests.databases import FreshUrl
from tests.models import User
from tests.proxy import Proxy
from tests.worlds import World

LOGS = ("main", "audit", "file")
PREPARE = {
    "postgresql": re.compile(rb"PREPARE TRANSACTION"),
    "mariadb": re.compile(rb"XA PREPARE"),
}
FINISH = {
    "postgresql": re.compile(rb"COMMIT PREPARED"),
    "mariadb": re.compile(rb"XA COMMIT"),
}
# seconds for a killed process's server to notice
_MOMENT = 5.0


@pytest.fixture
def audit_url(world: World, fresh_url: FreshUrl) -> str:
    return fresh_url(world.backend, "audit")


async def make_log(world: World, group: Any) -> None:
    if world.is_async:
        await group.acreate_log()
    else:
        group.create_log()


async def recovered(world: World, group: Any, **options: Any) -> Recovery:
    done: Recovery = await group.arecover(**options) if world.is_async else group.recover(**options)
    return done


async def nothing_left(world: World, both: Pair) -> None:
    def left() -> list[str]:
        return [*lent(both.main), *lent(both.audit), *lent(both.group)]

    await eventually(world, lambda: not left())
    assert left() == []
    assert both.prepared() == []


# ---------------------------------------------------------------- without any fault


@on_servers
@pytest.mark.parametrize("log", LOGS)
async def test_both_are_applied_or_neither(
    world: World, audit_url: str, log: str, tmp_path: Path
) -> None:
    async with pair(world, world.url, audit_url, two_phase=log_of(log, tmp_path)) as both:
        await make_log(world, both.group)
        async with world.session(both.group) as session:
            session.add_all([User(username="ann"), Entry(said="ann came")])
        assert session.outcome is Outcome.COMMITTED
        with pytest.raises(Boom):
            async with world.session(both.group) as session:
                session.add_all([User(username="bob"), Entry(said="bob came")])
                await session.flush()
                raise Boom
        with pytest.raises(UniqueViolation):
            async with world.session(both.group) as session:
                session.add_all([User(username="cem"), Entry(said="ann came")])
        async with world.session(both.group, isolation="SERIALIZABLE") as session:
            session.add_all([User(username="dan"), Entry(said="dan came")])
            async with world.session(both.group, propagation="nested") as inner:
                inner.add_all([User(username="eva"), Entry(said="eva came")])

        assert both.users() == ["ann", "dan", "eva"]
        assert both.entries() == ["ann came", "dan came", "eva came"]
        await nothing_left(world, both)
        assert await recovered(world, both.group, grace=0) == Recovery()


@on_servers
async def test_one_database_alone_is_not_prepared(world: World, audit_url: str) -> None:
    with Proxy(audit_url) as proxy:
        async with pair(world, world.url, audit_url, through=proxy.url, two_phase=True) as both:
            await make_log(world, both.group)
            async with world.session(both.group) as session:
                session.add(Entry(said="ann came"))

            assert both.entries() == ["ann came"]
            assert PREPARE[world.backend.family].search(proxy.sent) is None
            assert seen(world.url, "SELECT count(*) FROM hermetic_units") == [1]


KINDS = [
    pytest.param(first, second, id=f"{first.name}-{second.name}", marks=[
        getattr(pytest.mark, first.family), getattr(pytest.mark, second.family)])
    for first in BACKENDS
    for second in BACKENDS
    if first.family != second.family and first.is_async == second.is_async
    and second.family != "sqlite"
]  # fmt: skip


@pytest.mark.parametrize(("backend", "second"), KINDS)
async def test_any_two_kinds_are_one_unit(
    world: World, second: Backend, fresh_url: FreshUrl
) -> None:
    url = fresh_url(second, "audit")
    async with pair(world, world.url, url, two_phase=True) as both:
        await make_log(world, both.group)
        for name in ("ann", "bob"):
            async with world.session(both.group) as session:
                session.add_all([User(username=name), Entry(said=name)])

        assert both.users() == both.entries() == ["ann", "bob"]
        await nothing_left(world, both)


@on_servers
@pytest.mark.parametrize("log", ["main", "file"])
async def test_decisions_are_deleted_when_they_are_over(
    world: World, audit_url: str, log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator, "_MANY", 20)
    two_phase = log_of(log, tmp_path)
    async with pair(world, world.url, audit_url, two_phase=two_phase) as both:
        await make_log(world, both.group)

        def kept() -> int:
            if log == "file":
                return len(FileLog(two_phase).decided(0, asynchronous=False))
            rows = seen(world.url, "SELECT count(*) FROM hermetic_units WHERE decision = 1")
            return int(rows[0])

        for count in range(25):
            async with world.session(both.group) as session:
                session.add_all([User(username=f"{count}"), Entry(said=f"{count}")])
        assert kept() == 5
        await recovered(world, both.group)
        assert kept() == 0


# round trips for a part that is prepared, besides what it takes anyhow
EXTRA = {"psycopg": 1, "psycopg_async": 1, "asyncpg": 2, "pymysql": 3, "asyncmy": 4}


@on_servers
async def test_it_costs_so_many_round_trips(world: World, audit_url: str) -> None:
    trips: list[tuple[int, int]] = []
    for two_phase in (False, True):
        with Proxy(world.url) as main, Proxy(audit_url) as audit:
            group: Any = Group(
                main=Database(main.url),
                audit=Database(audit.url),
                two_phase=two_phase,
                name=name_of(world.url),
            )
            create(world.url, audit_url)
            if two_phase:
                await make_log(world, group)
            for count in range(3):
                main.forget()
                audit.forget()
                async with world.session(group) as session:
                    name = f"{two_phase} {count}"
                    session.add_all([User(username=name), Entry(said=name)])
            trips.append((len(main.requests), len(audit.requests)))
            if world.is_async:
                await group.aclose()
            else:
                group.close()

    (main_trips, audit_trips), more = trips
    assert more == (main_trips + 1, audit_trips + EXTRA[world.backend.name])


@on_servers
@pytest.mark.parametrize("log", ["main", "audit"])
async def test_units_that_deadlock_in_a_part_run_again(
    world: World, audit_url: str, log: str
) -> None:
    async with pair(world, world.url, audit_url, two_phase=log) as both:
        await make_log(world, both.group)
        for said in ("1", "2"):
            do(audit_url, f"INSERT INTO entries (id, said) VALUES ({said}, '{said}')")
        locked = [world.signal(), world.signal()]
        attempts: list[int] = []

        async def unit(mine: int) -> None:
            async for attempt in world.attempts(both.group, retry=5):
                async with attempt as session:
                    attempts.append(mine)
                    session.add(User(username=f"user {mine}"))
                    await session.flush()
                    for row in (mine, 1 - mine):
                        await session.execute(
                            text(
                                f"UPDATE entries SET said = '{row} of {mine}' WHERE id = {row + 1}"
                            ),
                            bind_arguments={"bind_key": "audit"},
                        )
                        locked[mine].set()
                        await locked[1 - mine].wait()

        assert await world.together(lambda: unit(0), lambda: unit(1)) == [None, None]
        assert len(attempts) == 3
        assert sorted(both.users()) == ["user 0", "user 1"]
        assert {said[-1] for said in both.entries()} in ({"0"}, {"1"})
        await nothing_left(world, both)


# ---------------------------------------------------------------- lost answers


CUTS: dict[str, Callable[[Proxy, re.Pattern[bytes]], object]] = {
    "before": Proxy.cut_before,
    "after": Proxy.cut_after,
}


@on_servers
@pytest.mark.parametrize("cut", CUTS)
async def test_a_lost_prepare_rolls_both_back(world: World, audit_url: str, cut: str) -> None:
    with Proxy(audit_url) as proxy:
        async with pair(world, world.url, audit_url, through=proxy.url, two_phase=True) as both:
            await make_log(world, both.group)
            with pytest.raises(HermeticError) as caught:
                async with world.session(both.group) as session:
                    session.add_all([User(username="ann"), Entry(said="ann came")])
                    await session.flush()
                    CUTS[cut](proxy, PREPARE[world.backend.family])

            assert caught.value.outcome is session.outcome is Outcome.NOT_COMMITTED  # type: ignore[attr-defined]
            assert (both.users(), both.entries()) == ([], [])
            await nothing_left(world, both)


@on_servers
@pytest.mark.parametrize("cut", CUTS)
async def test_a_lost_commit_of_what_is_decided_is_repeated(
    world: World, audit_url: str, cut: str
) -> None:
    with Proxy(audit_url) as proxy:
        async with pair(world, world.url, audit_url, through=proxy.url, two_phase=True) as both:
            await make_log(world, both.group)
            async with world.session(both.group) as session:
                session.add_all([User(username="ann"), Entry(said="ann came")])
                await session.flush()
                CUTS[cut](proxy, FINISH[world.backend.family])

            assert session.outcome is Outcome.COMMITTED
            assert (both.users(), both.entries()) == (["ann"], ["ann came"])
            await nothing_left(world, both)


@on_servers
@pytest.mark.parametrize("cut", CUTS)
async def test_a_lost_decision_is_asked_for(world: World, audit_url: str, cut: str) -> None:
    with Proxy(audit_url) as proxy:
        # the log is behind the proxy here
        async with pair(world, world.url, audit_url, through=proxy.url, two_phase="audit") as both:
            await make_log(world, both.group)

            async def unit() -> Any:
                async with world.session(both.group) as session:
                    session.add_all([User(username="ann"), Entry(said="ann came")])
                    await session.flush()
                    CUTS[cut](proxy, re.compile(rb"[\x00\x03\x0b\x0c]COMMIT;?(?:\x00|\Z)"))
                return session

            if cut == "before":
                with pytest.raises(HermeticError) as caught:
                    await unit()
                assert caught.value.outcome is Outcome.NOT_COMMITTED  # type: ignore[attr-defined]
                assert (both.users(), both.entries()) == ([], [])
            else:
                assert (await unit()).outcome is Outcome.COMMITTED
                assert (both.users(), both.entries()) == (["ann"], ["ann came"])
            await nothing_left(world, both)


@on_servers
@pytest.mark.parametrize("cut", CUTS)
async def test_a_decision_that_nobody_can_tell_of_is_left_to_a_recovery(
    world: World, audit_url: str, cut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(audit_url) as proxy:
        async with pair(world, world.url, audit_url, through=proxy.url, two_phase="audit") as both:
            await make_log(world, both.group)
            with monkeypatch.context() as patch, pytest.raises(CommitUnknown) as caught:
                patch.setattr(
                    Coordinator, "_asked", lambda *_, **__: (Outcome.UNKNOWN, "nobody answers")
                )
                async with world.session(both.group) as session:
                    session.add_all([User(username="ann"), Entry(said="ann came")])
                    await session.flush()
                    CUTS[cut](proxy, re.compile(rb"[\x00\x03\x0b\x0c]COMMIT;?(?:\x00|\Z)"))

            assert caught.value.outcome is session.outcome is Outcome.UNKNOWN
            assert "group.recover()" in str(caught.value)
            assert len(both.prepared()) == 1

            done = await recovered(world, both.group, grace=0)
            assert not done.left
            if cut == "before":
                assert (len(done.committed), len(done.rolled_back)) == (0, 1)
                assert (both.users(), both.entries()) == ([], [])
            else:
                assert (len(done.committed), len(done.rolled_back)) == (1, 0)
                assert (both.users(), both.entries()) == (["ann"], ["ann came"])
            await nothing_left(world, both)


# ---------------------------------------------------------------- cancelled


@on_servers_in_asyncio
@pytest.mark.parametrize("at", ["prepare", "finish"])
async def test_a_cancellation_in_the_end_waits_for_all_of_it(
    world: World, audit_url: str, at: str
) -> None:
    pattern = (PREPARE if at == "prepare" else FINISH)[world.backend.family]
    with Proxy(audit_url) as proxy:
        async with pair(world, world.url, audit_url, through=proxy.url, two_phase=True) as both:
            await make_log(world, both.group)
            trap = proxy.hold(pattern)

            async def unit() -> None:
                async with world.session(both.group) as session:
                    session.add_all([User(username="ann"), Entry(said="ann came")])

            task = asyncio.create_task(unit())
            await asyncio.to_thread(trap.reached.wait)
            task.cancel()
            trap.release()
            with pytest.raises(asyncio.CancelledError):
                await task

            assert (both.users(), both.entries()) == (["ann"], ["ann came"])
            await nothing_left(world, both)


@on_servers_in_asyncio
@pytest.mark.parametrize("at", ["prepare", "finish"])
async def test_what_hangs_when_it_is_cancelled_is_left_to_a_recovery(
    world: World, audit_url: str, at: str
) -> None:
    pattern = (PREPARE if at == "prepare" else FINISH)[world.backend.family]

    def audited() -> list[Any]:
        return busy(world.backend.family, partial(rows, audit_url))

    with Proxy(audit_url) as proxy:
        async with pair(
            world, world.url, audit_url, through=proxy.url, two_phase=True, cleanup_timeout=0.3
        ) as both:
            await make_log(world, both.group)
            trap = proxy.freeze_at(pattern)

            async def unit() -> None:
                async with world.session(both.group) as session:
                    session.add_all([User(username="ann"), Entry(said="ann came")])

            task = asyncio.create_task(unit())
            await asyncio.to_thread(trap.reached.wait)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            proxy.thaw()
            # what was held back arrives now, and is carried out although nobody waits for it
            assert await eventually(world, lambda: not lent(both.audit))
            assert await eventually(world, lambda: not audited())
            done = await recovered(world, both.group, grace=0)

            assert not done.left
            assert both.users() == ([] if at == "prepare" else ["ann"])
            assert both.entries() == ([] if at == "prepare" else ["ann came"])
            await nothing_left(world, both)


# ---------------------------------------------------------------- fences and others' transactions


@on_postgresql
@pytest.mark.parametrize("log", LOGS)
async def test_a_unit_that_was_taken_for_dead_commits_nothing(
    world: World, audit_url: str, log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_phase = log_of(log, tmp_path)
    async with pair(world, world.url, audit_url, two_phase=two_phase) as both:
        await make_log(world, both.group)
        done: list[Recovery] = []

        def reached(self: Coordinator, step: str, unit: str) -> None:
            if step == "deciding" and not done:
                plain = [url.replace("asyncpg", "psycopg").replace("psycopg_async", "psycopg")
                         for url in (world.url, audit_url)]  # fmt: skip
                with group_of(*plain, str(two_phase)) as other:  # type: ignore[call-arg]
                    done.append(other.recover(grace=60))
                    done.append(other.recover(grace=0))

        monkeypatch.setattr(Coordinator, "reached", reached)
        with pytest.raises(RolledBack, match="taken for dead"):
            async with world.session(both.group) as session:
                session.add_all([User(username="ann"), Entry(said="ann came")])

        assert session.outcome is Outcome.NOT_COMMITTED
        assert "younger than 60 s" in next(iter(done[0].left.values()))
        assert (len(done[1].committed), len(done[1].rolled_back)) == (0, 1)
        assert (both.users(), both.entries()) == ([], [])
        await nothing_left(world, both)


@on_postgresql
async def test_what_others_have_prepared_is_not_touched(
    world: World, audit_url: str, tmp_path: Path
) -> None:
    url = audit_url.replace("asyncpg", "psycopg").replace("psycopg_async", "psycopg")
    other_log = f"hermetic:{name_of(world.url)}:ffffffff:019000000000aaaaaaaaaaaaaaaaaaaa:audit"
    mine = f"somebody {name_of(world.url)}"
    async with pair(world, world.url, audit_url, two_phase=True) as both:
        await make_log(world, both.group)
        import psycopg

        for gid in (mine, other_log):
            with psycopg.connect(url.replace("+psycopg", "")) as own:
                own.execute(f"INSERT INTO entries (said) VALUES ('{gid[:20]}')")
                own.execute(f"PREPARE TRANSACTION '{gid}'")
        assert await recovered(world, both.group, grace=0) == Recovery()
        assert both.prepared() == [other_log, mine]
        for gid in (mine, other_log):
            do(audit_url, f"ROLLBACK PREPARED '{gid}'")


# ---------------------------------------------------------------- what is refused


def test_what_two_phase_cannot_have_is_refused_at_once(tmp_path: Path) -> None:
    lite = Database("sqlite:///:memory:")
    other = Database("sqlite:///:memory:")
    server = Database("postgresql://nobody@localhost/none")
    roach = Database("cockroachdb://nobody@localhost/none")
    pooled = Database("postgresql://nobody@localhost/none", pooler="transaction")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"main": lite, "audit": other, "two_phase": True}, "can prepare: 'audit', sqlite"),
        ({"main": lite, "audit": server, "two_phase": tmp_path / "log"}, "'main', sqlite"),
        ({"main": lite, "audit": server, "two_phase": "log"}, "names no database"),
        ({"main": lite, "audit": pooled, "two_phase": True}, "pooler"),
        ({"main": server, "audit": roach, "two_phase": True}, "'audit', cockroachdb"),
        ({"main": lite, "audit": server, "two_phase": True, "name": "a:b"}, "name"),
    ]
    for given, words in cases:
        with pytest.raises(InvalidOption, match=words):
            Group(**given)
    group = Group(main=lite, audit=server)
    for call in (group.create_log, group.recover):
        with pytest.raises(InvalidOption, match="is needed for this"):
            call()
    for each in (lite, other, server, pooled, roach):
        each.close()


def test_a_server_that_prepares_nothing_says_so() -> None:
    class Answer:
        def __init__(self, said: str) -> None:
            self.scalar = lambda: said

    class Asked:
        def __init__(self, said: str) -> None:
            self.exec_driver_sql = lambda _: Answer(said)

    problem = PostgreSQLTwoPhase().problem
    assert "max_prepared_transactions above 0" in (problem(Asked("0")) or "")
    assert problem(Asked("20")) is None


@on_servers
async def test_a_log_that_was_not_made_says_who_makes_it(
    world: World, audit_url: str, tmp_path: Path
) -> None:
    for log, error in (("main", InvalidStatement), ("file", ConfigurationError)):
        two_phase = log_of(log, tmp_path)
        async with pair(world, world.url, audit_url, two_phase=two_phase) as both:
            with pytest.raises(error) as caught:
                async with world.session(both.group) as session:
                    session.add_all([User(username="ann"), Entry(said="ann came")])
            said = " ".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
            assert "group.create_log()" in said
            await nothing_left(world, both)


# ---------------------------------------------------------------- the log as a file


def test_a_line_that_a_crash_has_cut_off_is_no_decision(tmp_path: Path) -> None:
    log = FileLog(tmp_path / "log")
    log.create(0, asynchronous=False)
    identity = log.identity(0, asynchronous=False)
    one, two, three = new_token(), new_token(), new_token()
    log.decide_alone(one, asynchronous=False)
    with log.path.open("a") as file:
        file.write(f"1 {two}")

    assert log.decided(0, asynchronous=False) == [one]
    assert log.fence(two, 0, asynchronous=False) is False
    assert log.fence(one, 0, asynchronous=False) is True
    with pytest.raises(RolledBack):
        log.decide_alone(two, asynchronous=False)
    log.decide_alone(three, asynchronous=False)
    assert log.known({one, two}, 0, asynchronous=False) == {one: True, two: False}
    log.forget({one}, 0, asynchronous=False)
    assert log.decided(0, asynchronous=False) == [three]
    assert log.known({two}, 0, asynchronous=False) == {two: False}
    log.create(0, asynchronous=False)
    assert log.identity(0, asynchronous=False) == identity
