"""What a connect by PyMySQL does not do: read authorities that nothing is verified by."""

from __future__ import annotations

import ssl
from typing import Any

import pymysql
import pytest

from hermetic import Database
from tests.backends import BACKENDS
from tests.databases import FreshUrl

pytestmark = pytest.mark.mariadb
PYMYSQL = next(backend for backend in BACKENDS if backend.name == "pymysql")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How often the authorities were read."""
    read: list[str] = []
    made = ssl.create_default_context

    def noted(*args: Any, **kwargs: Any) -> ssl.SSLContext:
        read.append("read")
        return made(*args, **kwargs)

    monkeypatch.setattr(ssl, "create_default_context", noted)
    return read


def test_a_connect_reads_no_authorities(fresh_url: FreshUrl, read: list[str]) -> None:
    url = fresh_url(PYMYSQL)
    read.clear()  # those of the tests' own connections
    with Database(url) as db:
        for _ in range(3):
            with db.session() as session:
                assert session.scalar("SELECT 1") == 1
            db.evict()

    assert read == []


def test_what_a_user_says_of_tls_is_what_is_done(fresh_url: FreshUrl, read: list[str]) -> None:
    url = fresh_url(PYMYSQL)
    read.clear()
    with (
        Database(url, connect_args={"ssl_verify_cert": True}) as db,
        pytest.raises(Exception, match="SSL"),
        db.session() as session,
    ):
        session.execute("SELECT 1")

    assert read != []


def test_the_drivers_class_is_what_it_was() -> None:
    assert pymysql.connect is pymysql.connections.Connection
    assert pymysql.connections.Connection.__qualname__ == "Connection"
