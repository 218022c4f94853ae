"""Where it happens: servers, the databases on them, and the Databases that go there by proxies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pymysql
from sqlalchemy import Engine, NullPool, create_engine, delete, insert, make_url, select, text

from hermetic import Database
from tests.fire.checkers.ledger import Mark
from tests.fire.snares import SnaringProxy
from tests.fire.tables import Account, Base, Elements, Head, Tail
from tests.servers import LocalServer, MariaDBServer, PostgreSQLServer
from tests.servers.mariadb import transactions

ACCOUNTS: Final = 10
EACH: Final = 100
LISTS: Final = 600

LEVELS: Final = {
    "postgresql": ("SERIALIZABLE", "REPEATABLE READ", "READ COMMITTED"),
    "mariadb": ("SERIALIZABLE", "REPEATABLE READ", "READ COMMITTED"),
    "sqlite": ("SERIALIZABLE",),
}

# Seconds; every one is far below the default, so that much can go wrong in a minute.
_LIMITS: Final[dict[str, Any]] = {
    "pool_size": 4,
    "reader_pool_size": 3,
    "pool_timeout": 3.0,
    "connect_timeout": 2.0,
    "lock_timeout": 2.0,
    "cleanup_timeout": 0.5,
    "idle_in_transaction_timeout": 20.0,
    "retries_per_second": 1000.0,
    "retry_burst": 1000,
}

_OURS: Final = "fire"
_PASSWORD: Final = "in the open: it is known to this folder alone"

_BACKENDS: Final = {
    "postgresql": "SELECT pid, coalesce(state, 'starting'),"
    " concat(application_name, ', since ', backend_start, ': ', query) FROM pg_stat_activity"
    f" WHERE application_name LIKE '{_OURS}%' AND backend_type = 'client backend'",
    "mariadb": "SELECT id, CASE WHEN command <> 'Sleep' THEN command ELSE 'idle' END,"
    f" coalesce(info, '') FROM information_schema.processlist WHERE user = '{_OURS}'",
}


class Store:
    """One database with the tables, looked at and changed beside everything that is tested."""

    def __init__(
        self, family: str, url: str, server: LocalServer | None, admin_url: str = ""
    ) -> None:
        self.family = family
        self.url = url
        self.server = server
        self.engine: Engine = create_engine(url, poolclass=NullPool)
        self._admin: Engine = create_engine(admin_url or url, poolclass=NullPool)

    def reset(self) -> None:
        """The tables as they are at the start of a round."""
        with self.engine.begin() as connection:
            Base.metadata.create_all(connection)
            for table in (Tail, Head, Elements, Account):
                connection.execute(delete(table))
            accounts = [{"id": n, "balance": EACH} for n in range(1, ACCOUNTS + 1)]
            connection.execute(insert(Account), accounts)
            lists = [{"id": n, "elements": ""} for n in range(1, LISTS + 1)]
            connection.execute(insert(Elements), lists)

    def marks(self) -> list[Mark]:
        with self.engine.connect() as connection:
            return [
                (token, run, part)
                for table in (Head, Tail)
                for token, run, part in connection.execute(
                    select(table.token, table.run, table.part)
                )
            ]

    def lists(self) -> dict[int, list[int]]:
        with self.engine.connect() as connection:
            rows = connection.execute(select(Elements.id, Elements.elements))
            return {key: elements_of(written) for key, written in rows if written}

    def balances(self) -> list[int]:
        with self.engine.connect() as connection:
            return list(connection.scalars(select(Account.balance)))

    def backends(self) -> list[tuple[int, str, str]]:
        """Our connections as the server sees them: number, state, statement."""
        if self.family == "sqlite":
            return []
        found = [(int(a), str(b), str(c)) for a, b, c in self.ask(_BACKENDS[self.family])]
        if self.family != "mariadb":
            return found
        open_now = transactions(str(self.ask("SHOW ENGINE INNODB STATUS")[0][2]))
        return [(a, "in transaction" if a in open_now else b, c) for a, b, c in found]

    def ask(self, sql: str) -> Sequence[Any]:
        """Rows of an administrator's statement, outside of any transaction."""
        with self._admin.connect() as connection:
            alone = connection.execution_options(isolation_level="AUTOCOMMIT")
            result = alone.execute(text(sql))
            return result.all() if result.returns_rows else ()


