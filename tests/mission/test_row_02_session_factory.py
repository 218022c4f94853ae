"""Row 2: a session factory bound to an engine, at once or later, by changing an import line."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import UnboundExecutionError

import hermetic
from hermetic import Database, scoped_session, sessionmaker
from tests.dropin.ground import Ground
from tests.models import User

_AT_ONCE = """
Session = sessionmaker(bind=engine)
"""

_LATER = """
Session = sessionmaker()
Session.configure(bind=engine)
"""

_WITH_THE_USUAL_ARGUMENTS = """
Session = sessionmaker(autocommit=False, autoflush=False, bind=engine)
"""

_SCOPED = """
Session = scoped_session(sessionmaker(bind=engine))
"""

_SCOPED_LATER = """
Session = scoped_session(sessionmaker())
Session.configure(bind=engine)
"""

# What an application does with its factory, whichever library the names come from.
_WORK = """
session = Session()
try:
    session.add(User(username="ann"))
    session.add(User(username="bob"))
    session.commit()
    bob = session.query(User).filter_by(username="bob").first()
    session.delete(bob)
    session.commit()
    found = [user.username for user in session.query(User).order_by(User.id)]
except:
    session.rollback()
    raise
finally:
    session.close()
"""

_IMPORTS = {
    "sqlalchemy": "from sqlalchemy.orm import sessionmaker, scoped_session, Session",
    "hermetic": "from hermetic import sessionmaker, scoped_session, Session",
}


def run(imports: str, factory: str, engine: Engine) -> dict[str, Any]:
    module = ModuleType("application")
    module.__dict__.update(engine=engine, User=User)
    exec("\n".join((imports, factory, _WORK)), module.__dict__)
    return module.__dict__


@pytest.mark.parametrize("library", _IMPORTS)
@pytest.mark.parametrize(
    "factory",
    [
        pytest.param(_AT_ONCE, id="at-once"),
        pytest.param(_LATER, id="later"),
        pytest.param(_WITH_THE_USUAL_ARGUMENTS, id="usual-arguments"),
        pytest.param(_SCOPED, id="scoped"),
        pytest.param(_SCOPED_LATER, id="scoped-later"),
    ],
)
def test_a_program_moves_over_by_its_import_line(
    ground: Ground, library: str, factory: str
) -> None:
    engine = ground.engine()

    application = run(_IMPORTS[library], factory, engine)

    assert application["found"] == ["ann"]
    assert ground.usernames() == ["ann"]
    assert isinstance(application["session"], hermetic.Session) is (library == "hermetic")


def test_a_factory_without_an_engine_waits_for_configure(engine: Engine) -> None:
    Session = sessionmaker()  # noqa: N806 - as the articles write it
    with Session() as unbound, pytest.raises(UnboundExecutionError):
        unbound.execute("SELECT 1")

    Session.configure(bind=engine)

    with Session() as session:
        assert session.execute("SELECT 1").scalar() == 1


def test_configure_reaches_the_sessions_made_afterwards(ground: Ground) -> None:
    first, second = ground.engine(), ground.engine()
    Session = sessionmaker(bind=first)  # noqa: N806
    before = Session()

    Session.configure(bind=second)

    after = Session()
    assert (before.bind, after.bind) == (first, second)


def test_configure_reaches_a_scoped_session(ground: Ground) -> None:
    engine = ground.engine()
    Session = scoped_session(sessionmaker())  # noqa: N806

    Session.configure(bind=engine)

    assert Session.execute("SELECT 1").scalar() == 1
    Session.remove()


def test_a_factory_can_be_bound_to_the_engine_of_a_database(ground: Ground, db: Database) -> None:
    Session = sessionmaker(bind=db.engine)  # noqa: N806

    with Session() as session:
        session.add(User(username="ann"))
        session.commit()

    assert ground.usernames() == ["ann"]
    assert {connection.state for connection in db.snapshot().connections} == {"idle"}


def test_the_database_is_a_factory_too(ground: Ground, db: Database) -> None:
    with db.session() as session:
        session.add(User(username="ann"))

    assert ground.usernames() == ["ann"]
