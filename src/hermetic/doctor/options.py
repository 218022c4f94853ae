"""Options that contradict each other, or switch off what keeps an application going."""

from __future__ import annotations

from collections.abc import Iterator

from ..options import Isolation
from .checks import Sign, option
from .client import ClientFacts
from .client_checks import CLIENT
from .findings import Severity

__all__ = ["CLIENT"]

HINT, WARNING = Severity.HINT, Severity.WARNING


@CLIENT.add(
    "lock-timeout-late",
    WARNING,
    "a wait for a lock that something else ends first (a hint where it is the scope's deadline)",
    why="It ends as a StatementTimeout or a DeadlineExceeded, which are not tried again, where a "
    "LockTimeout is.",
)
def _lock(seen: ClientFacts) -> Iterator[Sign]:
    options = seen.about.options
    lock, statement, scope = options.lock_timeout, options.statement_timeout, options.scope.timeout
    if lock is None or seen.embedded:
        return
    if statement is not None and statement <= lock:
        told = f"statement_timeout is {statement:g} s, lock_timeout {lock:g} s"
        yield Sign(told, option("lock_timeout", statement / 2))
    elif scope is not None and scope <= lock:
        told = f"timeout is {scope:g} s, lock_timeout {lock:g} s"
        yield Sign(told, option("lock_timeout", scope / 2), HINT)


@CLIENT.add(
    "timeout-unreached",
    HINT,
    "a limit that another one comes before",
    why="It never strikes: what it was meant for does not happen.",
)
def _unreached(seen: ClientFacts) -> Iterator[Sign]:
    options, scope = seen.about.options, seen.about.options.scope
    pairs = [
        ("statement_timeout", options.statement_timeout, "timeout", scope.timeout),
        ("pool_timeout", options.pool_timeout, "timeout", scope.timeout),
        ("retry.within", scope.retry.within if scope.retry else None, "timeout", scope.timeout),
        ("shed_after", options.shed_after, "pool_timeout", options.pool_timeout),
        ("keepalive", options.keepalive, "pool_idle", options.pool_idle),
        ("pool_idle", options.pool_idle, "pool_recycle", options.pool_recycle),
    ]
    for name, value, first, limit in pairs:
        # a pool's wait is ten seconds unless somebody says otherwise: nobody meant anything by it
        if name == "pool_timeout" and value == type(options).pool_timeout:
            continue
        if value is not None and limit is not None and value > limit:
            told = f"{name} is {value:g} s, and {first} {limit:g} s"
            yield Sign(told, f"{name} below {limit:g} s")


@CLIENT.add(
    "connect-timeout-off",
    WARNING,
    "a connect that may take for ever",
    why="A host that is away answers nothing: whoever connects waits for the system, for minutes.",
)
def _connect(seen: ClientFacts) -> Iterator[Sign]:
    for place in (seen.about.options.connect_args, seen.about.url.query):
        for name in ("connect_timeout", "timeout"):
            if name in place and str(place[name]) in ("0", "0.0", "None") and not seen.embedded:
                yield Sign(f"{name} = {place[name]}", option("connect_timeout", 5.0))


@CLIENT.add(
    "serializable-no-retry",
    WARNING,
    "SERIALIZABLE without anybody who tries again",
    why="Conflicts (40001, 1213) are its way of keeping its promise: units have to be run again.",
)
def _serializable(seen: ClientFacts) -> Iterator[Sign]:
    scope = seen.about.options.scope
    if scope.isolation is Isolation.SERIALIZABLE and scope.retry is None and not seen.embedded:
        yield Sign('isolation="SERIALIZABLE", and no retry', option("retry", 5))


@CLIENT.add(
    "reset-never",
    WARNING,
    "connections that carry something from one scope to the next",
    why="What functions, DO blocks and triggers leave on a connection meets whoever has it next.",
)
def _reset(seen: ClientFacts) -> Iterator[Sign]:
    if seen.about.options.reset_connections == "never":
        yield Sign('reset_connections="never"', option("reset_connections", "suspected"))


@CLIENT.add(
    "ping-never",
    HINT,
    "connections that nobody tests before they are lent",
    why="One that died while it was idle fails in the middle of a unit.",
)
def _ping(seen: ClientFacts) -> Iterator[Sign]:
    if seen.about.options.ping_after is None and not seen.embedded:
        yield Sign("ping_after=None", option("ping_after", 1.0))


@CLIENT.add(
    "parameters-shown",
    WARNING,
    "values of statements in errors and logs",
    why="Passwords and personal data are among them.",
)
def _parameters(seen: ClientFacts) -> Iterator[Sign]:
    if not seen.about.options.hide_parameters:
        yield Sign("hide_parameters=False", option("hide_parameters", True))


@CLIENT.add(
    "echo",
    HINT,
    "every statement in the log",
    why="It slows everything down, and fills the disk.",
)
def _echo(seen: ClientFacts) -> Iterator[Sign]:
    if seen.about.options.echo:
        yield Sign("echo=True", option("echo", False))
