"""Sandboxes in the form that cases of both worlds use."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select, text

from hermetic.testing import sandbox
from tests.models import User
from tests.worlds import Block, World


def boxed(world: World, db: Any = None, /, **options: Any) -> Any:
    """A sandbox: ``async with boxed(world) as box``."""
    made = sandbox(db or world.db, **options)
    return made if world.is_async else Block(made)


async def add(world: World, *names: str, **options: Any) -> Any:
    """Add users in a scope of its own; the session, which has ended."""
    async with world.session(**options) as session:
        session.add_all([User(username=name) for name in names])
        await session.flush()
    return session


async def names(world: World, **options: Any) -> list[str]:
    """The users that a scope of its own sees."""
    async with world.session(**options) as session:
        found = await session.scalars(select(User.username).order_by(User.username))
        return list(found.all())


async def count(world: World) -> int:
    async with world.session() as session:
        found = await session.scalar(select(func.count()).select_from(User))
        return int(found)


async def send(world: World, sql: str, **options: Any) -> Any:
    """Send a statement as text in a scope of its own."""
    async with world.session(**options) as session:
        return await session.execute(text(sql))
