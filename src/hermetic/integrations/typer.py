"""Typer: a unit of work for each command."""

from __future__ import annotations

from ..errors import MissingDriver
from .commands import Sessions as _Sessions
from .settings import retried

try:
    import typer
except ImportError as missing:
    raise MissingDriver("Typer is not installed.", extra="typer") from missing

__all__ = ["Sessions", "retried"]


class Sessions(_Sessions):
    """The sessions of a Database's commands::

        sessions = Sessions(db)

        @app.command()
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
        """Typer's exit, once the message was written."""
        typer.echo(f"Error: {message}", err=True)
        return typer.Exit(code)
