"""The seven propagations: with nothing open, in a transaction, in a scope without one."""

from __future__ import annotations

from typing import Any

import pytest

from hermetic import NoScope, Outcome, RolledBack, Scope, ScopeControls, ScopeRefused
from tests.behaviour.aftermath import check_nothing_left, lent, on
from tests.behaviour.watching import Boom, Sent, plain_session
from tests.models import User
from tests.worlds import World

# On SQLite the writer is one connection, so that a second transaction inside a first needs readers.
on_two_writers = on(lambda backend: backend.family != "sqlite")


def entry(session: Any, world: World) -> str:
    """How the innermost scope began."""
    innermost = max(world.db.snapshot().scopes, key=lambda scope: scope.number)
    scope = next(s for s in world.db.registry.scopes.values() if s.number == innermost.number)
    assert scope.root.session is plain_session(session)
    return str(scope.entry)


# ---------------------------------------------------------------- the table


@pytest.mark.parametrize(
    ("propagation", "begins"),
    [
        ("required", "transaction"),
        ("requires_new", "transaction"),
        ("nested", "transaction"),
        ("supports", "plain"),
        ("not_supported", "plain"),
        ("never", "plain"),
    ],
)
async def test_with_nothing_open(world: World, propagation: str, begins: str) -> None:
    async with world.session(propagation=propagation) as session:
        began = entry(session, world)
        session.add(User(username="ann"))

    assert began == begins
    assert world.usernames() == ["ann"]
    assert lent(world.db) == []


async def test_mandatory_with_nothing_open_is_refused(world: World) -> None:
    with pytest.raises(ScopeRefused, match="mandatory"):
        async with world.session(propagation="mandatory"):
            pass

    assert lent(world.db) == []


@pytest.mark.parametrize(
    ("propagation", "begins"),
    [
        ("required", "join"),
        ("nested", "savepoint"),
        ("mandatory", "join"),
        ("supports", "join"),
    ],
)
async def test_inside_a_transaction_with_its_session(
    world: World, propagation: str, begins: str
) -> None:
    async with world.session() as outer, world.session(propagation=propagation) as inner:
        began = entry(inner, world)
        same = plain_session(inner) is plain_session(outer)
        inner.add(User(username="ann"))

    assert (began, same) == (begins, True)
    assert world.usernames() == ["ann"]


@pytest.mark.parametrize(
    ("propagation", "begins"), [("requires_new", "transaction"), ("not_supported", "plain")]
)
async def test_inside_a_transaction_beside_it(world: World, propagation: str, begins: str) -> None:
    async with (
        world.session() as outer,
        world.session(propagation=propagation, readonly=True) as inner,
    ):
        began = entry(inner, world)
        same = plain_session(inner) is plain_session(outer)
        seen = await inner.scalar("SELECT count(*) FROM users")

    assert (began, same, seen) == (begins, False, 0)


async def test_never_inside_a_transaction_is_refused(world: World) -> None:
    async with world.session() as session:
        session.add(User(username="ann"))
        with pytest.raises(ScopeRefused, match="never"):
            async with world.session(propagation="never"):
                pass

    assert session.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann"]


@pytest.mark.parametrize("propagation", ["required", "requires_new", "nested"])
async def test_inside_a_plain_scope_a_transaction_of_its_own(
    world: World, propagation: str
) -> None:
    async with world.session(propagation="supports") as plain:
        async with world.session(propagation=propagation) as inner:
            began = entry(inner, world)
            inner.add(User(username="ann"))
        committed = world.usernames()
        own = plain_session(inner) is not plain_session(plain)

    assert (began, own, committed) == ("transaction", True, ["ann"])
    assert inner.outcome is Outcome.COMMITTED


@pytest.mark.parametrize("propagation", ["supports", "not_supported", "never"])
async def test_inside_a_plain_scope_its_session(world: World, propagation: str) -> None:
    async with (
        world.session(propagation="supports") as plain,
        world.session(propagation=propagation) as inner,
    ):
        began = entry(inner, world)
        same = plain_session(inner) is plain_session(plain)

    assert (began, same) == ("join", True)


