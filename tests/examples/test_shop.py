"""The shop of examples/shop, on every database."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
from shop.app import create_app

from tests.databases import FamilyUrl


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the running application."""
    app = create_app(url)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://shop") as client,
        app.state.database,
    ):
        yield client


async def stock(client: httpx.AsyncClient, **items: int) -> None:
    for name, number in items.items():
        new = {"name": name, "price": 3, "stock": number}
        assert (await client.post("/items", json=new)).status_code == 201


def order(*lines: tuple[str, int]) -> dict[str, Any]:
    wanted = [{"item": item, "quantity": quantity} for item, quantity in lines]
    return {"customer": "ann", "lines": wanted}


async def test_an_order_takes_from_the_stock(family: str, family_url: FamilyUrl) -> None:
    async with opened(family_url(family)) as client:
        await stock(client, pen=5, ink=2)
        answer = await client.post("/orders", json=order(("pen", 2), ("ink", 1)))
        assert (answer.status_code, answer.json()["total"]) == (201, 9)
        shown = await client.get(f"/orders/{answer.json()['id']}")
        assert shown.json() == answer.json()
        assert (await client.get("/items.csv")).text == "name,price,stock\nink,3,1\npen,3,3\n"


async def test_an_order_that_fails_takes_nothing(family: str, family_url: FamilyUrl) -> None:
    async with opened(family_url(family)) as client:
        await stock(client, ink=9, pen=1)
        for wanted, status in ((("pen", 2), 409), (("zinc", 1), 404)):
            answer = await client.post("/orders", json=order(("ink", 1), wanted))
            assert answer.status_code == status
        left = {item["name"]: item["stock"] for item in (await client.get("/items")).json()}
        assert left == {"ink": 9, "pen": 1}
        # a name that is taken
        again = await client.post("/items", json={"name": "pen", "price": 1, "stock": 1})
        assert (again.status_code, again.json()["outcome"]) == (409, "not committed")
        assert (await client.get("/orders/999")).status_code == 404


async def test_what_is_sold_at_once_was_there(family: str, family_url: FamilyUrl) -> None:
    async with opened(family_url(family)) as client:
        await stock(client, pen=4, ink=4)
        wanted = (order(("pen", 1), ("ink", 1)), order(("ink", 1), ("pen", 1)))
        answers = await asyncio.gather(
            *(client.post("/orders", json=wanted[number % 2]) for number in range(10))
        )
        sold = [answer.status_code for answer in answers]
        assert sorted(sold) == [201] * 4 + [409] * 6
        assert [item["stock"] for item in (await client.get("/items")).json()] == [0, 0]
