"""What a sandbox has to know of a database family, on top of what hermetic knows of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from ..clock import monotonic
from ..dialects.family import Begin, Family
from ..dialects.mysql import MySQL
from ..dialects.postgresql import PostgreSQL
from ..dialects.sqlite import SQLite
from ..dialects.text import head
from ..dialects.wire import Wire
from ..options import DatabaseOptions, Isolation
from ..tenancy import RowSecurity, SchemaPerTenant, Tenants

if TYPE_CHECKING:
    from .bay import Bay

# the first words of what changes nothing
_READS = re.compile(
    r"(SELECT|SHOW|EXPLAIN|VALUES|TABLE|PRAGMA|SET|SAVEPOINT|RELEASE|ROLLBACK)\b", re.IGNORECASE
)
_WRITES = re.compile(r"(INSERT|UPDATE|DELETE|REPLACE|MERGE|LOAD|TRUNCATE|COPY)\b", re.IGNORECASE)

# how long a sandbox of a SQLite file looks for its turn at a time
_SLICE = 0.02


class Sandboxed(Family):
    """Stands in front of a family's own class: a transaction is a savepoint here.

    The driver is in autocommit, and what begins and ends transactions is sent as text.
    """

    # Execution does not tell the driver of levels, nor SQLAlchemy of autocommit
    sends_begin: ClassVar[bool] = True
    # whether a statement that failed has aborted the transaction, up to a savepoint before it
    aborts: ClassVar[bool] = False
    # whether the server keeps a savepoint read-only that was told to be, and its end ends that
    seals: ClassVar[bool] = False
    # whether one sandbox at a time can be open on a database
    alone: ClassVar[bool] = False
    # what tells whether constraints are checked at a COMMIT, which never comes here
    deferrable: ClassVar[str | None] = None

    bay: Bay

    # ------------------------------------------------------------ connecting

    def connect(
        self, connect: Callable[..., Any], driver: str, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        if self.bay.real is None:
            self.bay.real = super().connect(connect, driver, args, kwargs)
        return self.bay.real

    def greet(
        self, dbapi: Any, driver: str, options: DatabaseOptions, *, reader: bool, until: float
    ) -> bool:
        if not self.bay.greeted:
            super().greet(dbapi, driver, options, reader=False, until=until)
            self.bay.set_autocommit(dbapi)
            self.bay.greeted = True
        return False

    def terminates_waiting(self, driver: str) -> bool:
        return False

    def end_reads(self, dbapi: Any, driver: str, kept: Any) -> None:
        """They may be others': the sandbox has one connection for all."""

    def seen_as(self, dbapi: Any, driver: str) -> str | None:
        return None

    # ------------------------------------------------------------ beginning

    def reads_apart(self, options: DatabaseOptions) -> bool:
        return False

    def execution_options(self, begin: Begin) -> dict[str, Any]:
        return {}

    def begin_statements(self, begin: Begin) -> tuple[str, ...]:
        return ()

    def lean_begin(
        self, driver: str, options: DatabaseOptions, begin: Begin
    ) -> tuple[str, ...] | None:
        return None

    def wire(self, driver: str) -> Wire | None:
        return None

    def begin_late(self, dialect: Any, dbapi: Any, driver: str) -> None:
        """The sandbox's transaction has begun long since."""

    def start(
        self,
        dbapi: Any,
        driver: str,
        begin: Begin,
        options: DatabaseOptions,
        deadline: float | None,
    ) -> None:
        self.bay.levels.begin(dbapi, begin, deadline)

    def is_clean(self, dbapi: Any, driver: str) -> bool:
        return False

    # ------------------------------------------------------------ the sandbox itself

    def begin_sandbox(self, cursor: Any, isolation: Isolation | None, until: float) -> None:
        """Begin the transaction that all of a sandbox is in.

        :param until: monotonic seconds at which to give up waiting for another one.
        """
        cursor.execute("BEGIN")

    def is_taken(self, error: Exception) -> bool:
        """Whether it did not begin because another one has the database."""
        return False

    def turned(self, *, readonly: bool) -> tuple[str, ...]:
        """What keeps the innermost savepoint from writing, or lets it."""
        return ()

    def returned(self, *, readonly: bool) -> tuple[str, ...]:
        """The same, where the innermost savepoint has ended and the one around it counts again."""
        return ()

    def tenant_reset(self, tenants: Tenants | None) -> tuple[str, ...]:
        """What makes a transaction forget its tenant."""
        return ()

    def reads(self, statement: str) -> bool:
        """Whether a statement's text says that it changes nothing."""
        return _READS.match(head(statement)) is not None

    def writes(self, statement: str) -> bool:
        """Whether a statement's text says that it changes rows."""
        return _WRITES.match(head(statement)) is not None


class SandboxedPostgreSQL(Sandboxed):
    """PostgreSQL: a savepoint can be read-only by itself, and a failed statement aborts it."""

    aborts: ClassVar[bool] = True
    seals: ClassVar[bool] = True
    deferrable: ClassVar[str | None] = (
        "SELECT count(*) FROM pg_constraint WHERE condeferrable AND contype IN ('f', 'u', 'p', 't')"
    )

    def begin_sandbox(self, cursor: Any, isolation: Isolation | None, until: float) -> None:
        level = "" if isolation is None else f" ISOLATION LEVEL {isolation.value}"
        cursor.execute(f"BEGIN{level}")

    def turned(self, *, readonly: bool) -> tuple[str, ...]:
        return ("SET TRANSACTION READ ONLY",) if readonly else ()

    def tenant_reset(self, tenants: Tenants | None) -> tuple[str, ...]:
        if isinstance(tenants, SchemaPerTenant):
            return ("SET LOCAL search_path TO DEFAULT",)
        if isinstance(tenants, RowSecurity):
            return (f"SELECT set_config('{tenants.setting}', '', true)",)
        return ()


class SandboxedMySQL(Sandboxed):
    """MariaDB and MySQL: nothing is read-only but a transaction from its start."""

    def begin_sandbox(self, cursor: Any, isolation: Isolation | None, until: float) -> None:
        if isolation is not None:
            cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation.value}")
        cursor.execute("START TRANSACTION")


class SandboxedSQLite(Sandboxed):
    """SQLite: one sandbox at a time on one file, since there is one writer at a time."""

    alone: ClassVar[bool] = True

    def is_taken(self, error: Exception) -> bool:
        return getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY")

    def begin_sandbox(self, cursor: Any, isolation: Isolation | None, until: float) -> None:
        while True:
            try:
                cursor.execute("BEGIN IMMEDIATE")
                return
            except Exception as error:
                if not self.is_taken(error) or monotonic() >= until:
                    raise
            self.bay.pause(_SLICE)

    def turned(self, *, readonly: bool) -> tuple[str, ...]:
        return (f"PRAGMA query_only = {'on' if readonly else 'off'}",)

    def returned(self, *, readonly: bool) -> tuple[str, ...]:
        return self.turned(readonly=readonly)


_KINDS: tuple[tuple[type[Family], type[Sandboxed]], ...] = (
    (PostgreSQL, SandboxedPostgreSQL),
    (MySQL, SandboxedMySQL),
    (SQLite, SandboxedSQLite),
)


def sandboxed(family: Family, bay: Bay) -> Sandboxed:
    """A family whose transactions are savepoints of one bay's."""
    own = type(family)
    kind = next((kind for known, kind in _KINDS if isinstance(family, known)), Sandboxed)
    made: Sandboxed = type(f"Sandboxed{own.__name__}", (kind, own), {})()
    made.bay = bay
    return made
