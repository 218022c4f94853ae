"""Flask: an extension with a unit of work for each request, and the idiom of Flask-SQLAlchemy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ..database import Database
from ..errors import ConfigurationError, MissingDriver
from ..factories import scoped_session, sessionmaker
from .settings import WebOptions, retried
from .wsgi import Environ, RequestUnit, RequestUnits, Respond, request_unit

try:
    import click
    from flask import Flask, Response, abort, current_app, has_request_context, request
    from flask.cli import AppGroup
    from flask.globals import app_ctx
except ImportError as missing:
    raise MissingDriver("Flask is not installed.", extra="flask") from missing

if TYPE_CHECKING:
    from ..session import Session

__all__ = ["Hermetic", "retried"]

_T = TypeVar("_T")

_KEY = "hermetic"
_ASKS = ("HERMETIC_URL", "SQLALCHEMY_DATABASE_URI")


class Hermetic:
    """The extension: one for all of an application's modules, with one Database for each app::

        db = Hermetic()

        def create_app():
            app = Flask(__name__)
            app.config["HERMETIC_URL"] = "sqlite:///app.db"
            db.init_app(app)
            return app

    ``db.current`` is the session of the request: it commits before the response leaves.
    ``db.session`` is that of Flask-SQLAlchemy's idiom, and commits where it is told to.

    :param app: an application, where there is one already.
    :param base: the declarative base of the models, for ``create_all``.
    :param options: the fields of WebOptions and ScopeOptions, of requests.
    :raises InvalidOption: an option is unknown, or its value outside its limits.
    """

    def __init__(self, app: Flask | None = None, *, base: Any = None, **options: Any) -> None:
        self._base = base
        WebOptions.build(options)  # what is wrong is said here, not where an application is made
        self._options = options
        self.session: scoped_session[Session] = scoped_session(self._made, _context)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, database: Database | None = None) -> None:
        """Give an application a Database and its requests units of work.

        The Database's URL is ``HERMETIC_URL`` of the application's configuration, or
        ``SQLALCHEMY_DATABASE_URI``; its options are the mapping ``HERMETIC_OPTIONS``.

        :param database: one that is there already.
        :raises ConfigurationError: there is no URL, or the application has a Database already.
        """
        if _KEY in app.extensions:
            raise ConfigurationError(
                "The application has a Database already.", hint="Call init_app() once for each."
            )
        database = database or _from(app.config)
        app.extensions[_KEY] = database
        respond = _by_handlers(app, app.handle_user_exception)
        units = RequestUnits(app.wsgi_app, database, respond, **self._options)
        app.wsgi_app = units  # type: ignore[method-assign]
        app.before_request_funcs.setdefault(None, []).insert(0, self._arrived)
        noting: Any = _noting(app.handle_user_exception, database, units)
        app.handle_user_exception = noting  # type: ignore[method-assign]
        noting_late: Any = _noting_late(app.handle_exception, database)
        app.handle_exception = noting_late  # type: ignore[method-assign]
        app.teardown_appcontext(self._left)
        app.cli.add_command(_commands(self))
        app.shell_context_processor(lambda: {"db": self})

    # ------------------------------------------------------------ sessions

    @property
    def database(self) -> Database:
        """The Database of the current application."""
        found: Database | None = current_app.extensions.get(_KEY)
        if found is None:
            raise ConfigurationError(
                "The application has no Database.", hint="Call db.init_app(app) where it is made."
            )
        return found

    @property
    def unit(self) -> RequestUnit:
        """The request's unit of work.

        :raises ConfigurationError: there is no request here, or one that was begun by hand.
        """
        if not has_request_context():
            raise ConfigurationError(
                "There is no request here, and no unit of one.",
                hint="In commands and threads: with db.database.session() as session.",
            )
        if _unit_here(self.database) is None:
            raise ConfigurationError(
                "This request was begun by hand, as by test_request_context(), and has no unit of "
                "work: nothing would end it.",
                hint="Call the view by app.test_client(); elsewhere: with db.database.session().",
            )
        return request_unit(request.environ, self.database)

    @property
    def current(self) -> Session:
        """The request's session, the same for all that it runs; it is opened here.

        :raises ConfigurationError: there is no request here.
        :raises ScopeRefused: the response has begun.
        """
        return self.unit.session()

    def _arrived(self) -> None:
        unit = _unit_here(self.database)
        if unit is None:
            return
        unit.endpoint = current_app.view_functions.get(request.endpoint or "")
        unit.name = f"{request.method} {request.url_rule or request.path}"
        unit.keep_body()

    def _made(self) -> Session:
        return sessionmaker(bind=self.database.engine, expire_on_commit=True)()

    def _left(self, error: BaseException | None) -> None:
        self.session.remove()

    # ------------------------------------------------------------ Flask-SQLAlchemy's

    def get_or_404(self, entity: type[_T], ident: Any) -> _T:
        """The object with a key, in ``db.session``, or a 404."""
        return self.session.get(entity, ident) or abort(404)

    def first_or_404(self, statement: Any) -> Any:
        """The first object of a statement, or a 404."""
        return self.session.scalars(statement).first() or abort(404)

    def one_or_404(self, statement: Any) -> Any:
        """The only object of a statement, or a 404."""
        found = self.session.scalars(statement).all()
        return found[0] if len(found) == 1 else abort(404)

    def create_all(self) -> None:
        """Make the tables of ``base``.

        :raises ConfigurationError: the extension was made without one.
        """
        if self._base is None:
            raise ConfigurationError(
                "There are no models to make tables of.", hint="Hermetic(base=Base)."
            )
        self._base.metadata.create_all(self.database.engine)


def _context() -> Any:
    """The application's context, by which sessions of ``db.session`` are told apart."""
    return app_ctx._get_current_object()  # type: ignore[attr-defined]


