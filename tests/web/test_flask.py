"""Flask, and any WSGI application: the commit comes before the response."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Blueprint, Flask, abort, request, stream_with_context
from sqlalchemy import select

from hermetic import (
    ConfigurationError,
    Database,
    HermeticError,
    InvalidOption,
    RetryRequested,
    ScopeRefused,
    UniqueViolation,
)
from hermetic.integrations.flask import Hermetic, retried
from hermetic.integrations.wsgi import RequestUnits, request_unit
from tests.behaviour.aftermath import lent, on
from tests.models import Base, User
from tests.proxy import COMMIT, Proxy
from tests.web.sites import usernames
from tests.worlds import World

in_threads = on(lambda backend: not backend.is_async)
on_sqlite = on(lambda backend: backend.name == "sqlite")
on_servers = on(lambda backend: backend.name in ("psycopg", "pymysql"))


class Left(Exception):
    pass


def shop(
    world: World, options: dict[str, Any] | None = None, **web: Any
) -> tuple[Flask, Hermetic, list[Any]]:
    db = Hermetic(base=Base, **web)
    app = Flask("shop")
    db.init_app(app, world.database(**(options or {})))
    done: list[Any] = []

    @app.errorhandler(Left)
    def left(error: Left) -> Any:
        return "", 302, {"Location": "/"}

    @app.post("/users/<name>")
    def create(name: str) -> Any:
        db.current.add(User(username=name))
        assert db.current is db.database.current
        then = request.args.get("then", "")
        db.current.flush()
        if then == "leave":
            raise Left
        if then == "abort":
            abort(404)
        if then == "fail":
            raise ValueError("a mistake of the program")
        return "", int(then or 200)

    @app.post("/late/<name>")
    def late(name: str) -> str:
        db.current.add(User(username=name))
        return "late"

    @app.post("/again/<name>")
    @retried(3)
    def again(name: str) -> Any:
        done.append(request.get_json())
        db.current.add(User(username=name))
        db.current.flush()
        if len(done) < 3:
            raise RetryRequested
        return {"runs": len(done)}

    return app, db, done


@in_threads
def test_the_commit_is_done_when_the_response_begins(world: World) -> None:
    app, db, _ = shop(world)
    seen: list[list[str]] = []
    inner: Any = app.wsgi_app

    def watching(environ: Any, start_response: Any) -> Any:
        def look(*arguments: Any) -> Any:
            seen.append(usernames(world))
            return start_response(*arguments)

        return inner(environ, look)

    app.wsgi_app = watching  # type: ignore[method-assign]
    assert app.test_client().post("/late/ann").text == "late"
    assert seen == [["ann"]]
    with app.app_context():
        assert lent(db.database) == []


@in_threads
def test_an_applications_own_handler_answers_for_a_failed_commit(world: World) -> None:
    app, db, _ = shop(world)
    blueprint = Blueprint("parts", "parts", url_prefix="/parts")

    @app.errorhandler(HermeticError)
    def handled(error: HermeticError) -> Any:
        return type(error).__name__, 418

    @blueprint.errorhandler(UniqueViolation)
    def handled_here(error: UniqueViolation) -> Any:
        assert request.path == "/parts/ann"
        with db.database.session() as session:
            return str(session.scalar("SELECT count(*) FROM users")), 422

    @app.after_request
    def sign(response: Any) -> Any:
        response.headers["Signed"] = "yes"
        return response

    @blueprint.post("/<name>")
    def part(name: str) -> str:
        db.current.add(User(username=name))
        return ""

    app.register_blueprint(blueprint)
    client = app.test_client()
    assert client.post("/late/ann").status_code == 200
    answer = client.post("/late/ann")
    assert (answer.status_code, answer.text) == (418, "UniqueViolation")
    assert answer.headers["Signed"] == "yes"
    answer = client.post("/parts/ann")
    assert (answer.status_code, answer.text) == (422, "1")
    # of a flush in the view the application has heard by itself
    assert client.post("/users/ann").status_code == 418
    assert usernames(world) == ["ann"]


def test_an_option_that_is_none_is_refused_where_it_is_given() -> None:
    with pytest.raises(InvalidOption, match="timout"):
        Hermetic(timout=3.0)


@on_sqlite
def test_a_request_that_was_begun_by_hand_says_why_it_has_no_unit(world: World) -> None:
    app, db, _ = shop(world)
    with app.test_request_context("/"), pytest.raises(ConfigurationError, match="by hand"):
        _ = db.current


@pytest.mark.parametrize(
    ("then", "status"),
    [("leave", 302), ("abort", 404), ("400", 400), ("503", 503), ("fail", 500), ("302", 302)],
)
@on_sqlite
def test_what_failed_is_rolled_back(world: World, then: str, status: int) -> None:
    app, *_ = shop(world)
    answer = app.test_client().post(f"/users/ann?then={then}")
    assert answer.status_code == status
    assert usernames(world) == (["ann"] if then == "302" else [])


@in_threads
def test_a_conflict_is_a_409_in_the_view_and_at_the_commit(world: World) -> None:
    app, *_ = shop(world)
    client = app.test_client()
    for path in ("/users/ann", "/late/ann", "/users/ann"):
        answer = client.post(path)
    assert [client.post(path).status_code for path in ("/late/ann", "/users/ann")] == [409, 409]
    assert answer.status_code == 409
    assert answer.get_json()["outcome"] == "not committed"


@on_servers
def test_a_commit_that_fails_reaches_the_client(world: World) -> None:
    with Proxy(world.url) as proxy:
        world.url = proxy.url
        app, *_ = shop(world)
        client = app.test_client()
        assert client.post("/late/bob").status_code == 200
        proxy.cut_after(COMMIT)
        answer = client.post("/late/ann")
        assert (answer.status_code, answer.get_json()["outcome"]) == (500, "unknown")
        # a statement that finds no server
        proxy.cut_all()
        world.close()


@on_sqlite
def test_a_view_that_is_safe_is_run_again_as_a_whole(world: World) -> None:
    app, _, done = shop(world)
    answer = app.test_client().post("/again/ann", json={"a": 1})
    assert answer.get_json() == {"runs": 3}
    assert done == [{"a": 1}] * 3
    assert usernames(world) == ["ann"]


@on_sqlite
def test_a_body_that_is_not_kept_is_run_once(world: World) -> None:
    app, _, done = shop(world, body_limit=4)
    assert app.test_client().post("/again/ann", json={"a": 1}).status_code == 409
    assert len(done) == 1


@on_sqlite
def test_a_deadline_comes_from_a_header(world: World) -> None:
    app, *_ = shop(world, timeout=30, timeout_header="Request-Timeout")
    client = app.test_client()
    for given, status in (("20", 200), ("0.000001", 504), ("soon", 400)):
        answer = client.post(f"/users/u{given}", headers={"Request-Timeout": given})
        assert answer.status_code == status


@on_sqlite
def test_a_streamed_body_has_its_own_scope(world: World) -> None:
    app, db, _ = shop(world)

    @app.get("/stream")
    def stream() -> Any:
        db.current.add(User(username="ann"))

        def names() -> Iterator[str]:
            with pytest.raises(ScopeRefused):
                _ = db.current
            with db.database.session(readonly=True) as own:
                for user in own.scalars(select(User)):
                    yield user.username

        return stream_with_context(names()), 200

    assert app.test_client().get("/stream").text == "ann"


# ---------------------------------------------------------------- Flask-SQLAlchemy's idiom


@in_threads
def test_the_session_of_the_idiom_commits_where_it_is_told_to(world: World) -> None:
    app, db, _ = shop(world)

    @app.post("/old/<name>")
    def old(name: str) -> Any:
        user = User(username=name)
        db.session.add(user)
        db.session.commit()
        user.balance = 5
        db.session.commit()
        db.session.add(User(username="never"))
        db.session.flush()
        return {"id": user.id}

    @app.get("/old/<int:ident>")
    def shown(ident: int) -> Any:
        user = db.get_or_404(User, ident)
        assert db.first_or_404(select(User)) is user
        assert db.one_or_404(select(User)) is user
        return {"balance": user.balance}

    client = app.test_client()
    ident = client.post("/old/ann").get_json()["id"]
    assert client.get(f"/old/{ident}").get_json() == {"balance": 5}
    assert client.get("/old/999").status_code == 404
    # what was not committed is not there
    assert usernames(world) == ["ann"]
    with app.app_context():
        db.session.add(User(username="bob"))
        db.session.commit()
        assert lent(db.database) == []
    assert usernames(world) == ["ann", "bob"]
    answer = client.post("/old/ann")
    assert answer.status_code == 409


@on_sqlite
def test_each_context_has_its_own_session(world: World) -> None:
    app, db, _ = shop(world)
    with app.app_context():
        outer = db.session()
        with app.app_context():
            assert db.session() is not outer
        assert db.session() is outer
        found: list[Any] = []

        def elsewhere() -> None:
            with app.app_context():
                found.append(db.session())

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert found[0] is not outer


# ---------------------------------------------------------------- applications


def test_a_factory_makes_applications_with_their_own_databases(tmp_path: Any) -> None:
    db = Hermetic(base=Base)

    def create_app(name: str) -> Flask:
        app = Flask(name)
        app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path}/{name}.db"
        app.config["HERMETIC_OPTIONS"] = {"pool_timeout": 3.0}
        db.init_app(app)
        return app

    one, two = create_app("one"), create_app("two")
    for app in (one, two):
        result = app.test_cli_runner().invoke(args=["hermetic", "create-all"])
        assert result.exit_code == 0, result.output
        assert "answers" in app.test_cli_runner().invoke(args=["hermetic", "check"]).output
    with one.app_context():
        with db.database.session() as session:
            session.add(User(username="ann"))
        assert db.database.options.pool_timeout == 3.0
        with pytest.raises(ConfigurationError, match="no request here"):
            _ = db.current
    with two.app_context(), db.database.session(readonly=True) as session:
        assert session.scalars(select(User)).all() == []
    for app in (one, two):
        with app.app_context():
            db.database.close()


def test_what_is_missing_is_said() -> None:
    with pytest.raises(ConfigurationError, match="no URL"):
        Hermetic(Flask("bare"))
    with Database("sqlite://") as database:
        with pytest.raises(InvalidOption):
            Hermetic(timeout=-1).init_app(Flask("bare"), database)
        app = Flask("twice")
        db = Hermetic(app=None)
        db.init_app(app, database)
        with pytest.raises(ConfigurationError, match="already"):
            db.init_app(app, database)


# ---------------------------------------------------------------- WSGI by itself


Answered = tuple[str, list[bytes]]


def ask(app: Callable[..., Any], path: str = "/", method: str = "GET") -> Answered:
    begun: list[str] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        begun.append(status)

    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "wsgi.url_scheme": "http"}
    body = app(environ, start_response)
    pieces = list(body)
    if hasattr(body, "close"):
        body.close()
    return begun[0], pieces


@on_sqlite
def test_any_wsgi_application_has_a_unit(world: World) -> None:
    closed: list[bool] = []

    class Late:
        """A body whose response begins with its first piece."""

        def __init__(self, start_response: Any) -> None:
            self.start_response = start_response

        def __iter__(self) -> Any:
            self.start_response("201 Created", [])
            yield b"one"
            yield b"two"

        def close(self) -> None:
            closed.append(True)

    def bare(environ: Any, start_response: Any) -> Any:
        unit = request_unit(environ)
        unit.session().add(User(username=environ["PATH_INFO"][1:]))
        if environ["REQUEST_METHOD"] == "PUT":
            return Late(start_response)
        start_response("404 Not Found" if "x" in environ["PATH_INFO"] else "200 OK", [])
        return [b"done"]

    app = RequestUnits(bare, world.db)
    assert ask(app, "/ann") == ("200 OK", [b"done"])
    assert ask(app, "/xan") == ("404 Not Found", [b"done"])
    assert ask(app, "/bob", "PUT") == ("201 Created", [b"one", b"two"])
    assert ask(app, "/ann")[0] == "409 Conflict"
    assert ask(app, "/ann", "PUT")[0] == "409 Conflict"
    assert closed == [True, True]
    assert usernames(world) == ["ann", "bob"]
    with pytest.raises(HermeticError, match="no unit of work"):
        request_unit({})
