"""Posts. A view neither commits nor rolls back: what it is answered with does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import Any

from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from sqlalchemy import select
from sqlalchemy.orm import selectinload
from sqlalchemy.orm.exc import StaleDataError

from hermetic import Retry, UniqueViolation
from hermetic.integrations.flask import retried

from .database import db
from .model import Post

A_PAGE = 10


def is_stale(error: BaseException) -> bool | None:
    """Whether somebody else has saved the object meanwhile; ``None`` leaves it to the rules."""
    return True if isinstance(error, StaleDataError) else None


views = Blueprint("posts", __name__)


@views.get("/")
def newest() -> str:
    """A page of posts, the newest first."""
    page = max(request.args.get("page", 1, type=int), 1)
    statement = select(Post).order_by(Post.written.desc(), Post.id.desc())
    # one more than is shown tells whether there are older ones
    found = db.current.scalars(statement.limit(A_PAGE + 1).offset((page - 1) * A_PAGE)).all()
    older = page + 1 if len(found) > A_PAGE else None
    return render_template("newest.html", posts=found[:A_PAGE], older=older)


@views.get("/new")
def empty() -> str:
    return render_template("edit.html", post=None)


@views.post("/")
def write() -> Any:
    title, body = request.form["title"].strip(), request.form["body"]
    post = Post(slug=slug_of(title), title=title, body=body)
    db.current.add(post)
    try:
        db.current.flush()
    except UniqueViolation:
        # rolled back, as every request whose answer is an error
        return render_template("edit.html", post=post, wrong="There is a post of this name."), 409
    return redirect(url_for("posts.show", slug=post.slug))


@views.get("/<slug>")
def show(slug: str) -> str:
    return render_template("show.html", post=_post(slug))


@views.get("/<slug>/edit")
def edit(slug: str) -> str:
    return render_template("edit.html", post=_post(slug))


@views.post("/<slug>")
def change(slug: str) -> Any:
    """Save a post, unless somebody else has saved it since it was shown."""
    post = _post(slug)
    if request.form.get("version", type=int) != post.version:
        wrong = "The post was changed meanwhile. This is how it is now."
        return render_template("edit.html", post=post, wrong=wrong), 409
    post.title, post.body = request.form["title"].strip(), request.form["body"]
    return redirect(url_for("posts.show", slug=post.slug))


@views.post("/<slug>/delete")
def delete(slug: str) -> Any:
    db.current.delete(_post(slug))
    return redirect(url_for("posts.newest"))


@views.post("/<slug>/like")
@retried(Retry(attempts=10, when=is_stale))
def like(slug: str) -> Any:
    """Run again as a whole when two do it at once: the later one has an old version of the post."""
    _post(slug).likes += 1
    return redirect(url_for("posts.show", slug=slug))


@views.get("/feed.xml")
def feed() -> Response:
    def lines() -> Iterator[str]:
        # the body outlives the request's unit, and opens its own
        yield "<feed>\n"
        with database.session(readonly=True) as session:
            for post in session.scalars(select(Post).order_by(Post.written.desc(), Post.id.desc())):
                yield f"<entry><title>{escape(post.title)}</title></entry>\n"
        yield "</feed>\n"

    database = db.database
    return Response(lines(), mimetype="application/xml")


def _post(slug: str) -> Post:
    statement = select(Post).filter_by(slug=slug).options(selectinload(Post.comments))
    return db.current.scalars(statement).one_or_none() or abort(404)


def slug_of(title: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "untitled"
    # that is where posts are written
    return "new-one" if slug == "new" else slug
