"""Row 11: scoped_session: one session per thread and per task, another in any other, printed."""

from __future__ import annotations

import multiprocessing
import os
import threading
from typing import Any

import pytest
from sqlalchemy import Engine, QueuePool

from hermetic import Database, scoped_session, sessionmaker
from tests.dropin.ground import Ground
from tests.dropin.threads import PATIENCE, in_thread, together, wait_for
from tests.mission.children import print_inherited, print_session
from tests.models import User


@pytest.fixture
def Session(engine: Engine) -> Any:  # noqa: N802 - as the articles write it
    return scoped_session(sessionmaker(bind=engine))


def lent(engine: Engine) -> int:
    pool = engine.pool
    assert isinstance(pool, QueuePool)
    return pool.checkedout()


# Per thread


def test_a_thread_gets_the_same_session_again(Session: Any) -> None:  # noqa: N803
    first, again = Session(), Session()

    assert first is again
    assert repr(first) == repr(again)


def test_another_thread_gets_another_session(Session: Any) -> None:  # noqa: N803
    mine = Session()

    others = in_thread(lambda: (Session(), repr(Session())))

    assert others[0] is not mine
    assert others[1] != repr(mine)


def test_every_thread_gets_its_own(Session: Any) -> None:  # noqa: N803
    ready = threading.Barrier(5, timeout=PATIENCE)

    def work() -> tuple[int, str]:
        session = Session()
        ready.wait()
        printed = repr(Session())
        Session.remove()
        return id(session), printed

    results = together(*[work] * 5)

    assert len({identity for identity, _ in results}) == 5
    assert len({printed for _, printed in results}) == 5


def test_removing_it_makes_the_next_one_new(Session: Any) -> None:  # noqa: N803
    first = Session()
    printed = repr(first)

    Session.remove()

    assert Session() is not first
    assert repr(Session()) != printed


def test_the_registry_stands_for_its_session(ground: Ground, Session: Any) -> None:  # noqa: N803
    Session.add(User(username="ann"))
    Session.commit()

    found = Session.query(User).filter_by(username="ann").first()

    assert found in Session
    assert ground.usernames() == ["ann"]
    Session.remove()


# Printed


def test_a_new_session_says_which_it_is_and_whose(Session: Any) -> None:  # noqa: N803
    printed = in_thread(lambda: repr(Session()), name="the reporter")

    assert "'the reporter'" in printed
    assert "idle" in printed


def test_a_session_at_work_says_so(Session: Any) -> None:  # noqa: N803
    def work() -> tuple[str, str]:
        session = Session()
        session.execute("SELECT 1")
        at_work = repr(session)
        Session.remove()
        return at_work, repr(session)

    at_work, removed = in_thread(work, name="the reporter")

    assert "'the reporter'" in at_work
    assert "in transaction" in at_work
    assert "in transaction" not in removed


def test_a_closed_session_still_says_whose_it_is(Session: Any) -> None:  # noqa: N803
    def work() -> tuple[Any, str]:
        session = Session()
        session.execute("SELECT 1")
        session.close()
        return session, repr(session)

    session, printed = in_thread(work, name="the reporter")

    assert "'the reporter'" in printed
    assert "idle" in printed
    # closed is not removed: it can be used again
    assert session.execute("SELECT 1").scalar() == 1
    session.close()


def test_the_registry_prints_the_session_that_is_here(Session: Any) -> None:  # noqa: N803
    empty = repr(Session)

    session = Session()

    assert repr(Session) != empty
    assert repr(session) in repr(Session)
    assert in_thread(lambda: repr(Session)) == empty


def test_a_scope_prints_its_name_owner_state_and_line(db: Database) -> None:
    def report() -> tuple[str, str]:
        with db.session() as session:
            during = repr(session)
        return during, repr(session)

    during, ended = in_thread(report, name="the reporter")

    for printed in (during, ended):
        assert "'report'" in printed
        assert "'the reporter'" in printed
        assert __file__ in printed
    assert "ended" not in during
    assert "ended, committed" in ended


# Per process


def test_another_process_gets_another_session(ground: Ground, Session: Any) -> None:  # noqa: N803
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    child = spawn.Process(target=print_session, args=(ground.url, there), daemon=True)
    session = Session()
    session.execute("SELECT 1")
    at_work = repr(session)
    session.close()

    child.start()
    assert here.poll(PATIENCE), "the child does not answer"
    pid, childs_at_work, childs_closed = here.recv()
    child.join(PATIENCE)

    assert pid != os.getpid()
    assert childs_at_work != at_work
    assert childs_closed != repr(session)
    assert "in transaction" in childs_at_work
    assert "idle" in childs_closed
    Session.remove()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_does_not_get_the_parents_session(
    ground: Ground,
    Session: Any,  # noqa: N803
) -> None:
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    child = fork.Process(target=print_inherited, args=(Session, there), daemon=True)
    mine = Session()
    mine.execute("SELECT 1")

    child.start()
    assert here.poll(PATIENCE), "the child does not answer"
    childs_identity, childs_printed = here.recv()
    child.join(PATIENCE)

    assert childs_identity != id(mine)
    assert childs_printed != repr(mine)
    assert "in transaction" not in childs_printed
    # and the parent's connection was not touched
    assert mine.execute("SELECT 2").scalar() == 2
    Session.remove()


# Nobody removes it


def test_a_thread_that_ends_without_removing_gives_its_connection_back(
    ground: Ground,
    engine: Engine,
    Session: Any,  # noqa: N803
) -> None:
    def work() -> None:
        Session.add(User(username="ann"))
        Session.flush()

    in_thread(work)

    assert lent(engine) == 0
    assert ground.usernames() == []
    assert ground.connections() == 1


def test_a_hundred_threads_that_end_without_removing_cost_one_connection(
    ground: Ground,
    engine: Engine,
    Session: Any,  # noqa: N803
) -> None:
    for _ in range(100):
        in_thread(lambda: Session.execute("SELECT 1").scalar())

    assert lent(engine) == 0
    assert ground.connections() == 1


def test_a_session_of_an_ended_thread_that_somebody_kept_is_closed(
    engine: Engine,
    Session: Any,  # noqa: N803
) -> None:
    def work() -> Any:
        session = Session()
        session.execute("SELECT 1")
        return session

    kept = in_thread(work, name="the one that ended")

    assert lent(engine) == 0
    assert "idle" in repr(kept)


def test_a_living_thread_keeps_its_session(engine: Engine, Session: Any) -> None:  # noqa: N803
    used, look = threading.Event(), threading.Event()
    held: list[int] = []

    def work() -> None:
        Session.execute("SELECT 1")
        used.set()
        wait_for(look)

    def watch() -> None:
        wait_for(used)
        held.append(lent(engine))
        look.set()

    together(work, watch)

    assert held == [1]
    assert lent(engine) == 0
