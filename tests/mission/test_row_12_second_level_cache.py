"""Row 12: the session as a second-level cache: the identity map, and reads that sessions share."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from hermetic import Cache, Database
from tests.dropin.ground import Ground
from tests.models import User


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """The file by which processes tell each other, which would be in shared memory by itself."""
    return tmp_path / "shared.cache"


def sent(session: Any) -> int:
    """How many statements a scope has sent."""
    statements: int = session.scope.statements
    return statements


def test_a_session_has_each_row_once(db: Database) -> None:
    with db.session() as session:
        session.add(User(id=1, username="ann"))

    with db.session() as session:
        first = session.get(User, 1)
        statements = sent(session)

        assert session.query(User).filter_by(username="ann").one() is first
        assert session.get(User, 1) is first
        assert statements == 1


def test_sessions_share_what_was_read_until_somebody_commits(ground: Ground, shared: Path) -> None:
    db = ground.database(cache=Cache(entities=(User,), shared=shared))
    with db.session() as session:
        session.add(User(id=1, username="ann"))

    seen = []
    for _ in range(3):
        with db.session(readonly=True) as session:
            user = session.get_one(User, 1)
            assert user in session
            seen.append((user.username, sent(session)))
    with db.session() as session:
        session.get_one(User, 1).username = "anna"
    with db.session(readonly=True) as session:
        seen.append((session.get_one(User, 1).username, sent(session)))

    assert seen == [("ann", 1), ("ann", 0), ("ann", 0), ("anna", 1)]


def test_a_commit_of_another_process_is_seen(ground: Ground, shared: Path) -> None:
    db = ground.database(cache=Cache(entities=(User,), shared=shared))
    with db.session() as session:
        session.add(User(id=1, username="ann"))
    for _ in range(2):
        with db.session(readonly=True) as session:
            assert session.get_one(User, 1).username == "ann"

    program = f"""
        from hermetic import Cache, Database
        from tests.models import User

        with Database({ground.url!r}, cache=Cache(entities=(User,), shared={str(shared)!r})) as db:
            with db.session() as session:
                session.get_one(User, 1).username = "anna"
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=60)

    with db.session(readonly=True) as session:
        assert session.get_one(User, 1).username == "anna"