async def test_mandatory_inside_a_plain_scope_is_refused(world: World) -> None:
    async with world.session(propagation="supports"):
        with pytest.raises(ScopeRefused, match="mandatory"):
            async with world.session(propagation="mandatory"):
                pass

    assert lent(world.db) == []


# ---------------------------------------------------------------- scopes of their own


@on_two_writers
async def test_requires_new_commits_although_the_outer_one_fails(world: World) -> None:
    with pytest.raises(Boom):
        async with world.session() as outer:
            outer.add(User(username="outer"))
            await outer.flush()
            async with world.session(propagation="requires_new") as inner:
                inner.add(User(username="inner"))
            raise Boom

    assert inner.outcome is Outcome.COMMITTED
    assert outer.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == ["inner"]


@on_two_writers
async def test_a_failed_requires_new_does_the_outer_one_no_harm(world: World) -> None:
    async with world.session() as outer:
        outer.add(User(username="outer"))
        await outer.flush()
        with pytest.raises(Boom):
            async with world.session(propagation="requires_new") as inner:
                inner.add(User(username="inner"))
                await inner.flush()
                raise Boom

    assert inner.outcome is Outcome.NOT_COMMITTED
    assert outer.outcome is Outcome.COMMITTED
    assert world.usernames() == ["outer"]


async def test_requires_new_does_not_see_the_outer_ones_writes(world: World) -> None:
    async with world.session() as outer:
        outer.add(User(username="outer"))
        await outer.flush()
        async with world.session(propagation="requires_new", readonly=True) as inner:
            seen = await inner.scalar("SELECT count(*) FROM users")

    assert seen == 0
    assert world.usernames() == ["outer"]


async def test_a_plain_scope_commits_each_statement(world: World) -> None:
    with pytest.raises(Boom):
        async with world.session(propagation="supports") as session:
            await session.execute("INSERT INTO users (username, balance) VALUES ('ann', 0)")
            seen = world.usernames()
            raise Boom

    assert seen == ["ann"]
    assert world.usernames() == ["ann"]
    await check_nothing_left(world)


async def test_a_plain_scope_leaves_no_autocommit_behind(world: World) -> None:
    async with world.session(propagation="supports") as session:
        await session.execute("SELECT 1")

    with pytest.raises(Boom):
        async with world.session() as session:
            await session.execute("INSERT INTO users (username, balance) VALUES ('ann', 0)")
            raise Boom

    assert world.usernames() == []


async def test_a_plain_scope_reads_new_commits_at_once(world: World) -> None:
    async with world.session(propagation="not_supported") as session:
        before = await session.scalar("SELECT count(*) FROM users")
        world.do("INSERT INTO users (username, balance) VALUES ('ann', 0)")
        after = await session.scalar("SELECT count(*) FROM users")

    assert (before, after) == (0, 1)


async def test_a_plain_scope_has_no_rollback_to_ask_for(world: World) -> None:
    async with world.session(propagation="supports") as session:
        with pytest.raises(ScopeControls, match="no transaction"):
            session.rollback_only()


# ---------------------------------------------------------------- joining


async def test_a_joined_scope_ends_nothing(world: World) -> None:
    sent = Sent(world)

    async with world.session() as outer:
        async with world.session() as inner:
            inner.add(User(username="ann"))
            ended = [word for word in sent.statements if word in ("COMMIT", "ROLLBACK")]
        during = outer.outcome
        outer.add(User(username="bob"))

    assert (ended, during) == ([], None)
    assert sent.statements.count("COMMIT") == 1
    assert world.usernames() == ["ann", "bob"]


