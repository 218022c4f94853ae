"""Shards: several Databases of the same tables, of which a key says which one has a row."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import hashlib
import heapq
import inspect
import itertools
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import URL, Executable, event
from sqlalchemy import inspect as inspect_mapped
from sqlalchemy.orm import object_session

from . import current
from .attempts import Attempts, Unit
from .checking import Checker
from .clock import monotonic
from .closing import Closing
from .database import Database
from .errors import DatabaseClosed, InvalidOption
from .options import Propagation, ScopeOptions
from .registry import describe_error
from .shard_errors import ForeignShard, ShardFailed

__all__ = ["ForeignShard", "ShardFailed", "Shards", "by_hash", "merged"]

# at least so many statements of ``gather`` may be under way at once; threads are made as needed
_THREADS = 32
_EVENTS = ("before_insert", "before_update", "before_delete")


def by_hash(names: Iterable[str]) -> Callable[[Any], str]:
    """Which shard has a key, by chance that is the same in every process and release.

    With one shard more, only the keys that it gets move. A key is a string, bytes, a whole number
    or a UUID.
    """
    ordered = [(name, name.encode()) for name in names]

    def choose(key: Any) -> str:
        told = _bytes_of(key)
        return max(
            ordered,
            key=lambda each: hashlib.blake2b(told, digest_size=8, key=each[1][:64]).digest(),
        )[0]

    return choose


def _bytes_of(key: Any) -> bytes:
    if isinstance(key, bytes):
        return key
    if isinstance(key, UUID):
        return str(key).encode()
    if isinstance(key, (str, int)):
        return str(key).encode()
    problem = f"is of {type(key)}, which by_hash() does not take"
    raise InvalidOption("key", ..., problem, place="Shards", hint="Give a key= of your own.")


def merged(
    results: Mapping[str, Iterable[Any]],
    order: Callable[[Any], Any] | None = None,
    *,
    reverse: bool = False,
    limit: int | None = None,
) -> list[Any]:
    """The rows of all shards in one list.

    :param order: by what the rows of each shard are ordered already; ``None`` puts one shard's
        behind the other's.
    :param limit: how many at most.
    """
    rows: Iterable[Any]
    if order is None:
        rows = itertools.chain.from_iterable(results.values())
    else:
        rows = heapq.merge(*results.values(), key=order, reverse=reverse)
    return list(itertools.islice(rows, limit))


class Shards(Closing):
    """Several Databases of the same tables. Each row is in one, and a key says in which.

    A scope is one shard's, with all that a Database promises. Nothing here writes to two: a scope
    of one shard that is to write is refused inside a writing scope of another, and a flush of an
    object whose key is another shard's too, where the keys of its class are declared.

    :param databases: each shard by its name: a URL, of which a Database is made, or a Database.
    :param key: the name of the shard that has a key. Default: ``by_hash`` of the names.
    :param keys: for mapped classes, the name of the attribute, or the attribute, that is the key.
    :param options: of the Databases that are made; a shard's is named after it.
    :raises InvalidOption: there is none, or an option is unknown or wrong.
    """

    def __init__(
        self,
        databases: Mapping[str, str | URL | Database],
        *,
        key: Callable[[Any], str] | None = None,
        keys: Mapping[type, Any] | None = None,
        **options: Any,
    ) -> None:
        if not databases:
            raise InvalidOption("databases", ..., "names no shard", place="Shards()")
        self.databases: Mapping[str, Database] = MappingProxyType(
            {
                name: each
                if isinstance(each, Database)
                else Database(each, **{"name": name, **options})
                for name, each in databases.items()
            }
        )
        self._choose = key or by_hash(self.databases)
        self._shard_of = {db.registry: name for name, db in self.databases.items()}
        # guards the making of the threads
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._closed = False
        for db in self.databases.values():
            db.registry.after_fork.append(self._start_anew)
        self._listening: list[tuple[Any, str, Any]] = []
        for mapped, attribute in (keys or {}).items():
            self._declare(mapped, getattr(attribute, "key", attribute))

    def __repr__(self) -> str:
        return f"<Shards {', '.join(self.databases)}>"

    # ------------------------------------------------------------ one shard

    def of(self, key: Any) -> str:
        """The name of the shard that has a key.

        :raises InvalidOption: there is no such shard.
        """
        name = self._choose(key)
        if name not in self.databases:
            problem = "is of a shard that is not there"
            hint = f"key= gave {name!r}; there are {', '.join(self.databases)}."
            raise InvalidOption("key", ..., problem, place="Shards", hint=hint)
        return name

    def session(self, key: Any = ..., *, shard: str | None = None, **options: Any) -> ShardUnit:
        """A unit of work on one shard, as ``Database.session``.

        :param key: of which shard.
        :param shard: its name, where there is no key.
        :param options: the fields of ScopeOptions.
        :raises InvalidOption: there is no such shard, or an option is unknown or wrong.
        """
        name = self._named(key, shard, "shards.session()")
        db = self.databases[name]
        merged = db._merged(options, "shards.session()")
        return ShardUnit(self, name, db, merged, retry_given="retry" in options)

    def attempts(self, key: Any = ..., *, shard: str | None = None, **options: Any) -> Attempts:
        """A unit of work on one shard as a loop of blocks, as ``Database.attempts``."""
        name = self._named(key, shard, "shards.attempts()")
        db = self.databases[name]
        self.check_alone(name, db._merged(options, "shards.attempts()"))
        return db.attempts(**options)

    def _named(self, key: Any, shard: str | None, place: str) -> str:
        if (key is ...) == (shard is None):
            raise InvalidOption("key", ..., "or shard= is needed, one of them", place=place)
        if shard is None:
            return self.of(key)
        if shard not in self.databases:
            problem = f"is none of {', '.join(self.databases)}"
            raise InvalidOption("shard", shard, problem, place=place)
        return shard

    def check_alone(self, name: str, options: ScopeOptions) -> None:
        """:raises ForeignShard: a scope that may write is open here on another shard."""
        if options.readonly or options.propagation is Propagation.REQUIRES_NEW:
            return
        if current.innermost() is None:
            return
        for other, db in self.databases.items():
            scope = None if other == name else current.open_scope(db.registry)
            if scope is not None and scope.owner.is_current() and not scope.root.readonly:
                raise ForeignShard(
                    f"A scope of shard {name!r} that may write was to be opened inside one of "
                    f"shard {other!r}: they would not commit as one.",
                    shard=other,
                    owner=name,
                    scope=scope.ref,
                    hint="Open one after the other; or the inner one with readonly=True, or with "
                    "propagation='requires_new' where it may be committed without the outer one.",
                )

    # ------------------------------------------------------------ keys of objects

    def _declare(self, mapped: type, attribute: str) -> None:
        known: Any = inspect_mapped(mapped, raiseerr=False)
        if known is None or not hasattr(mapped, attribute):
            problem = f"has {mapped!r}, which is no mapped class with an attribute {attribute!r}"
            raise InvalidOption("keys", ..., problem, place="Shards()")
        for name in _EVENTS:
            check = functools.partial(self._check_object, attribute, name)

            def listener(of: Any, connection: Any, target: Any, check: Any = check) -> None:
                check(target)

            event.listen(mapped, name, listener, propagate=True)
            self._listening.append((mapped, name, listener))

    def _check_object(self, attribute: str, what: str, target: Any) -> None:
        """:raises ForeignShard: an object's key is of another shard than the scope that writes."""
        scope = getattr(object_session(target), "_scope", None)
        name = None if scope is None else self._shard_of.get(scope.registry)
        if name is None:
            return
        key = inspect_mapped(target).dict.get(attribute)
        if key is None and what != "before_insert":
            return  # not loaded: it came from here
        owner = None if key is None else self.of(key)
        if scope is None or owner == name:
            return
        whose = f"of shard {owner!r}" if owner is not None else "without a key"
        raise ForeignShard(
            f"A {type(target).__name__} {whose} was to be written in a scope of shard {name!r}.",
            shard=name,
            owner=owner,
            scope=scope.ref,
            hint=f"Its key is {attribute!r}: open a scope with it, shards.session(key).",
        )

    # ------------------------------------------------------------ all of them

    def gather(
        self,
        work: Executable | str | Callable[[Any], Any],
        *,
        shards: Iterable[str] | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Read from several shards side by side, each in a read-only scope of its own.

        Each sees its own moment. Of an open scope around, nothing uncommitted is seen.

        :param work: a statement, whose rows are taken; or a function of a session, called in a
            thread of its own for each shard.
        :param shards: the names of some. Default: all.
        :param timeout: seconds, for all together. Default: that of each Database's scopes.
        :param options: the fields of ScopeOptions.
        :return: by the names of the shards, in their order.
        :raises ShardFailed: some have failed; it names them, and has what the others gave.
        :raises DatabaseClosed: they were closed.
        """
        names, until = self._asked(shards, timeout, options)
        threads = self._made_threads()
        futures: dict[str, Future[Any]] = {
            name: threads.submit(
                contextvars.copy_context().run, self._read, name, work, until, options
            )
            for name in names
        }
        outcomes: dict[str, Any] = {}
        try:
            for name, future in futures.items():
                outcomes[name] = future.exception() or _Given(future.result())
        finally:
            for future in futures.values():
                future.cancel()
        return _sorted_out(outcomes)

    async def agather(
        self,
        work: Executable | str | Callable[[Any], Any],
        *,
        shards: Iterable[str] | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """As ``gather``, under asyncio, in tasks; a function of a session may be a coroutine's."""
        names, until = self._asked(shards, timeout, options)
        answers = await asyncio.gather(
            *(self._aread(name, work, until, options) for name in names), return_exceptions=True
        )
        return _sorted_out(
            {
                name: answer if isinstance(answer, BaseException) else _Given(answer)
                for name, answer in zip(names, answers, strict=True)
            }
        )

    def _asked(
        self, shards: Iterable[str] | None, timeout: float | None, options: dict[str, Any]
    ) -> tuple[list[str], float | None]:
        place = "shards.gather()"
        for option in ("readonly", "propagation"):
            if option in options:
                problem = "is not to choose: each shard is read in a read-only scope of its own"
                raise InvalidOption(option, options[option], problem, place=place)
        if self._closed:
            hint = "Make new ones."
            raise DatabaseClosed(f"Shards {', '.join(self.databases)} are closed.", hint=hint)
        wanted = list(self.databases) if shards is None else list(shards)
        names = [name for name in self.databases if name in wanted]
        for name in wanted:
            self._named(..., name, place)
        checked = Checker(place).seconds("timeout", timeout, optional=True)
        return names, None if checked is None else monotonic() + checked

    def _scope_options(self, until: float | None, options: dict[str, Any]) -> dict[str, Any]:
        # what is open around is another thread's or task's
        fixed = {"readonly": True, "propagation": Propagation.REQUIRES_NEW}
        if until is not None:
            fixed["timeout"] = max(0.001, until - monotonic())
        return {**options, **fixed}

    def _read(self, name: str, work: Any, until: float | None, options: dict[str, Any]) -> Any:
        db = self.databases[name]
        with db.session(**self._scope_options(until, options)) as session:
            return work(session) if _is_function(work) else session.execute(work).all()

    async def _aread(
        self, name: str, work: Any, until: float | None, options: dict[str, Any]
    ) -> Any:
        db = self.databases[name]
        async with db.session(**self._scope_options(until, options)) as session:
            if not _is_function(work):
                return (await session.execute(work)).all()
            answer = work(session)
            return await answer if inspect.isawaitable(answer) else answer

    def _made_threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._threads is None:
                count = max(_THREADS, 2 * len(self.databases))
                self._threads = ThreadPoolExecutor(count, thread_name_prefix="hermetic-shards")
            return self._threads

    def _start_anew(self) -> None:
        """In a forked child: the threads are the parent's."""
        self._lock = threading.Lock()
        self._threads = None

    # ------------------------------------------------------------ the end

    def _end(self) -> None:
        with self._lock:
            self._closed = True
            threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False)
        while self._listening:
            event.remove(*self._listening.pop())

    def close(self) -> None:
        """Close every Database, those that were given too."""
        self._end()
        for db in self.databases.values():
            db.close()

    async def aclose(self) -> None:
        """As ``close``, the running event loop's connections in good order."""
        self._end()
        for db in self.databases.values():
            await db.aclose()


