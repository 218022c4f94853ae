"""Several databases as one unit: one session, commits in their declared order, a true report."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from sqlalchemy import event, func, select, text

from hermetic import (
    CommitUnknown,
    ConnectionLost,
    Database,
    DatabaseClosed,
    DatabasePerTenant,
    DeadlineExceeded,
    Group,
    InvalidOption,
    NoScope,
    Outcome,
    PartialCommit,
    ReadOnlyScope,
    RetryRequested,
    ScopeControls,
    ScopeFinished,
    ScopeRefused,
    UniqueViolation,
)
from tests.backends import BACKENDS, Backend
from tests.behaviour.aftermath import eventually, lent, on_servers, on_servers_in_asyncio
from tests.behaviour.ledgers import Entry, Journal, Pair, do, pair
from tests.behaviour.watching import SLOW, Boom, engine_of, plain_session
from tests.databases import FreshUrl
from tests.models import Base, User
from tests.proxy import Proxy, Trap
from tests.worlds import World


@pytest.fixture
def audit_url(world: World, fresh_url: FreshUrl) -> str:
    return fresh_url(world.backend, "audit")


def fail_commits(world: World, db: Database, error: type[BaseException] = Boom) -> None:
    """Have every commit of a database raise before its COMMIT is sent."""

    def fail(connection: Any) -> None:
        raise error("before the COMMIT was sent")

    event.listen(engine_of(world, db), "commit", fail)


async def left_open(world: World, both: Pair) -> list[str]:
    """What is open or lent once everything had a moment to end."""

    def left() -> list[str]:
        return [*lent(both.main), *lent(both.audit), *lent(both.group)]

    await eventually(world, lambda: not left())
    return left()


# ---------------------------------------------------------------- where things go


async def test_one_session_writes_to_both_and_commits_both(world: World, audit_url: str) -> None:
    async with pair(world, world.url, audit_url) as both:
        async with world.session(both.group) as session:
            session.add_all([User(username="ann"), Entry(said="ann came")])
            await session.flush()
            inside = [len(db.snapshot().scopes) for db in (both.main, both.audit)]
            info = both.group.snapshot().scopes[0]

        assert inside == [1, 1]
        assert info.statements == 2
        assert session.outcome is Outcome.COMMITTED
        assert (both.users(), both.entries()) == (["ann"], ["ann came"])
        for db in (both.main, both.audit):
            assert db.snapshot().counters["committed"] == 1
        assert await left_open(world, both) == []


async def test_an_error_rolls_both_back(world: World, audit_url: str) -> None:
    async with pair(world, world.url, audit_url) as both:
        with pytest.raises(Boom):
            async with world.session(both.group) as session:
                session.add_all([User(username="ann"), Entry(said="ann came")])
                await session.flush()
                raise Boom

        assert session.outcome is Outcome.NOT_COMMITTED
        assert (both.users(), both.entries()) == ([], [])
        for db in (both.main, both.audit):
            assert db.snapshot().counters["not_committed"] == 1
        assert await left_open(world, both) == []


async def test_a_database_that_is_not_touched_lends_nothing(world: World, audit_url: str) -> None:
    async with pair(world, world.url, audit_url) as both:
        async with world.session(both.group) as session:
            session.add(User(username="ann"))
            await session.flush()
            assert both.audit.snapshot().scopes == ()

        assert both.audit.snapshot().connections == ()
        assert both.users() == ["ann"]


async def test_an_empty_scope_sends_nothing(world: World, audit_url: str) -> None:
    async with pair(world, world.url, audit_url) as both:
        async with world.session(both.group) as session:
            pass
        assert session.outcome is Outcome.COMMITTED
        for db in (both.main, both.audit):
            assert db.snapshot().connections == ()


async def test_strings_go_to_the_first_or_where_they_are_sent(world: World, audit_url: str) -> None:
    do_there = {"bind_arguments": {"bind_key": "audit"}}
    async with pair(world, world.url, audit_url) as both:
        async with world.session(both.group) as session:
            await session.execute("INSERT INTO users (username, balance) VALUES ('ann', 0)")
            await session.execute(text("INSERT INTO entries (said) VALUES ('hm')"), **do_there)
            read = await session.scalars(select(Entry.said))
            assert list(read) == ["hm"]
            with pytest.raises(InvalidOption, match="main, audit"):
                await session.execute(text("SELECT 1"), bind_arguments={"bind_key": "auditt"})

        assert (both.users(), both.entries()) == (["ann"], ["hm"])


async def test_a_class_and_a_base_can_be_bound_by_the_group(world: World, audit_url: str) -> None:
    binds = {Base: "audit", Entry: "main"}
    async with (
        pair(world, audit_url, world.url, binds=binds) as both,
        world.session(both.group) as session,
    ):
        assert session.get_bind(mapper=User) is engine_of(world, both.audit)
        assert session.get_bind(mapper=Entry) is engine_of(world, both.main)
        assert session.get_bind(clause=select(User.__table__)) is engine_of(world, both.audit)
        assert session.get_bind() is engine_of(world, both.main)


async def test_a_statement_over_two_databases_is_refused(world: World, audit_url: str) -> None:
    async with pair(world, world.url, audit_url) as both:
        async with world.session(both.group) as session:
            with pytest.raises(ScopeRefused, match="entries"):
                await session.execute(select(User).join(Entry, Entry.id == User.id))
            with pytest.raises(ScopeControls, match="bind_key"):
                await session.execute(text("SELECT 1"), bind_arguments={"bind": world.observer})
        assert await left_open(world, both) == []


async def test_a_read_only_group_is_read_only_in_each(world: World, audit_url: str) -> None:
    async with pair(world, world.url, audit_url) as both:
        async with world.session(both.group, readonly=True) as session:
            assert await session.scalar(select(func.count()).select_from(User)) == 0
            assert await session.scalar(select(func.count()).select_from(Entry)) == 0
        for table, key in (("users (username, balance) VALUES ('a', 0)", "main"),
                           ("entries (said) VALUES ('a')", "audit")):  # fmt: skip
            with pytest.raises(ReadOnlyScope):
                async with world.session(both.group, readonly=True) as session:
                    await session.execute(
                        text(f"INSERT INTO {table}"), bind_arguments={"bind_key": key}
                    )
        assert await left_open(world, both) == []


# ---------------------------------------------------------------- the end


async def test_commits_are_sent_in_the_declared_order(world: World, audit_url: str) -> None:
    async with pair(world, world.url, audit_url) as both:
        group: Any = Group(audit=both.audit, main=both.main)
        sent: list[str] = []
        for name, db in (("main", both.main), ("audit", both.audit)):
            listener = partial(lambda known, _: sent.append(known), name)
            event.listen(engine_of(world, db), "commit", listener)
        for _ in range(3):
            async with world.session(group) as session:
                await session.execute("SELECT 1", bind_arguments={"bind_key": "main"})
                await session.execute("SELECT 1")

        assert sent == ["audit", "main"] * 3


async def test_a_first_commit_that_fails_is_an_ordinary_error(world: World, audit_url: str) -> None:
    async with pair(world, world.url, audit_url) as both:
        fail_commits(world, both.main)
        with pytest.raises(Boom):
            async with world.session(both.group) as session:
                session.add_all([Entry(said="ann came"), User(username="ann")])

        assert session.outcome is Outcome.NOT_COMMITTED
        assert (both.users(), both.entries()) == ([], [])
        assert await left_open(world, both) == []


async def test_a_second_commit_that_fails_is_reported(world: World, audit_url: str) -> None:
    heard: list[Any] = []
    async with pair(world, world.url, audit_url) as both:
        both.audit.listen(heard.append)
        fail_commits(world, both.audit)
        ends: list[str] = []
        with pytest.raises(PartialCommit) as caught:
            async with world.session(both.group) as session:
                session.add_all([Entry(said="ann came"), User(username="ann")])
                session.on_rollback(lambda: ends.append("rolled back"))
                session.on_commit(lambda: ends.append("committed"))

        assert (caught.value.committed, caught.value.failed) == (("main",), ("audit",))
        assert caught.value.unknown == ()
        assert isinstance(caught.value, CommitUnknown)
        assert "rolled back" not in str(caught.value)
        assert caught.value.outcome is session.outcome is Outcome.UNKNOWN
        assert ends == []
        assert (both.users(), both.entries()) == (["ann"], [])
        assert both.main.snapshot().counters["committed"] == 1
        assert both.audit.snapshot().counters["not_committed"] == 1
        (finished,) = [each for each in heard if isinstance(each, ScopeFinished)]
        assert finished.outcome is Outcome.NOT_COMMITTED
        assert await left_open(world, both) == []


async def test_what_is_half_applied_is_never_run_again(world: World, audit_url: str) -> None:
    attempts: list[int] = []
    async with pair(world, world.url, audit_url) as both:
        fail_commits(world, both.audit, RetryRequested)
        with pytest.raises(PartialCommit):
            async for attempt in world.attempts(both.group, retry=5):
                async with attempt as session:
                    attempts.append(1)
                    session.add_all([Entry(said="ann came"), User(username="ann")])

        assert attempts == [1]
        assert (both.users(), both.entries()) == (["ann"], [])


async def test_what_is_not_applied_is_run_again(world: World, audit_url: str) -> None:
    attempts: list[int] = []
    async with pair(world, world.url, audit_url) as both:
        async for attempt in world.attempts(both.group, retry=5):
            async with attempt as session:
                attempts.append(1)
                session.add_all([Entry(said="ann came"), User(username="ann")])
                await session.flush()
                if len(attempts) < 2:
                    raise RetryRequested("once more")

        assert len(attempts) == 2
        assert (both.users(), both.entries()) == (["ann"], ["ann came"])


@on_servers
async def test_a_lost_answer_to_the_second_commit_is_reported_as_unknown(
    world: World, audit_url: str
) -> None:
    with Proxy(audit_url) as proxy:
        async with pair(world, world.url, audit_url, through=proxy.url) as both:
            with pytest.raises(PartialCommit) as caught:
                async with world.session(both.group) as session:
                    session.add_all([Entry(said="ann came"), User(username="ann")])
                    await session.flush()
                    proxy.cut_after()

            assert caught.value.committed == ("main",)
            assert (caught.value.failed, caught.value.unknown) == ((), ("audit",))
            assert session.outcome is Outcome.UNKNOWN
            assert (both.users(), both.entries()) == (["ann"], ["ann came"])
            assert await left_open(world, both) == []


@on_servers
async def test_a_lost_answer_to_the_first_commit_leaves_the_second_uncommitted(
    world: World, audit_url: str
) -> None:
    with Proxy(world.url) as proxy:
        async with pair(world, audit_url, world.url, through=proxy.url) as both:
            group: Any = Group(second=both.audit, first=both.main,
                          binds={Base: "first", Journal: "second"})  # fmt: skip
            with pytest.raises(PartialCommit) as caught:
                async with world.session(group) as session:
                    do_there = {"bind_arguments": {"bind_key": "second"}}
                    await session.execute(text("SELECT 1"), **do_there)
                    session.add(User(username="ann"))
                    await session.flush()
                    proxy.cut_after()

            assert (caught.value.committed, caught.value.failed) == ((), ("first",))
            assert caught.value.unknown == ("second",)
            assert both.users() == []
            assert await left_open(world, both) == []


@on_servers
async def test_a_lost_answer_with_one_database_touched_is_as_ever(
    world: World, audit_url: str
) -> None:
    with Proxy(audit_url) as proxy:
        async with pair(world, world.url, audit_url, through=proxy.url) as both:
            with pytest.raises(CommitUnknown) as caught:
                async with world.session(both.group) as session:
                    session.add(Entry(said="ann came"))
                    await session.flush()
                    proxy.cut_after()

            assert not isinstance(caught.value, PartialCommit)
            assert session.outcome is Outcome.UNKNOWN
            assert both.entries() == ["ann came"]
            assert await left_open(world, both) == []


async def test_one_database_alone_is_as_ever(world: World, audit_url: str) -> None:
    async with pair(world, world.url, audit_url) as both:
        do(world.url, "INSERT INTO users (username, balance) VALUES ('ann', 0)")
        with pytest.raises(UniqueViolation) as caught:
            async with world.session(both.group) as session:
                session.add_all([User(username="ann"), Entry(said="ann came")])

        assert caught.value.outcome is session.outcome is Outcome.NOT_COMMITTED
        assert both.entries() == []
        assert await left_open(world, both) == []


@on_servers
async def test_a_connection_that_dies_ends_both(world: World, audit_url: str) -> None:
    async with pair(world, world.url, audit_url) as both:
        with pytest.raises(ConnectionLost) as caught:
            async with world.session(both.group) as session:
                session.add_all([User(username="ann"), Entry(said="ann came")])
                await session.flush()
                (connection,) = both.audit.registry.connections.values()
                assert connection.break_off is not None
                connection.break_off()
                await session.execute(text("SELECT 1"), bind_arguments={"bind_key": "audit"})

        assert caught.value.outcome is session.outcome is Outcome.NOT_COMMITTED
        assert (both.users(), both.entries()) == ([], [])
        assert await left_open(world, both) == []


# ---------------------------------------------------------------- time and cancellation


async def test_the_deadline_holds_in_every_database(world: World, audit_url: str) -> None:
    async with pair(world, world.url, audit_url) as both:
        with pytest.raises(DeadlineExceeded):
            async with world.session(both.group, timeout=0.3) as session:
                session.add(User(username="ann"))
                await session.flush()
                await session.execute(
                    SLOW[world.backend.family], bind_arguments={"bind_key": "audit"}
                )

        assert session.outcome is Outcome.NOT_COMMITTED
        assert both.users() == []
        assert await left_open(world, both) == []


async def test_the_deadline_of_a_joined_scope_holds_in_every_database(
    world: World, audit_url: str
) -> None:
    async with pair(world, world.url, audit_url) as both:
        with pytest.raises(DeadlineExceeded):
            async with world.session(both.group) as session:
                session.add_all([User(username="ann"), Entry(said="ann came")])
                await session.flush()
                async with world.session(both.group, timeout=0.3) as inner:
                    assert plain_session(inner) is plain_session(session)
                    await inner.execute(
                        SLOW[world.backend.family], bind_arguments={"bind_key": "audit"}
                    )

        assert (both.users(), both.entries()) == ([], [])
        assert await left_open(world, both) == []


@on_servers_in_asyncio
async def test_a_cancellation_rolls_both_back(world: World, audit_url: str) -> None:
    async with pair(world, world.url, audit_url) as both:
        begun = asyncio.Event()

        async def work() -> None:
            async with world.session(both.group) as session:
                session.add_all([User(username="ann"), Entry(said="ann came")])
                await session.flush()
                begun.set()
                await session.execute(
                    SLOW[world.backend.family], bind_arguments={"bind_key": "audit"}
                )

        task = asyncio.create_task(work())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert (both.users(), both.entries()) == ([], [])
        assert await left_open(world, both) == []


@on_servers_in_asyncio
async def test_a_cancellation_in_a_commit_waits_for_both(world: World, audit_url: str) -> None:
    with Proxy(audit_url) as proxy:
        async with pair(world, world.url, audit_url, through=proxy.url) as both:
            traps: asyncio.Queue[Trap] = asyncio.Queue()

            async def work() -> None:
                async with world.session(both.group) as session:
                    session.add_all([User(username="ann"), Entry(said="ann came")])
                    await session.flush()
                    traps.put_nowait(proxy.hold())

            task = asyncio.create_task(work())
            trap = await traps.get()
            await asyncio.to_thread(trap.reached.wait)
            task.cancel()
            trap.release()
            with pytest.raises(asyncio.CancelledError):
                await task

            assert (both.users(), both.entries()) == (["ann"], ["ann came"])
            assert await left_open(world, both) == []


# ---------------------------------------------------------------- scopes within


async def test_a_nested_scope_takes_back_its_part_in_both(world: World, audit_url: str) -> None:
    async with pair(world, world.url, audit_url) as both:
        async with world.session(both.group) as session:
            session.add_all([User(username="ann"), Entry(said="ann came")])
            with pytest.raises(Boom):
                async with world.session(both.group, propagation="nested") as inner:
                    inner.add_all([User(username="bob"), Entry(said="bob came")])
                    await inner.flush()
                    raise Boom
            async with world.session(both.group, propagation="nested") as inner:
                inner.add_all([User(username="cem"), Entry(said="cem came")])

        assert both.users() == ["ann", "cem"]
        assert both.entries() == ["ann came", "cem came"]


async def test_a_failed_savepoint_in_one_dooms_the_whole(world: World, audit_url: str) -> None:
    async with pair(world, world.url, audit_url) as both:

        def fail(*args: Any) -> None:
            raise Boom

        event.listen(engine_of(world, both.audit), "release_savepoint", fail)
        with pytest.raises(Boom):
            async with (
                world.session(both.group) as session,
                world.session(both.group, propagation="nested") as inner,
            ):
                inner.add_all([User(username="bob"), Entry(said="bob came")])

        assert session.outcome is Outcome.NOT_COMMITTED
        assert (both.users(), both.entries()) == ([], [])
        assert await left_open(world, both) == []


async def test_a_joined_scope_shares_the_session_and_the_current_one_is_found(
    world: World, audit_url: str
) -> None:
    async with pair(world, world.url, audit_url) as both:
        with pytest.raises(NoScope):
            _ = both.group.current
        async with world.session(both.group) as session:
            async with world.session(both.group) as inner:
                inner.add(Entry(said="hm"))
            found = world.face(both.group.current)
            assert plain_session(found) is plain_session(session) is plain_session(inner)
            with pytest.raises(NoScope):
                _ = both.main.current
        assert both.entries() == ["hm"]


async def test_neither_a_database_joins_its_group_nor_the_other_way_round(
    world: World, audit_url: str
) -> None:
    async with pair(world, world.url, audit_url) as both:
        async with world.session(both.group):
            with pytest.raises(ScopeRefused, match="requires_new"):
                async with world.session(both.main):
                    pass
        async with world.session(both.main):
            with pytest.raises(ScopeRefused, match="requires_new"):
                async with world.session(both.group):
                    pass
            async with world.session(both.group, propagation="requires_new") as own:
                own.add(Entry(said="apart"))
        assert both.entries() == ["apart"]
        assert await left_open(world, both) == []


async def test_a_decorated_function_is_a_unit_over_both(world: World, audit_url: str) -> None:
    async with pair(world, world.url, audit_url) as both:

        @world.unit(both.group, retry=3)
        async def came(session: Any, name: str) -> str:
            session.add_all([User(username=name), Entry(said=f"{name} came")])
            return name

        assert await came("ann") == "ann"
        assert (both.users(), both.entries()) == (["ann"], ["ann came"])


# ---------------------------------------------------------------- several kinds


KINDS = [
    pytest.param(first, second, id=f"{first.name}-{second.name}", marks=[
        getattr(pytest.mark, first.family), getattr(pytest.mark, second.family)])
    for first in BACKENDS
    for second in BACKENDS
    if first.family != second.family and first.is_async == second.is_async
]  # fmt: skip


@pytest.mark.parametrize(("backend", "second"), KINDS)
async def test_any_two_kinds_are_one_unit(
    world: World, second: Backend, fresh_url: FreshUrl
) -> None:
    async with pair(world, world.url, fresh_url(second, "audit")) as both:
        async with world.session(both.group) as session:
            session.add_all([User(username="ann"), Entry(said="ann came")])
        with pytest.raises(Boom):
            async with world.session(both.group) as session:
                session.add_all([User(username="bob"), Entry(said="bob came")])
                await session.flush()
                raise Boom
        fail_commits(world, both.audit)
        with pytest.raises(PartialCommit):
            async with world.session(both.group) as session:
                session.add_all([User(username="cem"), Entry(said="cem came")])

        assert both.users() == ["ann", "cem"]
        assert both.entries() == ["ann came"]
        assert await left_open(world, both) == []


# ---------------------------------------------------------------- what a group is not


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "name at least one"),
        ({"mian": 1}, "not an option of a Group"),
        ({"pool_size": 3}, "not an option of a Group"),
        ({"binds": {Entry: "nowhere"}}, "names no database"),
        ({"binds": {"Entry": "main"}}, "no class, table or MetaData"),
        ({"after": "0/1"}, "nothing that a scope over several"),
        ({"isolation": "READ COMMITTED"}, "SQLite|sqlite"),
    ],
)
def test_what_a_group_cannot_have_is_refused_at_once(given: dict[str, Any], words: str) -> None:
    with Database("sqlite:///:memory:") as db:
        databases: dict[str, Any] = {} if words == "name at least one" else {"main": db}
        with pytest.raises(InvalidOption, match=words):
            Group(**databases, **given)


def test_a_database_with_what_a_group_lacks_is_refused() -> None:
    tenants = DatabasePerTenant(url="sqlite:///{tenant}.db")
    for options in ({"tenants": tenants}, {"resolve_commits": "token"}):
        with (
            Database("sqlite:///:memory:", **options) as db,
            pytest.raises(InvalidOption, match="cannot have in a group"),
        ):
            Group(main=db)
    with Database("sqlite:///:memory:") as db, pytest.raises(InvalidOption, match="the same"):
        Group(main=db, audit=db)


def test_a_group_with_a_closed_database_takes_no_scopes() -> None:
    one, two = Database("sqlite:///:memory:"), Database("sqlite:///:memory:")
    group = Group(one=one, two=two, name="both")
    assert repr(group) == "<Group 'both' open, 0 scopes, one, two>"
    two.close()
    with pytest.raises(DatabaseClosed), group.session():
        pass
    group.close()
    assert repr(group) == "<Group 'both' closed, 0 scopes, one, two>"
