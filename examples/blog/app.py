"""The blog as a Flask application.

    cd examples
    flask --app blog.app hermetic create-all
    flask --app blog.app run
    BLOG_URL=postgresql://… flask --app blog.app run

On a SQLite file, blog.db, unless ``BLOG_URL`` is another database. The views of posts use
``db.current``, the session of the request, which commits before the response leaves. Those of
comments are as they were written for Flask-SQLAlchemy: ``db.session`` commits where it is told to.
"""

from __future__ import annotations

import os
from pathlib import Path

from flask import Flask, redirect, url_for
from werkzeug.wrappers import Response

from . import comments, posts
from .database import db


def create_app(url: str | None = None) -> Flask:
    """The application, with a Database of its own."""
    app = Flask("blog", root_path=str(Path(__file__).parent))
    app.config["HERMETIC_URL"] = url or os.environ.get("BLOG_URL", "sqlite:///blog.db")
    app.config["HERMETIC_OPTIONS"] = {"pool_timeout": 5.0}
    db.init_app(app)
    app.register_blueprint(posts.views, url_prefix="/posts")
    app.register_blueprint(comments.views)

    @app.get("/")
    def index() -> Response:
        return redirect(url_for("posts.newest"))

    return app
