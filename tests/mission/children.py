"""What the mission's tests run in processes of their own. Each makes its own engine."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from typing import Any

from sqlalchemy import create_engine

from hermetic import Database, scoped_session, sessionmaker
from tests.models import User


def count_when_asked(url: str, pipe: Connection) -> None:
    """Answer every message with the number of users, each time in a transaction of its own."""
    engine = create_engine(url)
    Session = sessionmaker(bind=engine)  # noqa: N806
    while pipe.recv():
        with Session() as session:
            pipe.send(session.execute("SELECT count(*) FROM users").scalar())
    engine.dispose()


def add_user(url: str, username: str) -> None:
    with Database(url) as db, db.session() as session:
        session.add(User(username=username))


def print_session(url: str, pipe: Connection) -> None:
    """Send what a scoped_session prints here: the session at work, and after its close."""
    engine = create_engine(url)
    Session = scoped_session(sessionmaker(bind=engine))  # noqa: N806
    session = Session()
    session.execute("SELECT 1")
    at_work = repr(session)
    session.close()
    pipe.send((os.getpid(), at_work, repr(session)))
    Session.remove()
    engine.dispose()


def print_inherited(registry: Any, pipe: Connection) -> None:
    """Send what a scoped_session of the parent's prints in a forked child."""
    pipe.send((id(registry()), repr(registry())))
