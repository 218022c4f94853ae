"""Two systems that run the same programs of scopes: a pure one, and a Database."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import Column, Engine, Integer, create_engine, make_url, text
from sqlalchemy.orm import declarative_base

from hermetic import Database
from hermetic.boundary import Boundary, Ending, Entry, Outer, State, ending, enter
from hermetic.connection import Transaction
from hermetic.current import current_scope
from hermetic.errors import Outcome, RolledBack
from hermetic.options import Isolation, Propagation, ScopeOptions
from hermetic.registry import Scope
from tests.pure.model import Expected, Trouble

Base: Any = declarative_base()


class Row(Base):  # type: ignore[misc]
    __tablename__ = "entries"

    id = Column(Integer, primary_key=True, autoincrement=False)


# Always there, so that a second one is refused.
SEED = 0


class System(Protocol):
    def open(self, propagation: str, *, commits_on_expected: bool) -> Any:
        """Enter a scope; something that tells its `outcome` ever after."""

    def insert(self, row: int) -> None: ...

    def flushes(self, what: int | Trouble) -> bool:
        """Whether an insert, or a trouble, goes through the session's flush."""

    def trouble(self, kind: Trouble) -> None:
        """Raises what the database has to say."""

    def visible(self) -> set[int]: ...

    def ask_rollback(self) -> None: ...

    def leave(self, error: BaseException | None) -> BaseException | None:
        """Leave the innermost scope; what comes out of it."""

    def committed(self) -> set[int]: ...

    def close(self) -> None: ...


# ---------------------------------------------------------------- pure


@dataclass
class Server:
    """As strict as PostgreSQL about errors, and as careless as MariaDB about lost transactions."""

    committed: set[int] = field(default_factory=set)
    layers: list[tuple[str, set[int]]] = field(default_factory=list)
    aborted: bool = False

    def begin(self) -> None:
        self.layers, self.aborted = [("", set())], False

    def execute(self, row: int) -> None:
        assert not self.aborted, "sent into an aborted transaction"
        self.layers[-1][1].add(row)

    def savepoint(self, name: str) -> None:
        assert not self.aborted, "sent into an aborted transaction"
        self.layers.append((name, set()))

    def release(self, name: str) -> None:
        assert not self.aborted, "sent into an aborted transaction"
        top, rows = self.layers.pop()
        assert top == name
        self.layers[-1][1].update(rows)

    def rollback_to(self, name: str) -> None:
        top, _ = self.layers.pop()
        assert top == name
        self.aborted = False

    def lose(self) -> None:
        """A deadlock on MariaDB: the transaction is gone, and what follows is in none."""
        self.layers = [("", set())]

    def commit(self) -> None:
        assert len(self.layers) == 1
        if not self.aborted:
            self.committed |= self.layers[0][1]
        self.layers = []


@dataclass(eq=False)
class PureScope:
    entry: Entry
    boundary: Boundary
    parent_boundary: Boundary
    commit_on: tuple[type[BaseException], ...]
    root: PureScope | None = None
    innermost: Boundary = field(init=False)
    record: Transaction | None = None
    server: Server | None = None
    savepoint: str | None = None

    def __post_init__(self) -> None:
        self.innermost = self.boundary

    @property
    def outcome(self) -> Outcome | None:
        own = self.boundary.outcome
        if self.root is None or own is Outcome.NOT_COMMITTED:
            return own
        return self.root.boundary.outcome


