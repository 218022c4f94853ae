"""The shop as a FastAPI application.

    uvicorn --app-dir examples shop.app:create_app --factory
    SHOP_URL=postgresql://… uvicorn --app-dir examples shop.app:create_app --factory

On a SQLite file, shop.db, unless ``SHOP_URL`` is another database. A request is one unit of work:
no endpoint commits by itself, and each is answered after its commit.
"""

# FastAPI reads annotations when an endpoint is made: they are not put off here

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from hermetic import AsyncSession, Database
from hermetic.integrations.fastapi import Sessions, retried

from .model import Base, Item, Line, Order


class NewItem(BaseModel):
    name: str = Field(max_length=80)
    price: int = Field(ge=0)
    stock: int = Field(ge=0)


class Shown(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class ShownItem(Shown):
    id: int
    name: str
    price: int
    stock: int


class Wanted(BaseModel):
    item: str
    quantity: int = Field(ge=1)


class NewOrder(BaseModel):
    customer: str = Field(max_length=80)
    lines: list[Wanted] = Field(min_length=1)


class ShownLine(Shown):
    item_id: int
    quantity: int
    price: int


class ShownOrder(Shown):
    id: int
    customer: str
    total: int
    lines: list[ShownLine]


def create_app(url: str | None = None) -> FastAPI:
    """The application, with a Database of its own, which it closes when the server shuts down."""
    db = Database(url or os.environ.get("SHOP_URL", "sqlite:///shop.db"))
    sessions = Sessions(db, timeout=10.0, timeout_header="Request-Timeout", drain=10.0)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with db.async_engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        yield

    app = FastAPI(title="Shop", lifespan=lifespan)
    app.state.database = db
    sessions.install(app)
    _add_items(app, sessions)
    _add_orders(app, sessions)
    return app


def _add_items(app: FastAPI, sessions: Sessions) -> None:
    Writing = Annotated[AsyncSession, Depends(sessions.asession)]  # noqa: N806
    Reading = Annotated[  # noqa: N806
        AsyncSession, Depends(sessions.asession_with(readonly=True))
    ]

    @app.post("/items", status_code=201, response_model=ShownItem)
    async def create_item(new: NewItem, session: Writing) -> Item:
        item = Item(**new.model_dump())
        session.add(item)
        await session.flush()  # for its id; a name that is taken is a 409
        return item

    @app.get("/items", response_model=list[ShownItem])
    async def list_items(session: Reading) -> Any:
        return (await session.scalars(select(Item).order_by(Item.name))).all()

    @app.get("/items.csv")
    async def export_items() -> StreamingResponse:
        async def lines() -> AsyncIterator[str]:
            # the body outlives the request's unit, and opens its own
            async with sessions.database.session(readonly=True) as session:
                yield "name,price,stock\n"
                async for item in await session.stream_scalars(select(Item).order_by(Item.name)):
                    yield f"{item.name},{item.price},{item.stock}\n"

        return StreamingResponse(lines(), media_type="text/csv")


def _add_orders(app: FastAPI, sessions: Sessions) -> None:
    Writing = Annotated[AsyncSession, Depends(sessions.asession)]  # noqa: N806
    Reading = Annotated[  # noqa: N806
        AsyncSession, Depends(sessions.asession_with(readonly=True))
    ]

    @app.post("/orders", status_code=201, response_model=ShownOrder)
    @retried(5)
    async def create_order(new: NewOrder, session: Writing) -> Order:
        order = Order(customer=new.customer, lines=[])
        # by name: two orders of the same items lock them in the same order
        for wanted in sorted(new.lines, key=lambda line: line.item):
            statement = select(Item).filter_by(name=wanted.item).with_for_update()
            item = (await session.scalars(statement)).one_or_none()
            if item is None:
                raise HTTPException(404, f"there is no {wanted.item}")
            if item.stock < wanted.quantity:
                raise HTTPException(409, f"{item.stock} of {wanted.item} are left")
            item.stock -= wanted.quantity
            line = Line(item_id=item.id, quantity=wanted.quantity, price=item.price)
            order.lines.append(line)
        session.add(order)
        await session.flush()
        return order

    @app.get("/orders/{number}", response_model=ShownOrder)
    async def show_order(number: int, session: Reading) -> Order:
        order = await session.get(Order, number)
        if order is None:
            raise HTTPException(404)
        return order
