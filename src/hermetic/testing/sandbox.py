"""A sandbox: everything inside it is rolled back, whatever the code in it commits."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import warnings
import weakref
from collections.abc import Callable, Container, Iterator
from types import TracebackType
from typing import Any, ParamSpec, Protocol, Self, TypeVar

from sqlalchemy.util import greenlet_spawn

from ..checking import Checker
from ..clock import monotonic
from ..current import open_scope
from ..database import Database
from ..errors import InvalidOption
from ..options import Isolation
from ..owner import Owner
from ..place import Place, caller_frame
from ..registry import Scope
from ..scope import see_to_end, see_to_end_async
from .bay import Bay
from .errors import OutsideSandbox, SandboxError, SandboxLeak, SandboxWarning
from .sandboxes import Membership, memberships, sandboxes_of

P = ParamSpec("P")
R = TypeVar("R")


class Portal(Protocol):
    """What calls coroutine functions in an event loop of another thread, and waits."""

    def call(self, func: Callable[..., Any], /, *args: Any) -> Any:
        """What the function has returned, or raised."""


class Sandbox:
    """What ``sandbox(db)`` gives: a block, for ``with`` or ``async with``.

    ``name`` is what errors call it. It may be entered again after it was left.
    """

    def __init__(
        self, database: Database, name: str, isolation: Isolation | None, wait: float
    ) -> None:
        self.database = database
        self.name = name
        self.isolation = isolation
        self.wait = wait
        self.asynchronous = False
        self.is_open = False
        self.scopes: weakref.WeakSet[Scope] = weakref.WeakSet()
        self._bay: Bay | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._around: Membership | None = None
        # where it was opened: by which thread, and in which loop that was running, if any
        self._thread = 0
        self._opened_in: asyncio.AbstractEventLoop | None = None
        self._cleanup = database.options.cleanup_timeout
        # whether its end was told to somebody already
        self._told = False

    def __repr__(self) -> str:
        state = "open" if self.is_open else "not open"
        return f"<Sandbox {self.name!r} of {self.database.name!r}, {state}>"

    @property
    def bay(self) -> Bay:
        """Where its scopes go."""
        assert self._bay is not None
        return self._bay

    # ------------------------------------------------------------ letting in

    @contextlib.contextmanager
    def enter(self) -> Iterator[Self]:
        """A block in which this thread or task is inside; for code that the sandbox's own context
        does not reach.

        :raises OutsideSandbox: it is not open.
        """
        self._check_open()
        token = memberships.set(Membership(self, memberships.get()))
        try:
            yield self
        finally:
            memberships.reset(token)

    def let_in(self, function: Callable[P, R]) -> Callable[P, R]:
        """The same function, which runs inside wherever it is called, as for a thread::

            Thread(target=sandbox.let_in(work)).start()

        It has a copy of the caller's context, so that its scopes are inside the caller's open one
        rather than waiting for its end.
        """
        self._check_open()
        context = contextvars.copy_context()
        context.run(memberships.set, Membership(self, memberships.get()))

        def inside(*args: P.args, **kwargs: P.kwargs) -> R:
            return context.copy().run(function, *args, **kwargs)

        return inside

    @contextlib.contextmanager
    def through(self, portal: Portal | None) -> Iterator[Self]:
        """A block of this thread's, inside a sandbox of the event loop that a portal leads to.

        For tests that call an application of asyncio from a thread, as by Starlette's TestClient::

            with TestClient(app) as client, sandbox(db).through(client.portal):
                client.post("/users/ann")

        :param portal: anyio's blocking portal, or what calls in its way.
        :raises SandboxError: there is none, as before a TestClient's block.
        """
        if portal is None:
            raise SandboxError(
                f"Sandbox {self.name!r} has no event loop to be opened in.",
                sandbox=self.name,
                hint="A TestClient has one inside its block: with TestClient(app) as client.",
            )
        portal.call(self.__aenter__)
        left: tuple[Any, Any, Any] = (None, None, None)
        try:
            with self.enter():
                yield self
        except BaseException as error:
            left = (type(error), error, error.__traceback__)
            raise
        finally:
            portal.call(self.__aexit__, *left)

    def _check_open(self) -> None:
        if not self.is_open:
            raise OutsideSandbox(
                f"Sandbox {self.name!r} is not open.",
                sandbox=self.name,
                hint="Let threads in while its block runs, and wait for them before it ends.",
            )

    def check_world(self) -> None:
        """:raises OutsideSandbox: its connection is of another event loop."""
        if self.asynchronous and asyncio.get_running_loop() is not self._loop:
            raise OutsideSandbox(
                f"Sandbox {self.name!r} is one of another event loop.",
                sandbox=self.name,
                hint="An asyncio driver's connection lives in one loop: run code and test in the "
                "same, or open a sandbox there.",
            )

    # ------------------------------------------------------------ what is left

    def left(self) -> dict[int, str]:
        """What is open inside, in words: scopes by their numbers, connections by negative ones."""
        if self._bay is None:
            return {}
        known = sorted(self.scopes, key=lambda scope: scope.number)
        scopes = {scope.number: str(scope.ref) for scope in known if not scope.ended}
        taken = list(self._bay.taken.items())
        return scopes | {-key: f"a connection, taken at {place}" for key, place in taken}

    def check(self, *, but: Container[int] = ()) -> None:
        """What a test has done to its sandbox so far; it is told once.

        :param but: keys of ``left``, of what is somebody else's to end.
        :raises SandboxEnded: its transaction was ended.
        :raises SandboxLeak: scopes or connections are open still.
        """
        if self._bay is None or self._told:
            return
        ended = self._bay.levels.ended
        left = {key: what for key, what in self.left().items() if key not in but}
        if ended is None and not left:
            return
        self._told = True
        if ended is not None:
            raise ended()
        raise SandboxLeak(
            self.name,
            tuple(what for key, what in left.items() if key > 0),
            tuple(what for key, what in left.items() if key < 0),
        )

    def note(self, error: BaseException, *, but: Container[int] = ()) -> None:
        """As ``check``, told as a note on what a test has failed with already."""
        try:
            self.check(but=but)
        except SandboxError as problem:
            _add(error, problem)

    # ------------------------------------------------------------ threads

    def __enter__(self) -> Self:
        self._check_closed()
        self._check_no_scope()
        self.asynchronous = False
        self._opened(self._begun())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        problem = self._leave()
        bay = self.bay
        try:
            for scope in self._idle():
                see_to_end(scope, self._closed(), self._cleanup)
            bay.end_sandbox()
        finally:
            self._bay = None
            if not sandboxes_of(self.database).give_back(bay):
                bay.shut()
        self._tell(bay, problem, error)

    # ------------------------------------------------------------ asyncio

    async def __aenter__(self) -> Self:
        self._check_closed()
        self._check_no_scope()
        self.asynchronous, self._loop = True, self._running_loop()
        self._opened(await greenlet_spawn(self._begun))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        problem = self._leave()
        bay = self.bay
        try:
            for scope in self._idle():
                await see_to_end_async(scope, self._closed(), self._cleanup)
            await greenlet_spawn(bay.end_sandbox)
        finally:
            self._bay = None
            if not sandboxes_of(self.database).give_back(bay):
                await greenlet_spawn(bay.shut)
        self._tell(bay, problem, error)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio._get_running_loop()
        if loop is None:
            raise SandboxError(
                f"Sandbox {self.name!r} was opened by 'async with' outside of asyncio.",
                sandbox=self.name,
                hint="The drivers are asyncio's: run the test there, not by trio. With anyio's "
                "plugin a fixture 'anyio_backend' returns 'asyncio'.",
            )
        return loop

    # ------------------------------------------------------------ both

    def _check_closed(self) -> None:
        if self.is_open:
            raise SandboxError(
                f"Sandbox {self.name!r} is open already.",
                sandbox=self.name,
                hint="Make another one with sandbox(), or enter() this one.",
            )

    def _begun(self) -> Bay:
        """A bay with its transaction begun; one whose connection died idle is replaced."""
        found = sandboxes_of(self.database)
        until = monotonic() + self.wait
        while True:
            bay = found.take(self._loop if self.asynchronous else None)
            self._check_alone(bay)
            fresh = bay.real is None
            try:
                left = max(until - monotonic(), 0.0)
                bay.begin_sandbox(self.name, self.isolation, left)
            except BaseException as error:
                bay.shut()
                if fresh or not isinstance(error, Exception):
                    raise
            else:
                return bay

    def _check_alone(self, bay: Bay) -> None:
        """:raises SandboxError: it would wait for one that cannot end meanwhile."""
        found = sandboxes_of(self.database)
        around = found.around(asynchronous=self.asynchronous)
        other = next(around, None) if bay.special.alone else None
        if other is None:
            return
        found.give_back(bay)
        raise SandboxError(
            f"Sandbox {self.name!r} cannot begin inside of {other.name!r}: Database "
            f"{self.database.name!r} has one writer at a time, and would wait for ever.",
            sandbox=self.name,
            hint="Here a test has one sandbox, of threads or of asyncio. Several examples of one "
            "test open one each, without a fixture's around them.",
        )

    def waits_for_here(self, *, asynchronous: bool) -> bool:
        """Whether it cannot end while code waits here, in the way of its world."""
        if self._thread != threading.get_ident():
            return False
        blocks = not asynchronous or self._opened_in is None
        return blocks or self._opened_in is not asyncio._get_running_loop()

    def _check_no_scope(self) -> None:
        scope = open_scope(self.database.registry)
        if scope is not None and scope.owner.is_current():
            raise SandboxError(
                f"Sandbox {self.name!r} cannot begin inside of {scope.ref}: what joins that is "
                "committed with it.",
                sandbox=self.name,
                scope=scope.ref,
                hint="Open the sandbox first, and the scope in it.",
            )

    def _opened(self, bay: Bay) -> None:
        self._bay = bay
        self._thread = threading.get_ident()
        self._opened_in = asyncio._get_running_loop()
        self._told = False
        self.scopes.clear()
        self._around = memberships.get()
        memberships.set(Membership(self, self._around))
        self.is_open = True
        sandboxes_of(self.database).opened(self)

    def _leave(self) -> SandboxError | None:
        """Take no more in; what there is to say of what is left."""
        problem: SandboxError | None = None
        try:
            self.check()
        except SandboxError as error:
            problem = error
        member = memberships.get()
        if member is not None and member.sandbox is self:
            memberships.set(self._around)
        self.is_open = False
        sandboxes_of(self.database).ended(self)
        for scope in list(self.scopes):
            if not scope.ended:
                self.bay.spoilt = True
                scope.boundary.doom(self._closed())
        self.bay.spoilt |= bool(self.bay.taken)
        return problem

    def _closed(self) -> OutsideSandbox:
        return OutsideSandbox(
            f"Sandbox {self.name!r} has ended.",
            sandbox=self.name,
            hint="End every scope, and wait for what the test has started, before it ends.",
        )

    def _idle(self) -> list[Scope]:
        """Scopes that were left open, and that nobody is at work in: the innermost first.

        They are ended here, or the next test would find them open in its context.
        """
        open_ones = [scope for scope in self.scopes if not scope.ended and _is_idle(scope.owner)]
        # a group's are in a registry of its own
        registries = {id(each.registry): each.registry for each in open_ones}.values()
        known = [scope for each in registries for scope in list(each.scopes.values())]
        left = [scope for scope in known if scope.root in open_ones]
        for scope in left:
            if scope.unit is not None:
                scope.unit._open.pop(scope.number, None)  # its block is left to no end
        return sorted(left, key=lambda scope: scope.number, reverse=True)

    def _tell(self, bay: Bay, problem: SandboxError | None, error: BaseException | None) -> None:
        if problem is None and not self._told and bay.levels.ended is not None:
            problem = bay.levels.ended()
        if problem is not None and error is None:
            raise problem
        if problem is not None and error is not None:
            _add(error, problem)
        for text in bay.levels.warnings:
            warnings.warn(text, SandboxWarning, stacklevel=3)


def _add(error: BaseException, problem: SandboxError) -> None:
    """Tell of a problem beside an error, unless that has told it."""
    if str(problem) != str(error):
        error.add_note(str(problem))


def _is_idle(owner: Owner) -> bool:
    if owner.is_current() or not owner.thread.is_alive():
        return True
    task = owner.task
    return owner._task is not None and (task is None or task.done())


def sandbox(
    database: Database,
    *,
    name: str | None = None,
    isolation: Isolation | str | None = None,
    wait: float = 60.0,
) -> Sandbox:
    """A block in which everything is rolled back at its end, whatever the code in it commits.

    ``with`` for the scopes of threads, ``async with`` for those of asyncio. The code of its context
    is inside, and so are the tasks that it starts; threads are let in with ``enter`` or
    ``let_in``. While a Database has sandboxes, its scopes outside of all of them are refused; those
    of what was started in one are refused once that has ended. It does not begin inside a scope.

    :param name: what errors call it. Default: the line that makes it.
    :param isolation: the level of its transaction. Default ``None``: the server's own.
    :param wait: seconds to wait for the sandbox of another test or process, where the database has
        one writer at a time (SQLite). Default 60.
    :raises InvalidOption: the database has no such level.
    :raises ConfigurationError: each tenant has a database of its own.
    """
    checker = Checker("sandbox()")
    level = None if isolation is None else _level(database, isolation)
    checked = checker.seconds("wait", wait)
    return Sandbox(database, name or str(Place(caller_frame())), level, checked or 0.0)


def _level(database: Database, given: Isolation | str) -> Isolation:
    try:
        level = Isolation(given)
    except ValueError:
        problem = f"is none of {', '.join(Isolation)}"
        raise InvalidOption("isolation", given, problem, place="sandbox()") from None
    if level not in database.family.isolation_levels:
        problem = f"is a level that {database.family.name} lacks"
        raise InvalidOption("isolation", level.value, problem, place="sandbox()")
    return level


@contextlib.contextmanager
def outside() -> Iterator[None]:
    """A block whose scopes are outside of every sandbox: what they commit stays."""
    token = memberships.set(Membership(None, memberships.get()))
    try:
        yield
    finally:
        memberships.reset(token)
