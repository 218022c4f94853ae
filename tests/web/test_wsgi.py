"""WSGI applications at their edges: what they begin, leave out, change and fail to close."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from hermetic import RetryRequested, RolledBack
from hermetic.integrations.flask import Hermetic
from hermetic.integrations.wsgi import RequestUnits, request_unit
from tests.behaviour.aftermath import lent, on
from tests.models import User
from tests.web.sites import usernames
from tests.worlds import World

on_sqlite = on(lambda backend: backend.name == "sqlite")


def ask(
    app: Callable[..., Any], path: str = "/", method: str = "GET", **more: Any
) -> tuple[str, list[bytes]]:
    begun: list[str] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        begun.append(status)

    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "wsgi.url_scheme": "http", **more}
    body = app(environ, start_response)
    pieces = list(body)
    if hasattr(body, "close"):
        body.close()
    return begun[0], pieces


@on_sqlite
def test_a_retry_has_the_environment_that_the_request_came_with(world: World) -> None:
    seen: list[Any] = []

    def bare(environ: Any, start_response: Any) -> Any:
        seen.append((environ["PATH_INFO"], environ.get("mine"), environ["wsgi.input"].read()))
        # as a dispatcher of applications does it
        environ["PATH_INFO"], environ["mine"] = "/further", True
        request_unit(environ).session().add(User(username="ann"))
        if len(seen) < 3:
            raise RetryRequested
        start_response("200 OK", [])
        return [b"done"]

    app = RequestUnits(bare, world.db, safe={"PUT"})
    body = {"wsgi.input": io.BytesIO(b"body"), "CONTENT_LENGTH": "4"}
    assert ask(app, "/shop/further", "PUT", **body) == ("200 OK", [b"done"])
    assert seen == [("/shop/further", None, b"body")] * 3
    assert usernames(world) == ["ann"]


@on_sqlite
def test_a_response_without_a_body_may_come_from_a_generator(world: World) -> None:
    def bare(environ: Any, start_response: Any) -> Iterator[bytes]:
        request_unit(environ).session().add(User(username="ann"))
        start_response("204 No Content", [])
        yield from ()

    assert ask(RequestUnits(bare, world.db)) == ("204 No Content", [])
    assert usernames(world) == ["ann"]


@pytest.mark.parametrize("body", [[], [b"forgot"]])
@on_sqlite
def test_nothing_commits_without_a_response(world: World, body: list[bytes]) -> None:
    def bare(environ: Any, start_response: Any) -> Any:
        request_unit(environ).session().add(User(username="ann"))
        return body

    with pytest.raises(RolledBack, match="no response"):
        ask(RequestUnits(bare, world.db))
    assert (usernames(world), lent(world.db)) == ([], [])


@on_sqlite
def test_a_body_that_cannot_be_closed_keeps_no_unit_open(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    class Body:
        def __iter__(self) -> Any:
            raise ValueError("the first piece")

        def close(self) -> None:
            raise OSError("its end")

    def bare(environ: Any, start_response: Any) -> Any:
        session = request_unit(environ).session()
        session.add(User(username="ann"))
        session.flush()
        return Body()

    with pytest.raises(ValueError, match="the first piece"):
        ask(RequestUnits(bare, world.db))
    assert "was not closed" in caplog.text
    assert (usernames(world), lent(world.db)) == ([], [])


@on_sqlite
def test_a_length_that_is_none_is_not_read(world: World) -> None:
    def bare(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return [b"as it came" if environ["wsgi.input"] is given else b"another"]

    app = RequestUnits(bare, world.db, safe={"PUT"})
    given = io.BytesIO(b"nobody knows how long")
    more = {"wsgi.input": given, "CONTENT_LENGTH": "-1"}
    assert ask(app, "/", "PUT", **more) == ("200 OK", [b"as it came"])


@on_sqlite
def test_what_fails_behind_a_flask_view_is_rolled_back(world: World) -> None:
    db, app = Hermetic(), Flask("late")
    db.init_app(app, world.database())
    fails = [True]

    @app.post("/<name>")
    def view(name: str) -> str:
        db.current.add(User(username=name))
        return "done"

    @app.after_request
    def after(response: Any) -> Any:
        if fails.pop():
            fails.append(False)
            raise RuntimeError("a mistake of the program")
        fails.append(False)
        return response

    @app.errorhandler(500)
    def sorry(error: Any) -> Any:
        return "sorry", 200

    client = app.test_client()
    assert [client.post("/ann").text, client.post("/bob").text] == ["sorry", "done"]
    assert usernames(world) == ["bob"]


@on_sqlite
def test_what_commits_with_an_exception_is_told_as_made(world: World) -> None:
    db, app = Hermetic(commit_on=(RetryRequested,)), Flask("made")
    db.init_app(app, world.database())

    def bare(environ: Any, start_response: Any) -> Any:
        request_unit(environ).session().add(User(username="ann"))
        raise RetryRequested

    @app.post("/bob")
    def view() -> str:
        db.current.add(User(username="bob"))
        raise RetryRequested

    status, body = ask(RequestUnits(bare, world.db, commit_on=(RetryRequested,)))
    assert (status, b'"committed"' in body[0]) == ("409 Conflict", True)
    answer = app.test_client().post("/bob")
    told: Any = answer.get_json(force=True)
    assert (answer.status_code, told["outcome"]) == (409, "committed")
    assert usernames(world) == ["ann", "bob"]
