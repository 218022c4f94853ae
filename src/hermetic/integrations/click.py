"""Click: a unit of work for each command."""

from __future__ import annotations

from ..errors import MissingDriver
from .commands import Sessions as _Sessions
from .settings import retried

try:
    import click
except ImportError as missing:
    raise MissingDriver("Click is not installed.", extra="click") from missing

__all__ = ["Sessions", "retried"]


class Sessions(_Sessions):
    """The sessions of a Database's commands::

        sessions = Sessions(db)

        @cli.command()
        @click.argument("name")
        @sessions.pass_session
        def add(session: Session, name: str) -> None:
            session.add(User(username=name))

    Each command is one scope and one transaction. It commits when the function has returned, before
    the program ends, and rolls back with every exit code but 0, an exception or Ctrl-C.

    :param codes: the exit code for each class of errors, in place of those that it has otherwise;
        ``None`` for an error that is raised as it is.
    :param options: the fields of TaskOptions and ScopeOptions.
    :raises InvalidOption: an option is unknown, or its value outside its limits.
    """

    def fail(self, message: str, code: int) -> BaseException:
        """Click's own error, with the exit code."""
        failed = click.ClickException(message)
        failed.exit_code = code  # type: ignore[misc]
        return failed