def _unit_here(database: Database) -> RequestUnit | None:
    """The request's, unless that was begun by hand, past the middleware."""
    found: RequestUnit | None = request.environ.get(_KEY, {}).get(database)
    return found


def _from(config: Mapping[str, Any]) -> Database:
    url = next((config[name] for name in _ASKS if config.get(name)), None)
    if url is None:
        raise ConfigurationError(
            "The application's configuration has no URL of a database.",
            hint='app.config["HERMETIC_URL"] = "postgresql://…"',
        )
    return Database(url, **config.get("HERMETIC_OPTIONS", {}))


def _by_handlers(app: Flask, handle: Callable[[Exception], Any]) -> Respond:
    """Has an application's own error handlers answer a request whose commit has failed."""

    def respond(environ: Environ, error: BaseException) -> Any:
        if not isinstance(error, Exception):
            return None
        with app.request_context(environ):
            try:
                handled = handle(error)
            except Exception as raised:
                if raised is not error:
                    raise
                return None
            # the functions of after_request are for every response
            return app.finalize_request(handled, from_error_handler=True)

    return respond


def _noting(
    handle: Callable[[Exception], Any], database: Database, units: RequestUnits
) -> Callable[[Exception], Any]:
    """``handle_user_exception``, noting that a request failed, whatever a handler makes of it."""

    def noting(error: Exception) -> Any:
        unit = _unit_here(database)
        if unit is not None:
            unit.failed(error)
        try:
            return handle(error)
        except Exception as raised:
            if raised is not error:
                raise
            answer = units.options.answer(error) if unit is None else unit.answer(error)
            if answer is None:
                raise
            return Response(answer.body, answer.status, list(answer.headers))

    return noting


def _noting_late(handle: Callable[[Exception], Any], database: Database) -> Callable[..., Any]:
    """``handle_exception``, for what is raised after the view, as by ``after_request``."""

    def noting(error: Exception) -> Any:
        unit = _unit_here(database)
        if unit is not None:
            unit.failed(error)
        return handle(error)

    return noting


# ---------------------------------------------------------------- the command line


def _commands(extension: Hermetic) -> AppGroup:
    group = AppGroup("hermetic", help="The application's database.")

    @group.command("create-all")
    def create_all() -> None:
        """Make the tables that are not there."""
        extension.create_all()

    @group.command("check")
    def check() -> None:
        """Ask the database whether it answers."""
        with extension.database.session(readonly=True, timeout=10.0) as session:
            session.scalar("SELECT 1")
        click.echo(f"{extension.database.name} answers")

    @group.command("explain")
    def explain() -> None:
        """Show every setting in force."""
        click.echo(extension.database.explain())

    return group
