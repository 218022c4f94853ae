"""What is left open is found."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from tests.fire import leaks
from tests.fire.arena import Arena
from tests.fire.leaks import Footprint, check_leaks
from tests.servers import installed

pytestmark = [pytest.mark.slow, pytest.mark.timing]


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    if not installed()["postgresql"]:
        pytest.skip("postgresql MISSING")
    with Arena(tmp_path, ("postgresql", "sqlite")) as arena:
        yield arena
        for place in arena.places:
            place.db.close()


def test_what_is_left_open_is_found_where_it_is(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check_leaks(arena) == []
    postgresql, sqlite = arena.stores
    before = Footprint.now()

    url = make_url(postgresql.url)
    lost = psycopg.connect(
        host=url.host,
        port=url.port,
        user=url.username,
        password=url.password,
        dbname=url.database,
        application_name="fire-lost",
    )
    lost.execute("SELECT 1")
    held = sqlite3.connect(str(make_url(sqlite.url).database), isolation_level=None)
    held.execute("BEGIN IMMEDIATE")
    place = next(place for place in arena.places if place.name == "psycopg")
    with place.db.session(name="open") as session:
        session.execute("SELECT 1")
        with monkeypatch.context() as patched:
            # whatever is open is waited for: together longer than a transaction may be idle
            patched.setattr(leaks, "_PATIENCE", 1.0)
            found = [violation.told for violation in check_leaks(arena)]
    opened = Footprint.now().descriptors
    lost.close()
    held.close()

    assert any("scope open is" in told for told in found), found
    assert any("idle in transaction" in told for told in found), found
    assert any("1 of them in pools" in told for told in found), found
    assert any("sqlite: database is locked" in told for told in found), found
    assert opened > before.descriptors
    assert check_leaks(arena) == []