class PureSystem:
    """boundary and registry.Transaction, with the little between them that ending.py is."""

    def __init__(self) -> None:
        self._rows: set[int] = set()
        self._scopes: list[PureScope] = []
        self._names = iter(range(1_000_000))

    def open(self, propagation: str, *, commits_on_expected: bool) -> PureScope:
        options = ScopeOptions(
            propagation=Propagation(propagation),
            commit_on=(Expected,) if commits_on_expected else (),
        )
        entry = enter(options, self._outer(), Isolation.SERIALIZABLE)
        top = self._scopes[-1] if self._scopes else None
        if entry in (Entry.JOIN, Entry.SAVEPOINT):
            assert top is not None
            root = top.root or top
            if entry is Entry.SAVEPOINT:
                self._check(root)
            boundary = root.innermost if entry is Entry.JOIN else Boundary()
            scope = PureScope(entry, boundary, root.innermost, options.commit_on, root)
            if entry is Entry.SAVEPOINT:
                root.innermost = boundary
        else:
            boundary = Boundary()
            scope = PureScope(entry, boundary, boundary, options.commit_on)
        self._scopes.append(scope)
        return scope

    def _outer(self) -> Outer | None:
        if not self._scopes:
            return None
        root = self._scopes[-1].root or self._scopes[-1]
        return Outer(root.entry is not Entry.PLAIN, readonly=False, isolation=None, described="it")

    def insert(self, row: int) -> None:
        root = self._ready()
        assert root.server is not None
        root.server.execute(row)
        if root.entry is Entry.PLAIN:
            self._rows.add(row)

    def flushes(self, what: int | Trouble) -> bool:
        return False

    def trouble(self, kind: Trouble) -> None:
        root = self._ready()
        assert root.server is not None
        assert root.record is not None
        error = RuntimeError(kind)
        if root.entry is not Entry.PLAIN and kind != "harmless":
            root.record.fail(error, None, gone=kind == "ends all")
            if kind == "ends all":
                root.server.lose()
            else:
                root.server.aborted = True
        raise error

    def visible(self) -> set[int]:
        root = self._ready()
        assert root.server is not None
        own = set().union(*(rows for _, rows in root.server.layers))
        return self._rows | own

    def ask_rollback(self) -> None:
        scope = self._scopes[-1]
        root = scope.root or scope
        root.innermost.ask_rollback(by_joined=scope.entry is Entry.JOIN)

    def _check(self, root: PureScope) -> None:
        if root.innermost.state is State.DOOMED:
            raise RolledBack("refused") from root.innermost.cause

    def _ready(self) -> PureScope:
        """What happens before a statement is sent: checks, BEGIN, and savepoints not sent yet."""
        root = self._scopes[-1].root or self._scopes[-1]
        self._check(root)
        if root.server is None:
            root.server, root.record = Server(), Transaction()
            root.server.begin()
        assert root.record is not None
        if root.record.failure is not None:
            raise RolledBack("given up") from root.record.failure
        for scope in self._scopes:
            if scope.root is root and scope.entry is Entry.SAVEPOINT and scope.savepoint is None:
                scope.savepoint = f"s{next(self._names)}"
                root.server.savepoint(scope.savepoint)
                root.record.savepoints.append(scope.savepoint)
        return root

    def leave(self, error: BaseException | None) -> BaseException | None:
        scope = self._scopes.pop()
        if scope.entry is Entry.JOIN:
            assert scope.root is not None
            plain = scope.root.entry is Entry.PLAIN
            if error is not None and not plain and not isinstance(error, scope.commit_on):
                scope.boundary.doom(error)
            return error
        if scope.entry is Entry.PLAIN:
            return error
        how = ending(scope.boundary, error, scope.commit_on)
        if scope.entry is Entry.SAVEPOINT:
            return self._end_savepoint(scope, how) or error
        return self._end_transaction(scope, how) or error

    def _end_savepoint(self, scope: PureScope, how: Ending) -> BaseException | None:
        root, name = scope.root, scope.savepoint
        assert root is not None
        raised: BaseException | None = None
        if how is Ending.REFUSE:
            raised = _rolled_back(scope.boundary.cause)
        if name is not None:
            assert root.server is not None
            assert root.record is not None
            if how is Ending.COMMIT and root.record.failure is not None:
                raised = _rolled_back(root.record.failure)
                how = Ending.ROLLBACK
            if how is Ending.COMMIT:
                root.record.released(name)
                root.server.release(name)
            else:
                root.record.rolled_back_to(name)
                if not root.record.gone:
                    root.server.rollback_to(name)
        if how is not Ending.COMMIT:
            scope.boundary.end(Outcome.NOT_COMMITTED)
        root.innermost = scope.parent_boundary
        return raised

    def _end_transaction(self, scope: PureScope, how: Ending) -> BaseException | None:
        raised: BaseException | None = None
        boundary = scope.boundary
        if how is Ending.COMMIT:
            boundary.committing()
            if scope.record is not None and scope.record.failure is not None:
                raised = _rolled_back(scope.record.failure)
            else:
                if scope.server is not None:
                    scope.server.commit()
                    self._rows |= scope.server.committed
                boundary.end(Outcome.COMMITTED)
        elif how is Ending.REFUSE:
            raised = _rolled_back(boundary.cause)
        boundary.end(Outcome.NOT_COMMITTED)
        return raised

    def committed(self) -> set[int]:
        return set(self._rows)

    def close(self) -> None:
        pass


