"""MariaDB by PyMySQL: the small works, of which only the round trips are reported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from sqlalchemy import URL, create_engine

from bench import peers, sessions
from bench.contenders import HERMETIC, RAW, SQLALCHEMY, SyncWorks
from bench.entity import COLUMNS, Sizes, fill, values
from bench.works import INSERT, READONLY
from hermetic import Database


@contextmanager
def threads(url: URL, sizes: Sizes) -> Iterator[dict[str, SyncWorks]]:
    """PyMySQL."""
    import pymysql

    url = url.set(drivername="mysql+pymysql")
    with ExitStack() as stack:
        readonly = {"init_command": "SET SESSION TRANSACTION READ ONLY"}
        engine, reader = create_engine(url), create_engine(url, connect_args=readonly)
        for each in (engine, reader):
            stack.callback(each.dispose)
        fill(engine, sizes)
        connection = stack.enter_context(
            closing(
                pymysql.connect(
                    host=url.host,
                    port=url.port or 3306,
                    user=url.username,
                    password=url.password or "",
                    database=url.database,
                    autocommit=True,
                )
            )
        )
        db = stack.enter_context(Database(url))
        yield {
            RAW: _raw(connection, sizes),
            SQLALCHEMY: sessions.sqlalchemy_threads(engine, reader, sizes, _nothing),
            HERMETIC: sessions.hermetic_threads(db, sizes, _nothing),
            **stack.enter_context(peers.threads(url, sizes, _nothing)),
        }


def _raw(connection: Any, sizes: Sizes) -> SyncWorks:
    insert_one = f"INSERT INTO bench_people ({COLUMNS}) VALUES (%s, %s, %s, %s, %s)"
    select = f"SELECT id, {COLUMNS} FROM bench_users WHERE id = %s"

    def readonly(count: int) -> None:
        for number in range(count):
            with connection.cursor() as cursor:
                cursor.execute(select, (1 + number % sizes.small,))
                cursor.fetchone()

    def insert(count: int) -> None:
        for number in range(count):
            connection.begin()
            with connection.cursor() as cursor:
                cursor.execute(insert_one, tuple(values(number).values()))
            connection.commit()

    return {READONLY: readonly, INSERT: insert}


def _nothing() -> None:
    """The works that need an empty table are not among those here."""
