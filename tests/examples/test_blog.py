"""The blog of examples/blog, on every database."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from blog.app import create_app
from blog.model import Post
from flask.testing import FlaskClient
from sqlalchemy import select

from hermetic import Database
from tests.databases import FamilyUrl

WALDEN = {"title": "Walden, again", "body": "I went to the woods."}


class Blog:
    def __init__(self, url: str) -> None:
        self.app = create_app(url)
        self.client: FlaskClient = self.app.test_client()
        self.database: Database = self.app.extensions["hermetic"]
        made = self.app.test_cli_runner().invoke(args=["hermetic", "create-all"])
        assert made.exit_code == 0

    def post(self) -> Post:
        with self.database.session(readonly=True) as session:
            return session.scalars(select(Post)).one()


@pytest.fixture
def blog(family: str, family_url: FamilyUrl) -> Iterator[Blog]:
    made = Blog(family_url(family))
    yield made
    assert made.database.snapshot().scopes == ()
    made.database.close()


def test_what_is_written_is_read(blog: Blog) -> None:
    written = blog.client.post("/posts/", data=WALDEN)
    assert (written.status_code, written.location) == (302, "/posts/walden-again")

    shown = blog.client.get("/posts/walden-again").text
    assert WALDEN["body"] in shown
    assert "Walden, again" in blog.client.get("/", follow_redirects=True).text
    assert blog.client.get("/posts/feed.xml").text.count("<entry>") == 1
    assert blog.client.get("/posts/emma").status_code == 404
    new = blog.client.post("/posts/", data={"title": "New!", "body": "It is."}).location
    assert "It is." in blog.client.get(new).text


def test_a_name_that_is_taken_is_told_in_the_form(blog: Blog) -> None:
    blog.client.post("/posts/", data=WALDEN)

    again = blog.client.post("/posts/", data=WALDEN | {"body": "Again."})

    assert again.status_code == 409
    assert "Again." in again.text  # what was written is not lost
    assert blog.post().body == WALDEN["body"]


def test_what_somebody_else_has_changed_is_not_overwritten(blog: Blog) -> None:
    blog.client.post("/posts/", data=WALDEN)
    first = {"title": "Walden", "body": "First.", "version": "1"}

    assert blog.client.post("/posts/walden-again", data=first).status_code == 302
    late = blog.client.post("/posts/walden-again", data=first | {"body": "Late."})

    assert late.status_code == 409
    assert "First." in late.text
    assert blog.post().body == "First."


def test_comments_work_as_with_flask_sqlalchemy(blog: Blog) -> None:
    blog.client.post("/posts/", data=WALDEN)
    comment = {"author": "ann", "text": "So did I."}

    assert blog.client.post("/posts/walden-again/comments", data=comment).status_code == 302
    assert "So did I." in blog.client.get("/posts/walden-again").text
    assert blog.client.post("/posts/emma/comments", data=comment).status_code == 404
    assert "ann" in blog.client.get("/comments/1").text
    assert blog.client.post("/comments/1/delete").status_code == 302
    assert blog.client.get("/comments/1").status_code == 404
    blog.client.post("/posts/walden-again/comments", data=comment)
    assert blog.client.post("/posts/walden-again/delete").status_code == 302
    assert "Nothing was written" in blog.client.get("/posts/").text


def test_no_like_is_lost(blog: Blog) -> None:
    blog.client.post("/posts/", data=WALDEN)
    answers: list[int] = []
    together = threading.Barrier(4, timeout=20)

    def like() -> None:
        client = blog.app.test_client()
        together.wait()
        answers.append(client.post("/posts/walden-again/like").status_code)

    threads = [threading.Thread(target=like) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert answers == [302] * 4
    assert blog.post().likes == 4
