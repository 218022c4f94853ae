"""Row 10: connections are kept and reused, since opening them is dear: visible and measured."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, NullPool, QueuePool, event

from hermetic import Database, sessionmaker
from tests.dropin.ground import Ground
from tests.models import User

# The number under which the server knows a connection.
_NUMBER = {
    "postgresql": "SELECT pg_backend_pid()",
    "mariadb": "SELECT connection_id()",
}


class Opened:
    """Counts the connections that an engine opens."""

    def __init__(self, engine: Engine) -> None:
        self.count = 0
        event.listen(engine, "connect", self._opened)

    def _opened(self, *unused: Any) -> None:
        self.count += 1


def test_the_articles_sessions_share_one_connection(engine: Engine) -> None:
    opened = Opened(engine)
    Session = sessionmaker(bind=engine)  # noqa: N806 - as the articles write it

    for number in range(20):
        session = Session()
        session.add(User(username=f"user {number}"))
        session.commit()
        session.close()

    assert opened.count == 1


def test_scopes_share_one_connection(ground: Ground, db: Database) -> None:
    opened = Opened(db.engine)
    numbers = set()

    for number in range(20):
        with db.session() as session:
            session.add(User(username=f"user {number}"))
            session.flush()
            numbers.add(db.snapshot().scopes[0].connection)

    assert opened.count == 1
    assert len(numbers) == 1
    assert ground.connections() == 1


def test_the_server_sees_the_same_connection_again(ground: Ground, db: Database) -> None:
    statement = _NUMBER.get(ground.family, "PRAGMA data_version")
    seen = set()

    for _ in range(5):
        with db.session() as session:
            seen.add(session.scalar(statement))

    assert len(seen) == 1


def test_reuse_is_measured_by_the_pools_counters(db: Database) -> None:
    for _ in range(20):
        with db.session() as session:
            session.execute("SELECT 1")

    snapshot = db.snapshot()
    assert sum(pool.admitted for pool in snapshot.pools) == 20
    assert len(snapshot.connections) == 1
    assert snapshot.counters["scopes"] == 20


def test_a_kept_connection_is_visible_with_its_age_and_state(db: Database) -> None:
    with db.session() as session:
        session.execute("SELECT 1")
        (held,) = db.snapshot().connections

    (kept,) = db.snapshot().connections

    assert held.state == "in transaction"
    assert kept.state == "idle"
    assert kept.number == held.number
    assert kept.age >= held.age


def test_an_empty_scope_takes_no_connection(ground: Ground, db: Database) -> None:
    with db.session():
        pass

    assert db.snapshot().connections == ()
    assert ground.connections() == 0


def test_without_a_pool_every_scope_opens_one(ground: Ground) -> None:
    db = ground.database(poolclass=NullPool)
    opened = Opened(db.engine)

    for _ in range(5):
        with db.session() as session:
            session.execute("SELECT 1")

    assert opened.count == 5


def test_a_connection_is_reused_after_an_ordinary_error(db: Database) -> None:
    opened = Opened(db.engine)

    for _ in range(5):
        try:
            with db.session() as session:
                session.execute("SELECT no_such_column FROM users")
        except Exception:
            continue

    assert opened.count == 1


def test_what_a_connection_brings_back_is_clean(db: Database) -> None:
    with db.session(isolation="serializable") as session:
        session.execute("SELECT 1")
    with db.session() as session:
        session.add(User(username="ann"))
        session.flush()
        session.rollback_only()

    with db.session() as session:
        found = session.query(User).count()

    assert found == 0


async def test_tasks_reuse_connections_too(ground: Ground) -> None:
    db = Database(ground.bare_url)
    opened = Opened(db.async_engine.sync_engine)

    for number in range(20):
        async with db.session() as session:
            session.add(User(username=f"user {number}"))
    connections = ground.connections()
    await db.aclose()

    assert opened.count == 1
    assert connections == 1


def test_a_pool_can_be_emptied_and_goes_on(ground: Ground, engine: Engine) -> None:
    opened = Opened(engine)
    Session = sessionmaker(bind=engine)  # noqa: N806
    with Session() as session:
        session.execute("SELECT 1")

    engine.dispose()

    with Session() as session:
        session.execute("SELECT 1")
    assert opened.count == 2
    assert isinstance(engine.pool, QueuePool)
    assert ground.has_connections(1)
