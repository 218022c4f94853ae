"""A batch that is struck where its driver takes no care: the connection is not lent again."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from tests.behaviour.aftermath import check_nothing_left, on
from tests.models import User
from tests.worlds import World

_ROWS = [{"n": n, "name": "ann"} for n in range(3)]
_UPDATE = text("UPDATE users SET balance = :n WHERE username = :name")


class Struck(BaseException):
    pass


@on(lambda backend: backend.name.startswith("psycopg"))
@pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")
@pytest.mark.parametrize("error", [Struck, ValueError])
async def test_a_batch_struck_where_its_pipeline_is_entered(
    world: World, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """psycopg's own assertion hides it, and the connection stays in the pipeline."""
    db = world.database(pool_size=1)
    async with world.session(db) as session:
        session.add(User(username="ann"))
    (used,) = db.snapshot().connections
    pipelines = "psycopg._pipeline.Pipeline", "psycopg._pipeline_async.AsyncPipeline"

    def struck(pipeline: Any) -> Any:
        pipeline.pgconn.enter_pipeline_mode()
        pipeline.level += 1
        if pipeline.level:
            raise error("struck")
        yield

    with monkeypatch.context() as patch:
        for pipeline in pipelines:
            patch.setattr(f"{pipeline}._enter_gen", struck)
        expected = Struck if error is Struck else AssertionError
        with pytest.raises(expected):
            async with world.session(db) as session:
                await session.execute(_UPDATE, _ROWS)

    assert used.number not in {each.number for each in db.snapshot().connections}
    async with world.session(db) as session:
        await session.execute(_UPDATE, _ROWS)
        assert await session.scalar("SELECT balance FROM users") == 2
    await check_nothing_left(world, db)