class ShardUnit(Unit):
    """A unit of work on one shard; it is refused where another shard's is open to be written."""

    __slots__ = ("_name", "_shards")

    def __init__(
        self,
        shards: Shards,
        name: str,
        database: Database,
        options: ScopeOptions,
        *,
        retry_given: bool,
    ) -> None:
        super().__init__(database, options, retry_given=retry_given)
        self._shards = shards
        self._name = name

    def __enter__(self) -> Any:
        self._shards.check_alone(self._name, self._options)
        return super().__enter__()

    async def __aenter__(self) -> Any:
        self._shards.check_alone(self._name, self._options)
        return await super().__aenter__()

    def __call__(self, function: Callable[..., Any]) -> Any:
        run: Callable[..., Any] = super().__call__(function)

        if inspect.iscoroutinefunction(run):

            @functools.wraps(run)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                self._shards.check_alone(self._name, self._options)
                return await run(*args, **kwargs)

            return awaited

        @functools.wraps(run)
        def called(*args: Any, **kwargs: Any) -> Any:
            self._shards.check_alone(self._name, self._options)
            return run(*args, **kwargs)

        return called


class _Given:
    """What a shard has given; whatever else there is was raised."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _sorted_out(outcomes: Mapping[str, Any]) -> dict[str, Any]:
    """:raises ShardFailed: something was raised."""
    results = {name: each.value for name, each in outcomes.items() if isinstance(each, _Given)}
    errors = {name: each for name, each in outcomes.items() if not isinstance(each, _Given)}
    if not errors:
        return results
    for error in errors.values():
        if not isinstance(error, Exception):
            raise error
    first = next(iter(errors.values()))
    names = ", ".join(repr(name) for name in errors)
    word = "Shards" if len(errors) > 1 else "Shard"
    raise ShardFailed(
        f"{word} {names} of {len(outcomes)} failed, the first by {describe_error(first)}",
        errors=errors,
        results=results,
        hint="error.errors has what each raised, error.results what the others gave.",
    ) from first


def _is_function(work: Any) -> bool:
    return callable(work) and not isinstance(work, Executable)