async def test_a_joined_scope_shares_the_outcome_of_the_whole(world: World) -> None:
    scopes: list[Scope] = []

    async with world.session(name="outer"):
        async with world.session(name="inner"):
            scopes.extend(world.db.registry.scopes.values())
        inner = next(scope for scope in scopes if scope.name == "inner")
        during = inner.outcome

    assert during is None
    assert inner.ended
    assert inner.outcome is Outcome.COMMITTED


async def test_the_current_session_is_that_of_the_innermost_scope(world: World) -> None:
    db = world.db
    async with world.session() as outer:
        async with world.session(propagation="requires_new") as inner:
            inside = plain_session(world.face(db.current))
        outside = plain_session(world.face(db.current))

    assert inside is plain_session(inner)
    assert outside is plain_session(outer)
    with pytest.raises(NoScope):
        _ = db.current


# ---------------------------------------------------------------- demands


async def test_writing_inside_a_read_only_scope_is_refused_at_entry(world: World) -> None:
    async with world.session(readonly=True, name="reading"):
        with pytest.raises(ScopeRefused, match="read-only") as caught:
            async with world.session(readonly=False):
                pass

    assert "reading" in str(caught.value)
    assert lent(world.db) == []


@pytest.mark.parametrize("propagation", ["required", "nested", "mandatory", "supports"])
async def test_every_way_of_joining_refuses_a_stronger_demand(
    world: World, propagation: str
) -> None:
    async with world.session(readonly=True) as outer:
        with pytest.raises(ScopeRefused):
            async with world.session(propagation=propagation, readonly=False):
                pass
        seen = await outer.scalar("SELECT count(*) FROM users")

    assert seen == 0


async def test_asking_for_nothing_inside_a_read_only_scope_joins_it(world: World) -> None:
    async with world.session(readonly=True) as outer, world.session() as inner:
        same = plain_session(inner) is plain_session(outer)
        async with world.session(readonly=True):
            pass

    assert same


@on_two_writers
async def test_a_stronger_isolation_inside_a_weaker_one_is_refused(world: World) -> None:
    async with world.session(isolation="READ COMMITTED") as session:
        with pytest.raises(ScopeRefused, match="SERIALIZABLE"):
            async with world.session(isolation="SERIALIZABLE"):
                pass
        session.add(User(username="ann"))

    assert world.usernames() == ["ann"]


@on_two_writers
async def test_a_weaker_isolation_joins(world: World) -> None:
    async with (
        world.session(isolation="SERIALIZABLE") as session,
        world.session(isolation="READ COMMITTED") as inner,
    ):
        inner.add(User(username="ann"))

    assert session.outcome is Outcome.COMMITTED


async def test_the_servers_own_isolation_is_no_upgrade(world: World) -> None:
    default = world.db.family.default_isolation

    async with world.session() as outer, world.session(isolation=default.value) as inner:
        same = plain_session(inner) is plain_session(outer)

    assert same


async def test_a_stronger_demand_is_met_by_requires_new(world: World) -> None:
    async with (
        world.session(readonly=True),
        world.session(propagation="requires_new", readonly=False) as inner,
    ):
        inner.add(User(username="ann"))

    assert world.usernames() == ["ann"]


# ---------------------------------------------------------------- decorated


async def test_a_unit_called_inside_a_scope_joins_it(world: World) -> None:
    @world.unit()
    async def add(session: Any, name: str) -> Any:
        session.add(User(username=name))
        return plain_session(session)

    async with world.session() as outer:
        same = await add("ann") is plain_session(outer)
        seen = world.usernames()

    assert same
    assert seen == []
    assert world.usernames() == ["ann"]


async def test_a_failed_unit_whose_error_is_swallowed_dooms_its_caller(world: World) -> None:
    @world.unit()
    async def fail(session: Any) -> None:
        raise Boom("inside")

    with pytest.raises(RolledBack) as caught:
        async with world.session() as outer:
            outer.add(User(username="ann"))
            with pytest.raises(Boom):
                await fail()

    assert isinstance(caught.value.__cause__, Boom)
    assert world.usernames() == []