class Place:
    """One Database, the store that it works on, and the proxy in between."""

    def __init__(
        self, name: str, store: Store, proxy: SnaringProxy | None, url: str, resolve: str | None
    ) -> None:
        self.name = name
        self.store = store
        self.proxy = proxy
        options = dict(_LIMITS)
        if resolve is not None:
            # status is PostgreSQL's alone
            options["resolve_commits"] = resolve if store.family == "postgresql" else "token"
        self.db = Database(url, name=name, application_name=f"{_OURS}-{name}", **options)
        made: Any = self.db
        if options.get("resolve_commits") == "token":
            made.create_commit_table()


def elements_of(written: str) -> list[int]:
    return [int(each) for each in written.split(",")[1:]]


class Arena:
    """Everything that faults are injected into. Threads, sockets and files are gone at its end.

    :param families: which databases; the servers are started here.
    :param resolve: how unknown commits are resolved, where hermetic is to do so.
    """

    def __init__(
        self, folder: Path, families: Sequence[str], *, resolve: str | None = None
    ) -> None:
        self._folder = folder
        self._families = families
        self._resolve = resolve
        self._stack = ExitStack()
        self.stores: list[Store] = []
        self.places: list[Place] = []

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for family in self._families:
                self._open(family, stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def places_on(self, store: Store) -> list[Place]:
        return [place for place in self.places if place.store is store]

    def _open(self, family: str, stack: ExitStack) -> None:
        store = stack.enter_context(_store(family, self._folder))
        stack.callback(store.engine.dispose)
        store.reset()
        self.stores.append(store)
        for name, scheme in _PLACES[family].items():
            proxy: SnaringProxy | None = None
            url = store.url
            if store.server is not None:
                url = make_url(url).set(drivername=scheme).render_as_string(hide_password=False)
                proxy = stack.enter_context(SnaringProxy(url))
                url = proxy.url
            self.places.append(Place(name, store, proxy, url, self._resolve))


_PLACES: Final = {
    "postgresql": {"psycopg": "postgresql+psycopg", "asyncpg": "postgresql+asyncpg"},
    "mariadb": {"mariadb": "mysql+pymysql"},
    "sqlite": {"sqlite": "sqlite"},
}
# asyncpg has no world of threads
WORLDS: Final = {
    "psycopg": (False, True),
    "asyncpg": (True,),
    "mariadb": (False, True),
    "sqlite": (False, True),
}


@contextlib.contextmanager
def _store(family: str, folder: Path) -> Iterator[Store]:
    if family == "sqlite":
        yield Store(family, f"sqlite:///{folder / 'fire.db'}", None)
        return
    # Not durable: processes are killed here, and the machine is not.
    if family == "postgresql":
        server: LocalServer = PostgreSQLServer(
            settings={"client_connection_check_interval": "500ms"}
        )
    else:
        server = MariaDBServer()
    with server:
        server.create_database(_OURS)
        url = admin_url = server.url(_OURS)
        if family == "mariadb":
            url = _without_privileges(server, url)
        yield Store(family, url, server, admin_url)


def _without_privileges(server: LocalServer, url: str) -> str:
    """As a user who obeys `read_only`, which those who may do everything do not."""
    with (
        pymysql.connect(
            host=server.host, port=server.port, user=server.user, password=server.password
        ) as admin,
        admin.cursor() as cursor,
    ):
        cursor.execute(f"CREATE USER {_OURS}@'127.0.0.1' IDENTIFIED BY %s", [_PASSWORD])
        cursor.execute(f"GRANT ALL ON {_OURS}.* TO {_OURS}@'127.0.0.1'")
        cursor.execute(f"GRANT PROCESS ON *.* TO {_OURS}@'127.0.0.1'")
    changed = make_url(url).set(username=_OURS, password=_PASSWORD)
    return changed.render_as_string(hide_password=False)
