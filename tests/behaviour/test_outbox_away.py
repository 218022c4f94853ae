"""A relay goes on when its database is back."""

from __future__ import annotations

from typing import Any

from hermetic.outbox import Message, Outbox
from tests.behaviour.aftermath import on_servers
from tests.behaviour.own import OwnServer
from tests.behaviour.test_outbox import ask, of
from tests.worlds import World


@on_servers
async def test_a_relay_waits_for_a_database_that_is_away(own: OwnServer, own_world: World) -> None:
    world = own_world
    box = Outbox(world.db)
    await ask(world, box, "create")
    async with world.session() as session:
        for n in range(3):
            box.put(of(session), "turn", n, key="k")
    got: list[Any] = []

    def take(message: Message) -> None:
        got.append(message.payload)
        if message.payload == 1:
            own.server.kill()
            own.server.start()

    async def atake(message: Message) -> None:
        take(message)

    relay: Any = box.relay(atake if world.is_async else take)
    if world.is_async:
        await relay.drain()
        await world.aclose()
    else:
        relay.drain()

    assert got == [0, 1, 2]
    world.close_observer()
    assert world.seen("SELECT count(*) FROM hermetic_outbox") == [(0,)]
