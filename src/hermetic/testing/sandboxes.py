"""The sandboxes of one Database: which of them a scope is in."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import Engine, event

from ..engine import Server
from ..errors import ConfigurationError
from ..pool import demanded
from ..registry import Scope
from ..tenancy import DatabasePerTenant
from .bay import Bay
from .errors import OutsideSandbox

if TYPE_CHECKING:
    from ..database import Database
    from .sandbox import Sandbox

_Loop = asyncio.AbstractEventLoop | None

# guards the making of what a Database has one of
_making = threading.Lock()


class Membership:
    """One sandbox that the code of a context is in, and those around it."""

    __slots__ = ("around", "sandbox")

    def __init__(self, sandbox: Sandbox | None, around: Membership | None) -> None:
        self.sandbox = sandbox
        self.around = around


class Staying:
    """The route of a scope in a sandbox: it has nowhere to go, and comes to no position."""

    branches: ClassVar[tuple[Scope, ...]] = ()
    open: ClassVar[bool] = False
    settled: ClassVar[bool] = True
    until: ClassVar[float | None] = None
    position: ClassVar[str | None] = None

    def ask(self, *_: Any) -> None:
        """Nothing was committed that a server could have come to."""

    check_joined = ended = ask


_STAYING = Staying()


# ``None`` for a sandbox: this code is outside of all on purpose
memberships: ContextVar[Membership | None] = ContextVar("hermetic_sandboxes", default=None)


class Sandboxes:
    """What says where scopes go, in the place of a Database's own routes, from the first one on."""

    def __init__(self, database: Database) -> None:
        if isinstance(database.options.tenants, DatabasePerTenant):
            raise ConfigurationError(
                "A Database whose tenants have a database each cannot be sandboxed.",
                hint="Give each test databases of its own, from hermetic.testing.template().",
            )
        self.database = database
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._open: dict[int, Sandbox] = {}
        self._free: dict[_Loop, list[Bay]] = {}
        self._routes: Any = None
        self._guarded: list[Engine] = []

    def __getattr__(self, name: str) -> Any:
        # a Database asks its routes for more than the way of a scope
        if self._routes is None:
            raise AttributeError(name)
        return getattr(self._routes, name)

    def behind(self, routes: Any) -> Any:
        """The Database's own routes, if it has any, where it has these."""
        return self._routes if routes is self else routes

    def stand_before(self, routes: Any) -> bool:
        """Take the Database's own, which were made just now, if these are in their place."""
        with self._lock:
            standing: Any = self.database.routes
            if standing is not self:
                return False
            self._routes = routes
            return True

    # ------------------------------------------------------------ which one

    def begin(self, scope: Scope) -> Server | None:
        """The server of a scope, as its context has it.

        :raises OutsideSandbox: it is in none, while there are some.
        """
        sandbox = self._here(asynchronous=scope.asynchronous)
        if sandbox is not None:
            sandbox.scopes.add(scope)
            scope.route, scope.asks = _STAYING, True
            return sandbox.bay
        if self._routes is None:
            return self.database.server
        found: Server | None = self._routes.begin(scope)
        return found

    def server(self, *, asynchronous: bool, scope: Scope | None = None) -> Server:
        """The server of ``db.engine``, or of a group's scope, as its context has it."""
        sandbox = self._here(asynchronous=asynchronous)
        if sandbox is None:
            return self.database.server
        if scope is not None:
            sandbox.scopes.add(scope)
        return sandbox.bay

    def check_here(self, bay: Bay) -> None:
        """:raises OutsideSandbox: a bay's engine is used by code that is not in its sandbox."""
        sandbox = self._here(asynchronous=bay.loop is not None)
        if sandbox is None or sandbox.bay is not bay:
            raise OutsideSandbox(
                "An engine is used that is another sandbox's.",
                sandbox="" if sandbox is None else sandbox.name,
                hint="Ask for db.engine where it is used.",
            )

    def _here(self, *, asynchronous: bool) -> Sandbox | None:
        member = memberships.get()
        other: Sandbox | None = None
        while member is not None:
            found = member.sandbox
            if found is None:
                return None
            if found.database is self.database:
                if found.asynchronous == asynchronous and found.is_open:
                    found.check_world()
                    return found
                other = other or found
            member = member.around
        if not self._open and other is None:
            return None
        raise self._outside(other, asynchronous)

    def _outside(self, other: Sandbox | None, asynchronous: bool) -> OutsideSandbox:
        names = ", ".join(repr(each.name) for each in list(self._open.values())[:3])
        if other is None:
            why = "this code is in none of them"
            hint = (
                "Start a thread with sandbox.let_in(function), or enter sandbox.enter() in it; a "
                "task has the sandbox of whoever started it. What is meant to stay is written in "
                "a block of hermetic.testing.outside()."
            )
        elif other.is_open:
            mine, its = ("asyncio", "threads") if asynchronous else ("threads", "asyncio")
            why = f"{other.name!r} is one of {its}, and this code is one of {mine}"
            hint = "Each world has a connection of its own: open a sandbox for each that is used."
        else:
            why = f"its own, {other.name!r}, has ended"
            hint = "Wait for what a test has started before it ends."
        has = f"has open sandboxes ({names}), and" if names else "was sandboxed here:"
        return OutsideSandbox(
            f"Database {self.database.name!r} {has} {why}.",
            sandbox="" if other is None else other.name,
            hint=hint,
        )

    # ------------------------------------------------------------ bays

    def take(self, loop: _Loop) -> Bay:
        """A bay that nobody uses, made if need be."""
        self.database.check_open()
        with self._lock:
            gone = self._gone()
            free = self._free.get(loop)
            bay = free.pop() if free else None
        for each in gone:
            each.close()
        return bay or Bay(self.database, next(self._numbers), loop)

    def _gone(self) -> list[Bay]:
        """Those of loops that were closed."""
        closed = [loop for loop in self._free if loop is not None and loop.is_closed()]
        return [bay for loop in closed for bay in self._free.pop(loop)]

    def give_back(self, bay: Bay) -> bool:
        """Keep a bay for the next sandbox; ``False``: it has to be shut."""
        if bay.spoilt or self.database.server.closed:
            return False
        with self._lock:
            self._free.setdefault(bay.loop, []).append(bay)
        return True

    def around(self, *, asynchronous: bool) -> Iterator[Sandbox]:
        """The open ones of this Database that do not end while code waits here."""
        member = memberships.get()
        while member is not None:
            found = member.sandbox
            if found is not None and found.database is self.database and found.is_open:
                yield found
            member = member.around
        with self._lock:
            known = list(self._open.values())
        yield from (each for each in known if each.waits_for_here(asynchronous=asynchronous))

    def opened(self, sandbox: Sandbox) -> None:
        """From here on scopes ask which sandbox they are in."""
        with self._lock:
            routes: Any = self
            if self.database.routes is not routes:
                # from now on: what was started in a sandbox may outlive them all
                self._routes, self.database.routes = self.database.routes, routes
            if not self._open:
                self._guard()
            self._open[id(sandbox)] = sandbox

    def ended(self, sandbox: Sandbox) -> None:
        """With the last one goes the guard of the Database's own engines."""
        with self._lock:
            if self._open.pop(id(sandbox), None) is not None and not self._open:
                self.database.server.outfitted = None
                for engine in self._guarded:
                    event.remove(engine, "checkout", self._on_checkout)
                self._guarded = []

    def _guard(self) -> None:
        """Whoever took an engine before is not to write past the sandbox that it is in."""
        server = self.database.server
        # first: one that is made right now is met twice, or by this
        server.outfitted = self._guard_one
        for engine in server.engines():
            self._guard_one(engine)

    def _guard_one(self, engine: Engine) -> None:
        if not event.contains(engine, "checkout", self._on_checkout):
            event.listen(engine, "checkout", self._on_checkout)
            self._guarded.append(engine)

    def _on_checkout(self, dbapi: Any, record: Any, proxy: Any) -> None:
        member = memberships.get()
        while member is not None:
            found = member.sandbox
            if found is None:
                return
            if found.database is self.database and found.is_open:
                raise OutsideSandbox(
                    f"A connection was taken past sandbox {found.name!r}, from an engine that was "
                    "taken from the Database before it began.",
                    sandbox=found.name,
                    hint="Ask for db.engine where it is used: inside it is the sandbox's.",
                )
            member = member.around
        if demanded() is None:
            raise self._outside(None, False)

    def take_all(self) -> list[Bay]:
        """Every bay that is free, for the last time."""
        with self._lock:
            free, self._free = self._free, {}
        return [bay for bays in free.values() for bay in bays]


def sandboxes_of(database: Database) -> Sandboxes:
    """Those of a Database, which has them from its first one on."""
    with _making:
        if database.sandboxes is None:
            database.sandboxes = Sandboxes(database)
        found: Sandboxes = database.sandboxes
        return found
