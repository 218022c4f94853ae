"""Messages are sent when, and only when, the scope that put them has committed."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import pytest

from hermetic import (
    InvalidOption,
    NoScope,
    ReadOnlyScope,
    RetryRequested,
    ScopeControls,
    ScopeRefused,
    Session,
)
from hermetic.outbox import AsyncRelay, Inbox, Message, Outbox, Relay
from tests.models import User
from tests.worlds import PATIENCE, Face, World


class Failure(Exception):
    pass


class Broker:
    """Where messages go; it refuses those that it is told to."""

    def __init__(self, world: World) -> None:
        self.got: list[Message] = []
        self.refused: set[str] = set()
        self._asynchronous = world.is_async

    @property
    def payloads(self) -> list[Any]:
        return [message.payload for message in self.got]

    def _take(self, message: Message) -> None:
        if message.topic in self.refused:
            raise Failure(message.topic)
        self.got.append(message)

    @property
    def send(self) -> Any:
        async def send(message: Message) -> None:
            self._take(message)

        return send if self._asynchronous else self._take


@pytest.fixture
def broker(world: World) -> Broker:
    return Broker(world)


async def made(world: World, **options: Any) -> Outbox:
    box = Outbox(world.db, **options)
    await ask(world, box, "create")
    return box


async def ask(world: World, of: Any, what: str, *args: Any) -> Any:
    """Call a method that there is for both worlds."""
    if world.is_async:
        return await getattr(of, f"a{what}")(*args)
    return getattr(of, what)(*args)


async def drain(world: World, box: Outbox, send: Any, **options: Any) -> Any:
    relay: Any = box.relay(send, **{"pause": 0.0} | options)
    if world.is_async:
        assert isinstance(relay, AsyncRelay)
        await relay.drain()
    else:
        assert isinstance(relay, Relay)
        relay.drain()
    return relay


async def waiting(world: World, box: Outbox) -> tuple[int, int]:
    found = await ask(world, box, "waiting")
    return found.messages, found.parked


async def test_a_message_is_sent_after_the_commit(world: World, broker: Broker) -> None:
    box = await made(world)
    async with world.session() as session:
        session.add(User(username="ann"))
        token = box.put(
            of(session), "user.made", {"name": "ann", "n": [1, None, "é"]}, headers={"a": "b"}
        )

    relay = await drain(world, box, broker.send)

    (message,) = broker.got
    assert message.token == token
    assert message.topic == "user.made"
    assert message.payload == {"name": "ann", "n": [1, None, "é"]}
    assert message.headers == {"a": "b"}
    assert (message.key, message.sequence, message.attempts) == (None, None, 0)
    assert message.created.utcoffset() is not None
    assert relay.told.sent == 1
    assert await waiting(world, box) == (0, 0)
    assert world.usernames() == ["ann"]


async def test_what_is_rolled_back_is_never_sent(world: World, broker: Broker) -> None:
    box = await made(world)
    with pytest.raises(Failure):
        async with world.session() as session:
            box.put(of(session), "never", key="k")
            raise Failure
    async with world.session() as session:
        box.put(of(session), "never", key="k")
        session.rollback_only()

    await drain(world, box, broker.send)

    assert broker.got == []
    assert await waiting(world, box) == (0, 0)


async def test_a_savepoint_takes_its_messages_with_it(world: World, broker: Broker) -> None:
    box = await made(world)
    async with world.session() as session:
        box.put(of(session), "first", key="k")
        with pytest.raises(Failure):
            async with session.begin_nested():
                box.put(of(session), "dropped", key="k")
                raise Failure
        async with session.begin_nested():
            box.put(of(session), "second", key="k")

    await drain(world, box, broker.send)

    assert [(each.topic, each.sequence) for each in broker.got] == [("first", 1), ("second", 2)]


async def test_a_hook_before_the_commit_may_put_more(world: World, broker: Broker) -> None:
    box = await made(world)
    async with world.session() as session:
        box.put(of(session), "first", key="k")
        of(session).before_commit(lambda: box.put(of(session), "last", key="k"))

    await drain(world, box, broker.send)

    assert [(each.topic, each.sequence) for each in broker.got] == [("first", 1), ("last", 2)]


async def test_a_unit_that_is_run_again_puts_once(world: World, broker: Broker) -> None:
    box = await made(world)
    runs: list[int] = []
    async for attempt in world.attempts(retry=3):
        async with attempt as session:
            box.put(of(session), "once", len(runs), key="k")
            runs.append(1)
            if len(runs) < 3:
                raise RetryRequested("again")

    await drain(world, box, broker.send)

    assert len(runs) == 3
    assert broker.payloads == [2]


async def test_messages_of_a_key_are_in_the_order_of_the_commits(
    world: World, broker: Broker
) -> None:
    box = await made(world)
    turns: dict[str, int] = defaultdict(int)
    for _ in range(12):
        async with world.session() as session:
            for key in ("b", "a", "B"):
                turns[key] += 1
                box.put(of(session), "turn", turns[key], key=key)

    await drain(world, box, broker.send, batch=7)

    for key in ("a", "b", "B"):
        mine = [message for message in broker.got if message.key == key]
        assert [message.payload for message in mine] == list(range(1, 13))
        assert [message.sequence for message in mine] == list(range(1, 13))


async def test_one_that_fails_holds_its_key_alone(world: World, broker: Broker) -> None:
    box = await made(world)
    async with world.session() as session:
        for topic, key in (("bad", "k"), ("after", "k"), ("other", "l"), ("free", None)):
            box.put(of(session), topic, key=key)
    broker.refused = {"bad"}

    relay = await drain(world, box, broker.send, pause=1000.0, longest_pause=1000.0)

    assert {message.topic for message in broker.got} == {"other", "free"}
    assert (relay.told.sent, relay.told.failed) == (2, 1)
    assert await waiting(world, box) == (2, 0)
    assert world.seen("SELECT topic, attempts, error FROM hermetic_outbox ORDER BY id") == [
        ("bad", 1, "Failure"),
        ("after", 0, None),
    ]

    # the broker is well again, and the time has passed
    broker.refused.clear()
    world.do("UPDATE hermetic_outbox SET due = 0")
    await drain(world, box, broker.send)

    assert [message.topic for message in broker.got if message.key == "k"] == ["bad", "after"]
    assert [message.attempts for message in broker.got if message.topic == "bad"] == [1]


async def test_one_that_is_given_up_stays_and_can_be_sent_again(
    world: World, broker: Broker
) -> None:
    box = await made(world)
    async with world.session() as session:
        box.put(of(session), "bad", key="k")
        box.put(of(session), "after", key="k")
    broker.refused = {"bad"}

    relay = await drain(world, box, broker.send, attempts=3)

    assert [message.topic for message in broker.got] == ["after"]
    assert (relay.told.failed, relay.told.parked) == (3, 1)
    assert await waiting(world, box) == (0, 1)

    broker.refused.clear()
    assert await ask(world, box, "unpark") == 1
    await drain(world, box, broker.send)

    assert [message.topic for message in broker.got] == ["after", "bad"]
    assert await waiting(world, box) == (0, 0)


async def test_a_delay_holds_a_message_and_those_of_its_key(world: World, broker: Broker) -> None:
    box = await made(world)
    async with world.session() as session:
        box.put(of(session), "later", key="k", delay=1000.0)
        box.put(of(session), "after", key="k")
        box.put(of(session), "now")

    await drain(world, box, broker.send)
    assert [message.topic for message in broker.got] == ["now"]

    world.do("UPDATE hermetic_outbox SET due = 0")
    await drain(world, box, broker.send)
    assert [message.topic for message in broker.got] == ["now", "later", "after"]


async def test_what_another_relay_has_in_hand_is_left_to_it_until_its_time_is_over(
    world: World, broker: Broker
) -> None:
    box = await made(world)
    async with world.session() as session:
        box.put(of(session), "first", key="k")
        box.put(of(session), "second", key="k")
    # a relay that was killed after it took them: by the database's clock, its time is not over
    far = 10**18
    world.do(f"UPDATE hermetic_outbox SET lease = 'dead', leased = {far}")

    await drain(world, box, broker.send)
    assert broker.got == []
    assert await waiting(world, box) == (2, 0)

    world.do("UPDATE hermetic_outbox SET leased = 1")
    await drain(world, box, broker.send)
    assert [message.topic for message in broker.got] == ["first", "second"]


async def test_one_that_was_taken_meanwhile_is_not_deleted(world: World) -> None:
    box = await made(world)
    async with world.session() as session:
        box.put(of(session), "slow")

    def take() -> None:
        world.do("UPDATE hermetic_outbox SET lease = 'another'")

    async def atake(message: Message) -> None:
        take()

    relay = await drain(world, box, atake if world.is_async else (lambda message: take()))

    assert relay.told.lost == 1
    assert await waiting(world, box) == (1, 0)


async def test_many_relays_send_each_message_once_and_in_order(world: World) -> None:
    box = await made(world)
    keys = [f"k{n}" for n in range(8)]
    for n in range(10):
        async with world.session() as session:
            for key in keys:
                box.put(of(session), "turn", n, key=key)
                box.put(of(session), "free", n)
    brokers = [Broker(world) for _ in range(3)]
    got: list[Message] = []
    for each in brokers:
        each.got = got

    await world.together(
        *((lambda broker=each: drain(world, box, broker.send, batch=9)) for each in brokers)
    )
    await drain(world, box, brokers[0].send)

    assert len(got) == len({message.token for message in got}) == 160
    for key in keys:
        assert [message.payload for message in got if message.key == key] == list(range(10))


async def test_a_relay_that_runs_is_woken_by_a_commit_and_stops(world: World) -> None:
    box = await made(world)
    arrived = world.signal()
    broker = Broker(world)

    def tell(message: Message) -> None:
        broker.got.append(message)
        arrived.set()

    async def atell(message: Message) -> None:
        tell(message)

    # so long that only the commit can have woken it
    relay = box.relay(atell if world.is_async else tell, poll=600.0)

    async def run() -> None:
        if isinstance(relay, AsyncRelay):
            await relay.run()
        else:
            relay.run()

    async def work() -> None:
        async with world.session() as session:
            box.put(of(session), "wake")
        await arrived.wait()
        relay.stop()

    results = await world.together(run, work)

    assert results == [None, None]
    assert [message.topic for message in broker.got] == ["wake"]
    assert await waiting(world, box) == (0, 0)


async def test_where_no_message_can_be_that_is_said_at_once(world: World) -> None:
    box = await made(world)
    other = world.database()
    async with world.session(readonly=True) as session:
        with pytest.raises(ReadOnlyScope):
            box.put(of(session), "no")
    async with world.session(propagation="not_supported") as session:
        with pytest.raises(ScopeControls):
            box.put(of(session), "no")
    async with world.session(other) as session:
        with pytest.raises(ScopeRefused, match="the scope in"):
            box.put(of(session), "no")
    with Session() as plain, pytest.raises(NoScope):
        box.put(plain, "no")


@pytest.mark.parametrize(
    "given",
    [
        {"topic": ""},
        {"topic": "x" * 201},
        {"topic": "t", "key": "trailing "},
        {"topic": "t", "key": ""},
        {"topic": "t", "payload": object()},
        {"topic": "t", "payload": float("nan")},
        {"topic": "t", "headers": {"a": 1}},
        {"topic": "t", "delay": -1},
    ],
    ids=["no topic", "long", "space", "no key", "object", "nan", "header", "delay"],
)
async def test_a_wrong_value_is_refused_when_it_is_given(
    world: World, given: dict[str, Any]
) -> None:
    box = Outbox(world.db)
    async with world.session() as session:
        with pytest.raises(InvalidOption):
            box.put(of(session), **given)


async def test_a_received_message_is_dealt_with_once(world: World) -> None:
    inbox = Inbox(world.db)
    await ask(world, inbox, "create")

    async def receive(token: str, *, fail: bool = False) -> bool:
        async with world.session() as session:
            answer: Any = inbox.first(of(session), token)
            first = bool(await answer if world.is_async else answer)
            if first:
                session.add(User(username=token))
            if fail:
                raise Failure
        return first

    with pytest.raises(Failure):
        await receive("ann", fail=True)
    assert [await receive("ann"), await receive("ann"), await receive("bob")] == [
        True,
        False,
        True,
    ]
    assert world.usernames() == ["ann", "bob"]

    assert await ask(world, inbox, "sweep", -1.0) == 2


def of(session: Any) -> Any:
    """The session as its user has it: an AsyncSession, or that of threads."""
    return session.sync_session if isinstance(session, Face) else session


async def test_a_cancelled_relay_has_noted_what_it_sent(world: World) -> None:
    if not world.is_async:
        pytest.skip("tasks are cancelled")
    box = await made(world)
    async with world.session() as session:
        for topic in ("sent", "broken off", "left"):
            box.put(of(session), topic, key="k")
    begun = asyncio.Event()

    async def send(message: Message) -> None:
        if message.topic != "sent":
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(box.relay(send).run())
    async with asyncio.timeout(PATIENCE):
        await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    # the rest is anybody's, at once
    assert world.seen("SELECT topic, lease, leased FROM hermetic_outbox ORDER BY id") == [
        ("broken off", None, 0),
        ("left", None, 0),
    ]


async def test_a_relay_whose_time_runs_out_keeps_what_is_left(world: World) -> None:
    box = await made(world)
    async with world.session() as session:
        for n in range(3):
            box.put(of(session), "turn", n, key="k")
    got: list[Any] = []
    leases: list[Any] = []

    def take(message: Message) -> None:
        got.append(message.payload)
        leases.append(world.seen("SELECT leased FROM hermetic_outbox ORDER BY id")[-1][0])
        # half of the time is over, for whoever looks
        relay._is_late = lambda hand: True

    async def atake(message: Message) -> None:
        take(message)

    relay: Any = box.relay(atake if world.is_async else take)
    if world.is_async:
        await relay.drain()
    else:
        relay.drain()

    assert got == [0, 1, 2]
    assert leases == sorted(set(leases)), "it was not renewed before each"
    assert relay.told.lost == 0
    assert await waiting(world, box) == (0, 0)
