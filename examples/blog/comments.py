"""Comments, as they were written for Flask-SQLAlchemy, and went on working as they are."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from sqlalchemy import select

from .database import db
from .model import Comment, Post

views = Blueprint("comments", __name__)


@views.post("/posts/<slug>/comments")
def comment(slug: str) -> Any:
    post = db.one_or_404(select(Post).filter_by(slug=slug))
    post.comments.append(Comment(author=request.form["author"], text=request.form["text"]))
    db.session.commit()
    return redirect(url_for("posts.show", slug=slug))


@views.get("/comments/<int:ident>")
def show(ident: int) -> str:
    return render_template("comment.html", comment=db.get_or_404(Comment, ident))


@views.post("/comments/<int:ident>/delete")
def delete(ident: int) -> Any:
    found = db.get_or_404(Comment, ident)
    slug = found.post.slug
    db.session.delete(found)
    db.session.commit()
    return redirect(url_for("posts.show", slug=slug))