def _rolled_back(cause: BaseException | None) -> RolledBack:
    error = RolledBack("rolled back")
    error.__cause__ = cause
    return error


# ---------------------------------------------------------------- real


def observe(url: str) -> Engine:
    """Another's look at the database, with the table in it; on SQLite nobody waits for a disk."""
    plain = make_url(url)
    if plain.drivername == "mysql":
        plain = plain.set(drivername="mysql+pymysql")
    observer = create_engine(plain)
    if observer.dialect.name == "sqlite":
        with observer.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = wal")
            connection.exec_driver_sql("PRAGMA synchronous = off")
    Base.metadata.create_all(observer)
    return observer


class DatabaseSystem:
    """The same programs as blocks of a Database."""

    def __init__(self, url: str, observer: Engine) -> None:
        self._observer = observer
        with observer.begin() as connection:
            connection.execute(text("DELETE FROM entries"))
            connection.execute(text(f"INSERT INTO entries VALUES ({SEED})"))
        # a level at which the innermost scope sees what the others have committed in the meantime
        level = None if observer.dialect.name == "sqlite" else "READ COMMITTED"
        self._db = Database(url, synchronous="off", pool_timeout=1, isolation=level)
        self._open: list[tuple[Any, Any]] = []

    @property
    def _session(self) -> Any:
        return self._open[-1][1]

    def open(self, propagation: str, *, commits_on_expected: bool) -> Scope | None:
        block = self._db.session(
            propagation=Propagation(propagation),
            commit_on=(Expected,) if commits_on_expected else (),
        )
        session = block.__enter__()
        self._open.append((block, session))
        return current_scope.get()

    def insert(self, row: int) -> None:
        if self.flushes(row):
            self._flush(row)
        else:
            self._session.execute("INSERT INTO entries VALUES (:id)", {"id": row})

    def flushes(self, what: int | Trouble) -> bool:
        # by turns, so that both of SQLAlchemy's ways to a connection are gone
        return what == "dooms" or (isinstance(what, int) and what % 2 == 0)

    def trouble(self, kind: Trouble) -> None:
        if kind == "dooms":
            # after a failed flush, SQLAlchemy's session takes nothing but a rollback
            self._flush(SEED)
        else:
            conflict = "OR ROLLBACK" if kind == "ends all" else ""
            self._session.execute(f"INSERT {conflict} INTO entries VALUES ({SEED})")

    def _flush(self, row: int) -> None:
        session, entry = self._session, Row(id=row)
        session.add(entry)
        try:
            session.flush()
        except BaseException:
            # SQLAlchemy warns of what a session that was refused would drop at its end
            if entry in session.new:
                session.expunge(entry)
            raise

    def visible(self) -> set[int]:
        return set(self._session.scalars("SELECT id FROM entries")) - {SEED}

    def ask_rollback(self) -> None:
        self._session.rollback_only()

    def leave(self, error: BaseException | None) -> BaseException | None:
        block, _ = self._open.pop()
        try:
            block.__exit__(None if error is None else type(error), error, None)
        except BaseException as raised:
            return raised
        return error

    def committed(self) -> set[int]:
        with self._observer.connect() as connection:
            return {row for (row,) in connection.execute(text("SELECT id FROM entries"))} - {SEED}

    def close(self) -> None:
        while self._open:  # of a program that failed half-way
            self.leave(RuntimeError("abandoned"))
        snapshot = self._db.snapshot()
        self._db.close()
        assert all(pool.lent == 0 for pool in snapshot.pools), "a connection was not given back"
        assert not snapshot.scopes, "a scope is left"
