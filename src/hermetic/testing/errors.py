"""What goes wrong with sandboxes."""

from __future__ import annotations

from ..errors import ConfigurationError, HermeticError, ScopeRef


class SandboxError(HermeticError):
    """Something that a sandbox does not allow, or that was done to it.

    ``sandbox`` is what it is called: the test's name, or the line that opened it.
    """

    def __init__(
        self, message: str, *, sandbox: str, scope: ScopeRef | None = None, hint: str = ""
    ) -> None:
        super().__init__(message, scope=scope, hint=hint)
        self.sandbox = sandbox


class SandboxEnded(SandboxError):
    """The sandbox's transaction was ended by something inside it.

    What was written until then may stand in the database, and nothing more can be undone. ``at`` is
    the line of the statement that ended it, or after which it was found ended; ``statement`` the
    statement itself, where that is known.
    """

    def __init__(
        self, sandbox: str, *, at: str, statement: str | None, why: str | None = None
    ) -> None:
        if statement is not None:
            how = f"was ended by {statement.strip()[:80]!r}, at {at}"
        else:
            how = f"was found ended at {at}: " + (why or "something before that has ended it")
        super().__init__(
            f"The transaction of sandbox {sandbox!r} {how}. What was written until then may stand "
            "in the database.",
            sandbox=sandbox,
            hint="A raw COMMIT, DDL that commits by itself and a deadlock end it. What cannot be "
            "sandboxed gets a database of its own, from hermetic.testing.template().",
        )
        self.at = at
        self.statement = statement


class SandboxLeak(SandboxError):
    """A sandbox ended while something of it was open still.

    ``scopes`` and ``connections`` say of each what it is, and at which line it was opened.
    """

    def __init__(self, sandbox: str, scopes: tuple[str, ...], connections: tuple[str, ...]) -> None:
        left = "; ".join((*scopes, *connections))
        super().__init__(
            f"Sandbox {sandbox!r} ended, and this was left open: {left}.",
            sandbox=sandbox,
            hint="End scopes and close connections before the test ends; wait for what it has "
            "started.",
        )
        self.scopes = scopes
        self.connections = connections


class SandboxBusy(SandboxError):
    """A scope waited for another one of the same sandbox, which did not end in time.

    A sandbox has one connection: independent scopes of several threads or tasks take turns on it.
    Or a sandbox waited for another one, where the database has one writer at a time (SQLite).
    At once, where a signal handler has interrupted the statement that it would wait for.
    """


class SandboxMixed(SandboxError):
    """Scopes of one sandbox ended in an order in which savepoints cannot."""


class OutsideSandbox(SandboxError):
    """A scope or connection was asked for outside of every sandbox, while its Database has some
    open, or by what was started in one that has ended.
    """


class TemplateError(ConfigurationError):
    """A template is none, or a copy of it cannot be made."""


class SandboxWarning(UserWarning):
    """Something happened in a sandbox as it would not have happened outside of one."""
