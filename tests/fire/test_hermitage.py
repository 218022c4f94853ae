"""The table of docs/isolation.md is what the databases do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from sqlalchemy import Engine, NullPool, create_engine, make_url, text

from hermetic import Database
from tests.databases import FamilyUrl
from tests.fire.hermitage import OBSERVED, SCRIPTS, Script, play
from tests.servers.mariadb import transactions

_FAMILIES: Final = {"PostgreSQL": "postgresql", "MariaDB": "mariadb", "SQLite": "sqlite"}
_WAITING: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    " AND datname = current_database()"
)
_LISTED: Final = "SELECT id FROM information_schema.processlist WHERE db = database()"
# Seconds: no step of a script waits for as long, unless for ever.
_LOCKS: Final = 15

_CASES: Final = [
    pytest.param(
        *case, script, id=f"{case[0]}-{case[1]}-{script.name}", marks=getattr(pytest.mark, family)
    )
    for case in OBSERVED
    for script in SCRIPTS
    for family in [_FAMILIES[case[0]]]
]


@pytest.fixture
def beside(database: str, family_url: FamilyUrl) -> Iterator[Engine]:
    url = make_url(family_url(_FAMILIES[database]))
    if database == "MariaDB":
        url = url.set(drivername="mysql+pymysql")
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE pairs (id int PRIMARY KEY, value int)"))
        connection.execute(text("INSERT INTO pairs VALUES (1, 10), (2, 20)"))
    yield engine
    engine.dispose()


def waits(db: Database, family: str, beside: Engine) -> Callable[[], int]:
    def how_many() -> int:
        if family == "sqlite":
            return sum(pool.waiting for pool in db.snapshot().pools)
        with beside.connect() as connection:
            if family == "postgresql":
                return int(connection.scalar(text(_WAITING)) or 0)
            status = connection.execute(text("SHOW ENGINE INNODB STATUS")).one()[2]
            waiting = {number for number, waits in transactions(status).items() if waits}
            return len(waiting.intersection(connection.scalars(text(_LISTED))))

    return how_many


@pytest.mark.slow
@pytest.mark.parametrize(("database", "level", "script"), _CASES)
def test_a_level_lets_through_what_its_row_says(
    database: str, level: str, script: Script, beside: Engine, family_url: FamilyUrl
) -> None:
    family = _FAMILIES[database]

    def left() -> Any:
        with beside.connect() as connection:
            return list(connection.scalars(text("SELECT value FROM pairs ORDER BY id")))

    with Database(family_url(family), pool_size=4, lock_timeout=_LOCKS) as db:
        seen = play(script, db, level, waits(db, family, beside), left)

    told = f"docs/isolation.md says otherwise of {database}, {level}, {script.name}: {seen}"
    assert script.happened(seen) is (script.name in OBSERVED[database, level]), told
