"""Savepoints, rollbacks, and sessions that are committed by hand."""

from __future__ import annotations

from sqlalchemy import select, text

from tests.differential.cases.table import by_hand, case
from tests.differential.pool import Kind, Member, Person, Team, Word
from tests.differential.run import Run, Unwanted


@case
def a_scope_that_does_nothing(run: Run) -> None:
    with run.scope() as session:
        run.look(session)
    with run.rolled_back() as session:
        run.look(session)


@case
def a_scope_that_is_rolled_back(run: Run) -> None:
    with run.rolled_back() as session:
        read = run.keep(session.get(Person, 2))
        changed = run.keep(session.get(Person, 1))
        changed.name = "lost"
        session.add(run.keep(Person(name="new")))
        session.delete(run.keep(session.get(Person, 3)))
        session.flush()
        changed.age = 1
        session.add(run.keep(Person(name="not flushed")))
        run.note(read.name)
    run.note(read.name if run.contestant.name == "scoped" else "bob")


@case
def rolled_back_before_the_flush(run: Run) -> None:
    with run.rolled_back() as session:
        person = run.keep(session.get(Person, 1))
        person.name = "lost"
        team = run.keep(session.get(Team, 1))
        team.members.append(run.keep(Member(name="new")))
        session.delete(run.keep(session.get(Person, 3)))


@case
def a_savepoint_that_stays(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        person.name = "before"
        with session.begin_nested():
            run.look(session)
            person.age = 1
            session.add(run.keep(Person(name="inside")))
            session.delete(run.keep(session.get(Person, 2)))
        run.look(session)
        person.age = 2


@case
def a_savepoint_that_is_rolled_back(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        other = run.keep(session.get(Person, 4))
        person.name = "before"
        with run.failing(), session.begin_nested():
            person.age = 1
            session.add(run.keep(Person(name="inside")))
            session.delete(run.keep(session.get(Person, 2)))
            session.flush()
            run.look(session)
            raise Unwanted
        run.look(session)
        run.note(person.age, person.name, other.name)
        run.look(session)


@case
def a_savepoint_ended_by_hand(run: Run) -> None:
    with run.scope() as session:
        savepoint = session.begin_nested()
        word = run.keep(session.get(Word, "able"))
        word.meaning = "lost"
        session.flush()
        savepoint.rollback()
        run.look(session)
        run.note(word.meaning)
        savepoint = session.begin_nested()
        word.meaning = "kept"
        savepoint.commit()
        run.look(session)


@case
def savepoints_in_savepoints(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        with session.begin_nested():
            person.age = 1
            with run.failing(), session.begin_nested():
                person.age = 2
                session.flush()
                raise Unwanted
            run.note(person.age)
            with session.begin_nested():
                person.name = "inner"
        run.look(session)


@case
def a_constraint_violated_in_a_savepoint(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        person.name = "before"
        for bad in (Person(name="x", email="bob@x"), Person(name=None)):
            with run.failing(), session.begin_nested():
                session.add(run.keep(bad))
                session.flush()
            run.look(session)
        with run.failing(), session.begin_nested():
            person.email = "bob@x"
            session.flush()
        run.look(session)
        run.note(person.email, person.name)


@case
def mutable_values_after_a_rollback(run: Run) -> None:
    with run.scope() as session:
        kind = run.keep(session.get(Kind, 1))
        with run.failing(), session.begin_nested():
            kind.settings["theme"] = "lost"
            session.flush()
            raise Unwanted
        run.look(session)
        run.note(kind.settings)
        kind.settings["theme"] = "kept"


@case
def two_scopes_one_after_the_other(run: Run) -> None:
    with run.scope() as session:
        session.add(run.keep(Person(name="first")))
    with run.scope() as session:
        run.note(session.scalars(select(Person).where(Person.name == "first")).one())
        run.look(session)
    with run.rolled_back() as session:
        run.note(session.scalars(select(Person).where(Person.name == "first")).one())


@by_hand
def commit_and_go_on(run: Run) -> None:
    with run.session() as session:
        person = run.keep(session.get(Person, 1))
        person.name = "first"
        session.commit()
        run.look(session)
        person.name = "second"
        session.commit()
        run.look(session)
        person.name = "not committed"


@by_hand
def commit_and_expire(run: Run) -> None:
    with run.session(expire_on_commit=True) as session:
        person = run.keep(session.get(Person, 1))
        session.add(run.keep(Person(name="new")))
        session.delete(run.keep(session.get(Person, 2)))
        session.commit()
        run.look(session)
        run.note(person.name)
        run.look(session)
    with run.failing():
        run.note(person.age, person.name)


@by_hand
def roll_back_and_go_on(run: Run) -> None:
    with run.session() as session:
        person = run.keep(session.get(Person, 1))
        read = run.keep(session.get(Person, 2))
        person.name = "lost"
        session.add(run.keep(Person(name="new")))
        session.delete(run.keep(session.get(Person, 3)))
        session.flush()
        session.rollback()
        run.look(session)
        run.note(person.name, read.name)
        session.commit()


@by_hand
def a_failed_flush_waits_for_a_rollback(run: Run) -> None:
    with run.session() as session:
        person = run.keep(session.get(Person, 1))
        session.add(run.keep(Person(name="x", email="bob@x")))
        with run.failing():
            session.flush()
        run.look(session)
        for read in (lambda: session.get(Person, 2), lambda: person.age, session.commit):
            with run.failing():
                run.note(read())
        with run.failing():
            session.scalars(select(Person)).all()
        session.rollback()
        run.look(session)
        run.note(person.age)


@by_hand
def begin_by_hand(run: Run) -> None:
    with run.session(autobegin=False) as session:
        with run.failing():
            session.get(Person, 1)
        with session.begin():
            run.keep(session.get(Person, 1)).name = "in a block"
        with run.failing():
            session.add(Person(name="x"))
        with run.failing(), session.begin():
            session.get(Person, 1).name = "lost"
            raise Unwanted
        session.begin()
        with run.failing():
            session.begin()
        run.note(session.get(Person, 1))


@by_hand
def close_and_use_again(run: Run) -> None:
    with run.session() as session:
        person = run.keep(session.get(Person, 1))
        person.name = "lost"
        session.close()
        run.look(session)
        run.note(session.get(Person, 1) is person)
        session.reset()
        run.look(session)
    with run.session(close_resets_only=False) as session:
        session.close()
        with run.failing():
            session.get(Person, 1)


@by_hand
def without_autoflush(run: Run) -> None:
    with run.session(autoflush=False) as session:
        person = run.keep(session.get(Person, 1))
        person.name = "zoe"
        session.add(Person(id=60, name="zoe"))
        run.note(session.scalars(select(Person).where(Person.name == "zoe")).all())
        run.note(session.get(Person, 60))
        session.flush()
        run.note(session.get(Person, 60))
        session.commit()


@by_hand
def work_on_the_sessions_connection(run: Run) -> None:
    with run.session() as session:
        session.add(Person(name="by the session"))
        session.flush()
        connection = session.connection()
        run.note(connection.scalar(text("SELECT count(*) FROM persons")))
        connection.execute(text("UPDATE persons SET age = 3 WHERE id = 1"))
        run.note(session.get(Person, 1))
        session.commit()
        run.note(session.connection().scalar(text("SELECT age FROM persons WHERE id = 1")))
