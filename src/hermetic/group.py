"""Several databases as one unit of work."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, Unpack

from sqlalchemy import Engine
from sqlalchemy.util import greenlet_spawn

from . import current, known
from .async_session import AsyncSession
from .attempts import Attempts, Unit
from .binding import Binding
from .branch import Branches, GroupRegistry
from .checking import Checker
from .closing import Closing
from .configuration import table_from_toml
from .coordinator import Coordinator
from .database import Database
from .decisions import FileLog, TableLog
from .errors import InvalidOption, NoScope, ScopeRefused
from .events import Listener, Snapshot
from .group_session import group_session
from .keywords import ScopeKeywords
from .options import SCOPE_OPTION_NAMES, DatabaseOptions, Isolation, Retry, ScopeOptions
from .place import Place, caller_frame
from .recovery import Recovery, recover
from .registry import Registry, Scope
from .retry import RetryBudget

# what a Group takes besides its databases and the defaults of its scopes
_OWN = ("name", "cleanup_timeout", "session_options", "retries_per_second", "retry_burst")
# what a scope over several databases cannot have
_LACKED = ("after", "position", "tenant")


class Group(Closing):
    """Several Databases as one unit of work: one scope, one session, one end.

    Each database's connection is taken when it is first touched. Their commits are sent in the
    order in which they are named here.

    :param binds: the name of a database for a mapped class, a base class, a table or a MetaData.
        A class's ``__bind_key__`` and ``metadata.info["bind_key"]`` count too; everything else is
        the first-named database's.
    :param two_phase: whether every database prepares its part before any commits it, so that a
        unit is applied in all of them or in none, whoever dies when. The value is where decisions
        are logged: the name of one of the databases, or the path of a file; ``True`` is the
        first-named database. Default ``False``: commits one after the other.
    :param given: the databases by their names, and ``name``, ``cleanup_timeout``,
        ``session_options``, ``retries_per_second`` and ``retry_burst`` as a Database has them, and
        defaults of scopes. A Database stays usable by itself; closing the Group closes it.
    :raises InvalidOption: an option is unknown, or a Database has what a group lacks.
    """

    def __init__(
        self,
        *,
        binds: Mapping[Any, str] | None = None,
        two_phase: bool | str | Path = False,
        **given: Any,
    ) -> None:
        self.databases: Mapping[str, Database] = MappingProxyType(
            {key: value for key, value in given.items() if isinstance(value, Database)}
        )
        options = {key: value for key, value in given.items() if key not in self.databases}
        self._check_options(options)
        self.options = DatabaseOptions.build(options, place="Group()")
        self.name = self.options.name or "+".join(self.databases)[:63]
        self._check_databases()
        self.registry = GroupRegistry(self.name)
        self.registry.members = tuple(each.registry for each in self.databases.values())
        names = tuple(self.databases)
        self.binding = Binding(names, binds or {}, f"Group {self.name!r}")
        self.retry_budget = RetryBudget(self.options.retries_per_second, self.options.retry_burst)
        self.registry.after_fork.append(self.retry_budget.start_anew)
        self._check(self.options.scope, "Group()")
        self.coordinator = self._coordinator(two_phase)
        self._start()
        known.note(self)

    @classmethod
    def from_toml(cls, path: str | Path, table: str = "hermetic.group", **options: Any) -> Self:
        """A Group from a table of a TOML file: options by their names, ``two_phase`` or
        ``two_phase_file``, and a table for each database below ``databases``, as
        ``Database.from_toml`` takes it. Keywords win.

        :raises ConfigurationError: the file cannot be read, or has no such table.
        :raises InvalidOption: a key is unknown or wrong.
        """
        found, place = table_from_toml(Path(path), table)
        databases = found.pop("databases", None)
        if not isinstance(databases, dict):
            raise InvalidOption("databases", ..., "is missing, or is no table", place=place)
        file = found.pop("two_phase_file", None)
        if file is not None:
            found["two_phase"] = Path(Checker(place).text("two_phase_file", file, longest=4096))
        made: dict[str, Any] = {
            key: Database.from_toml(path, f"{table}.databases.{key}") for key in databases
        }
        return cls(**{**found, **options, **made})

    def _coordinator(self, two_phase: bool | str | Path) -> Coordinator | None:
        if two_phase is False:
            return None
        servers = {key: each.server for key, each in self.databases.items()}
        log: TableLog | FileLog
        if isinstance(two_phase, Path):
            log = FileLog(two_phase)
        else:
            key = next(iter(servers)) if two_phase is True else two_phase
            if key not in servers:
                problem = "names no database of the group; a file is given as a pathlib.Path"
                raise InvalidOption("two_phase", key, problem, place="Group()")
            log = TableLog(servers[key], key)
        return Coordinator(self.name, servers, log, self.options.cleanup_timeout)

    def _start(self) -> None:
        """What a scope's opening asks of a Database."""
        unit: Any = self
        self.routes = self.family = self.server = unit
        self.tenants = self.tenant_servers = None
        levels = [each.family.default_isolation for each in self.databases.values()]
        self.default_isolation: Isolation = min(levels, key=lambda level: level.strength)
        self._plain = Unit(unit, self.options.scope, retry_given=False)

    def _check_options(self, options: Mapping[str, Any]) -> None:
        known = (*_OWN, *SCOPE_OPTION_NAMES)
        for option in options:
            if option not in known:
                raise Checker("Group()").unknown(option, "a Group", ", ".join(known))
        if not self.databases:
            problem = "is missing: name at least one"
            raise InvalidOption("main", ..., problem, place="Group()", hint="Group(main=db, …)")

    def _check_databases(self) -> None:
        seen: dict[int, str] = {}
        for key, each in self.databases.items():
            for option in ("tenants", "resolve_commits"):
                if getattr(each.options, option) is not None:
                    problem = f"is what a Database cannot have in a group, and {key!r} has it"
                    hint = "Make another Database without it."
                    raise InvalidOption(option, ..., problem, place="Group()", hint=hint)
            if id(each) in seen:
                problem = f"is the same Database as {seen[id(each)]!r}"
                raise InvalidOption(key, ..., problem, place="Group()")
            seen[id(each)] = key

    def _check(self, options: ScopeOptions, place: str) -> None:
        for option in _LACKED:
            if getattr(options, option) is not None:
                problem = "is nothing that a scope over several databases has"
                raise InvalidOption(option, getattr(options, option), problem, place=place)
        for each in self.databases.values():
            each._check_isolation(options, place=place)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "draining" if self._closing else "open"
        names = ", ".join(self.databases)
        return f"<Group {self.name!r} {state}, {len(self.registry.scopes)} scopes, {names}>"

    # ------------------------------------------------------------ scopes

    def session(self, **options: Unpack[ScopeKeywords]) -> Unit:
        """A unit of work, as ``Database.session``: ``with``, ``async with``, or a decorator.

        :param options: the fields of ScopeOptions, but for ``after``, ``position`` and ``tenant``.
        :raises InvalidOption: an option is unknown, or its value outside its limits.
        """
        if not options:
            return self._plain
        merged = self._merged(options, "group.session()")
        unit: Any = self
        return Unit(unit, merged, retry_given="retry" in options)

    def attempts(self, **options: Unpack[ScopeKeywords]) -> Attempts:
        """A unit of work as a loop of blocks, as ``Database.attempts``.

        A unit of which one database is committed is never run again.
        """
        merged = self._merged(options, "group.attempts()")
        if merged.retry is None and "retry" not in options:
            merged = merged.updated({"retry": Retry()}, place="group.attempts()")
        unit: Any = self
        return Attempts(unit, merged, Place(caller_frame()))

    def _merged(self, options: Mapping[str, Any], place: str) -> ScopeOptions:
        merged = self.options.scope.updated(options, place=place)
        self._check(merged, place)
        return merged

    @property
    def current(self) -> Any:
        """The session of the innermost scope of the group in this thread or task.

        :raises NoScope: none is open here.
        """
        scope = current.open_scope(self.registry)
        if scope is None:
            raise NoScope(
                f"No scope of Group {self.name!r} is open here.",
                hint="Open one with group.session() around this call.",
            )
        scope.check_owner()
        return scope.facade

    def begin(self, scope: Scope) -> None:
        """Give a scope that begins its session. Nothing is connected."""
        engines = partial(self._engine, scope)
        scope.route = Branches(scope, tuple(self.databases), engines)
        scope.route.coordinator = self.coordinator
        made = partial(group_session, scope, self.binding, self.options.session_options)
        if scope.asynchronous:
            maker: Any = made
            scope.facade = AsyncSession(sync_session_class=maker)
            scope.session = scope.facade.sync_session
        else:
            scope.facade = scope.session = made()

    def _engine(self, scope: Scope, key: str) -> tuple[Engine, Registry]:
        database = self.databases[key]
        asynchronous, readonly = scope.asynchronous, scope.readonly
        server = database.server_here(asynchronous=asynchronous, scope=scope)
        if server is not database.server and self.coordinator is not None:
            raise ScopeRefused(
                f"{key!r} is in a sandbox, whose transaction cannot be prepared.",
                hint="Test a group with two_phase on databases of its own, from "
                "hermetic.testing.template().",
            )
        side = (
            server.async_side(reader=readonly)[1] if asynchronous else server.side(reader=readonly)
        )
        engine: Engine = side.engine
        return engine, database.registry

    # ------------------------------------------------------------ in doubt

    def create_log(self) -> None:
        """Make the log of decisions that ``two_phase`` needs, if it is not there.

        :raises InvalidOption: the group has no ``two_phase``.
        """
        self._two_phase().create(asynchronous=False)

    async def acreate_log(self) -> None:
        """As ``create_log``, under asyncio."""
        await greenlet_spawn(self._two_phase().create, asynchronous=True)

    def recover(self, *, grace: float = 60.0, timeout: float = 30.0) -> Recovery:
        """Settle the units whose process died between PREPARE and COMMIT, or lost its servers.

        What is decided is committed; what is not, and is older than ``grace``, is rolled back.
        Call it at every start, and now and then, or have ``hermetic recover`` do it. Any number of
        them may run at once, beside units that are under way.

        :param grace: seconds. A unit that takes longer from its begin to its decision, and was
            taken for dead, raises RolledBack. Default: 60.
        :param timeout: seconds for all of it. Default: 30.
        :raises InvalidOption: the group has no ``two_phase``.
        """
        grace, timeout = _checked(grace, timeout)
        return recover(self._two_phase(), grace, timeout, asynchronous=False)

    async def arecover(self, *, grace: float = 60.0, timeout: float = 30.0) -> Recovery:
        """As ``recover``, under asyncio."""
        grace, timeout = _checked(grace, timeout)
        done: Recovery = await greenlet_spawn(
            recover, self._two_phase(), grace, timeout, asynchronous=True
        )
        return done

    def _two_phase(self) -> Coordinator:
        if self.coordinator is None:
            place = f"Group {self.name!r}"
            raise InvalidOption("two_phase", False, "is needed for this", place=place)
        return self.coordinator

    # ------------------------------------------------------------ what is seen

    def snapshot(self) -> Snapshot:
        """Every open scope of the group; a database's own snapshot shows what it has there."""
        seen = self.registry.snapshot()
        scopes = []
        for info in seen.scopes:
            scope = self.registry.scopes.get(info.number)
            branches = () if scope is None else scope.root.route.branches
            statements = sum(each.statements for each in branches)
            rows, trips = (None, None) if scope is None else scope.root.route.counted()
            told = {"statements": statements, "rows": rows, "round_trips": trips}
            scopes.append(dataclasses.replace(info, **told))
        return dataclasses.replace(seen, scopes=tuple(scopes))

    def listen(self, listener: Listener) -> Callable[[], None]:
        """As ``Database.listen``, for the group's scopes; its databases tell of their parts."""
        return Database.listen(self, listener)  # type: ignore[arg-type]

    # ------------------------------------------------------------ the end

    @property
    def closed(self) -> bool:
        """Whether one of its databases is closed."""
        return any(each.server.closed for each in self.databases.values())

    @property
    def _closing(self) -> bool:
        return any(each._closing for each in self.databases.values())

    def check_open(self) -> None:
        """:raises DatabaseClosed: one of its databases takes no new scopes."""
        for each in self.databases.values():
            each.check_open()

    def check_not_closed(self) -> None:
        """:raises DatabaseClosed: one of its databases is closed."""
        for each in self.databases.values():
            each.check_not_closed()

    def close(self) -> None:
        """Close its databases, as ``Database.close``."""
        for each in self.databases.values():
            each.close()

    async def aclose(self) -> None:
        """As ``close``, under asyncio."""
        for each in self.databases.values():
            await each.aclose()


def _checked(grace: float, timeout: float) -> tuple[float, float]:
    check = Checker("group.recover()")
    return (
        check.seconds("grace", grace, zero=True) or 0.0,
        check.seconds("timeout", timeout) or 0.0,
    )
