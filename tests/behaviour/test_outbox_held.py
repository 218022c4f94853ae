"""Relays side by side, broken off, run twice; and what is asked of whoever uses them."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.dialects import mysql

from hermetic import (
    NO_TENANT,
    Database,
    DatabaseClosed,
    InvalidOption,
    InvalidStatement,
    SchemaPerTenant,
    UniqueViolation,
)
from hermetic.outbox import Inbox, Message, Outbox
from hermetic.outbox.clock import database_now
from tests.behaviour.test_outbox import Broker, ask, drain, made, of, waiting
from tests.models import User
from tests.worlds import PATIENCE, World


async def put(world: World, box: Outbox, *payloads: Any, key: str | None = "k") -> None:
    async with world.session() as session:
        for payload in payloads:
            box.put(of(session), "turn", payload, key=key)


async def test_a_payload_is_what_it_was_when_it_was_put(world: World) -> None:
    box, broker, payload = await made(world), Broker(world), {"n": 0}
    async with world.session() as session:
        for n in range(3):
            payload["n"] = n
            box.put(of(session), "turn", payload)
        payload["n"] = object()  # type: ignore[assignment]

    await drain(world, box, broker.send)

    assert sorted(each["n"] for each in broker.payloads) == [0, 1, 2]


async def test_many_messages_are_one_hook(world: World) -> None:
    box, broker = await made(world), Broker(world)
    async with world.session() as session:
        for n in range(100):
            box.put(of(session), "turn", n, key="k")
        hooks = len(session.sync_session.scope.hooks)
        async with session.begin_nested():
            box.put(of(session), "turn", 100, key="k")
        box.put(of(session), "turn", 101, key="k")

    await drain(world, box, broker.send)

    assert hooks == 2  # one writes, one wakes the relays
    assert broker.payloads == list(range(102))


async def test_tokens_are_told_apart_exactly(world: World) -> None:
    inbox = Inbox(world.db)
    await ask(world, inbox, "create")
    async with world.session() as session:
        for token in ("Order-aB", "order-AB", "ordér-ab", "order-ab"):
            first: Any = inbox.first(of(session), token)
            assert (await first) if world.is_async else first
        with pytest.raises(InvalidOption, match="space"):
            inbox.first(of(session), "order-ab ")


async def test_what_is_pending_is_refused_for_itself(world: World) -> None:
    inbox = Inbox(world.db)
    await ask(world, inbox, "create")
    async with world.session() as session:
        session.add(User(username="ann"))

    with pytest.raises(UniqueViolation):
        async with world.session() as session:
            session.add(User(username="ann"))
            first: Any = inbox.first(of(session), "token")
            if world.is_async:
                await first


def test_the_clock_of_mariadb_is_that_of_no_zone() -> None:
    # servers without tables of zones cannot show it: by local time an hour is there twice a year
    sql = str(select(database_now()).compile(dialect=mysql.dialect()))

    assert "utc_timestamp" in sql
    assert "now(" not in sql


async def test_one_relay_in_two_places_holds_its_messages_apart(world: World) -> None:
    box = await made(world)
    await put(world, box, *range(6))
    got: list[int] = []
    inside = world.signal()

    async def take(message: Message) -> None:
        got.append(message.payload)
        if message.payload == 0:
            # the same relay, while it has them in hand
            if world.is_async:
                assert await relay.drain() == 0
            else:
                assert relay.drain() == 0
            inside.set()

    def take_in_thread(message: Message) -> None:
        got.append(message.payload)
        if message.payload == 0:
            assert relay.drain() == 0
            inside.set()

    relay: Any = box.relay(take if world.is_async else take_in_thread)
    if world.is_async:
        await relay.drain()
    else:
        relay.drain()

    assert inside.is_set()
    assert got == list(range(6))
    assert relay.told.lost == 0


async def test_a_parked_head_that_is_back_does_not_take_what_others_hold(world: World) -> None:
    box, other = await made(world), Broker(world)
    await put(world, box, "head", "next")
    world.do("UPDATE hermetic_outbox SET parked = true WHERE sequence = 1")
    got: list[Any] = []

    async def take(message: Message) -> None:
        got.append(message.payload)
        if message.payload == "next":
            await box.aunpark()
            await drain(world, box, other.send)

    def take_in_thread(message: Message) -> None:
        got.append(message.payload)
        box.unpark()
        other_relay.drain()

    other_relay: Any = box.relay(other.send)
    relay: Any = box.relay(take if world.is_async else take_in_thread)
    if world.is_async:
        await relay.drain()
    else:
        relay.drain()

    assert got == ["next"]
    assert other.payloads == ["head"]
    assert relay.told.lost == 0


async def test_what_was_sent_is_noted_though_the_noting_was_cancelled(world: World) -> None:
    if not world.is_async:
        pytest.skip("tasks are cancelled")
    box = await made(world)
    await put(world, box, 0, 1, 2)

    async def send(message: Message) -> None: ...

    relay: Any = box.relay(send)
    noting, note = asyncio.Event(), relay._in_database

    async def slowly(work: Any, *args: Any, last: bool = False) -> Any:
        if work == relay._end and not last:
            noting.set()
            await asyncio.Event().wait()
        return await note(work, *args, last=last)

    relay._in_database = slowly
    task = asyncio.create_task(relay.run())
    async with asyncio.timeout(PATIENCE):
        await noting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await waiting(world, box) == (0, 0)


async def test_an_interrupt_while_it_sends_has_noted_what_was_sent(world: World) -> None:
    if world.is_async:
        pytest.skip("a thread is interrupted")
    box = await made(world)
    await put(world, box, 0, 1, 2)

    def send(message: Message) -> None:
        if message.payload == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        box.relay(send).drain()

    assert world.seen("SELECT payload, lease FROM hermetic_outbox ORDER BY id") != []
    assert await waiting(world, box) == (2, 0)
    broker = Broker(world)
    await drain(world, box, broker.send)
    assert broker.payloads == [1, 2]


async def test_a_cancellation_that_is_not_the_relays_is_a_failure(world: World) -> None:
    if not world.is_async:
        pytest.skip("tasks are cancelled")
    box = await made(world)
    await put(world, box, 0)

    async def send(message: Message) -> None:
        raise asyncio.CancelledError

    relay = box.relay(send, pause=0.0, attempts=2)
    await relay.drain()

    assert (relay.told.failed, relay.told.parked) == (2, 1)


async def test_what_does_not_pass_by_waiting_is_raised(world: World) -> None:
    missing = Outbox(world.db, table="nowhere")
    relay: Any = missing.relay(Broker(world).send)

    with pytest.raises(InvalidStatement):
        await relay.drain() if world.is_async else relay.drain()

    if world.is_async:
        await world.db.aclose()
    else:
        world.db.close()
    with pytest.raises(DatabaseClosed):
        await relay.drain() if world.is_async else relay.drain()


async def test_with_tenants_it_belongs_to_none(world: World) -> None:
    if world.backend.family != "postgresql":
        pytest.skip("schemas are PostgreSQL's")
    db = world.database(tenants=SchemaPerTenant())
    box, broker = Outbox(db, schema="public"), Broker(world)
    await ask(world, box, "create")
    async with world.session(db, tenant=NO_TENANT) as session:
        box.put(of(session), "turn")

    await drain(world, box, broker.send)

    assert len(broker.got) == 1


def test_a_signal_stops_a_relay_wherever_it_stands(tmp_path: Any) -> None:
    with Database(f"sqlite:///{tmp_path / 'app.db'}") as db:
        box = Outbox(db)
        box.create()
        relay = box.relay(lambda message: None, poll=0.001)
        before = signal.signal(signal.SIGUSR1, lambda *_: relay.stop())
        here = threading.main_thread().ident
        assert here is not None
        began = threading.Event()
        told = relay._round

        def round_() -> float:
            began.set()
            return told()

        relay._round = round_  # type: ignore[method-assign]

        def strike() -> None:
            began.wait(PATIENCE)
            signal.pthread_kill(here, signal.SIGUSR1)

        striker = threading.Thread(target=strike)
        striker.start()
        try:
            relay.run()
        finally:
            striker.join()
            signal.signal(signal.SIGUSR1, before)
