"""Expired attributes, refreshed ones, and objects that are read after their scope."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import make_transient_to_detached

from tests.differential.cases.table import case
from tests.differential.pool import (
    Account,
    Author,
    Engineer,
    Kind,
    Member,
    Person,
    Team,
    Versioned,
    Worker,
)
from tests.differential.run import Run


@case
def expire_an_object_and_read_it(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        session.expire(person)
        run.look(session)
        run.note(person.name)
        run.look(session)


@case
def expire_some_attributes_and_read_others(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        session.expire(person, ["name", "age"])
        run.note(person.email)
        run.look(session)
        run.note(person.age)
        run.look(session)


@case
def expire_what_is_changed(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        person.name, person.age = "lost", 99
        session.expire(person, ["name"])
        run.look(session)
        session.flush()
        run.look(session)
        person.name = "lost again"
        session.expire_all()
        run.look(session)
        run.note(person.name)


@case
def refresh_sees_what_others_have_written(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        session.execute(text("UPDATE persons SET name = 'other', age = 1 WHERE id = 1"))
        session.refresh(person, ["age"])
        run.keep(person)
        session.refresh(person)
        run.keep(person)
        with run.failing():
            session.refresh(person, ["nothing"])
        session.refresh(person, with_for_update=True)


@case
def refresh_of_what_is_changed_gone_or_not_there(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        person.name = "flushed first"
        session.refresh(person)
        run.keep(person)
        with run.failing():
            session.refresh(Person(name="transient"))
        session.execute(text("DELETE FROM persons WHERE id = 1"))
        with run.failing():
            session.refresh(person)
        run.look(session)


@case
def read_what_is_expired_and_gone(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        session.execute(text("DELETE FROM persons WHERE id = 1"))
        session.expire(person)
        with run.failing():
            run.note(person.name)
        run.look(session)


@case
def refresh_of_relationships(run: Run) -> None:
    with run.scope() as session:
        team = run.keep(session.get(Team, 1))
        run.note(team.members)
        session.execute(text("UPDATE members SET team_id = 1 WHERE id = 4"))
        session.refresh(team)
        run.look(session)
        session.refresh(team, ["members"])
        run.note(team.members)
        author = session.get(Author, 1)
        session.execute(text("UPDATE books SET title = 'other' WHERE id = 1"))
        session.refresh(author)
        run.note(author.books)


@case
def expire_in_inheritance(run: Run) -> None:
    with run.scope() as session:
        worker = run.keep(session.get(Worker, 3))
        session.expire(worker, ["language"])
        run.note(worker.language)
        session.expire(worker)
        run.note(worker.name)
        run.keep(worker)
        run.note(session.get(Engineer, 3) is worker)


@case
def expire_versions_deferred_and_mutable(run: Run) -> None:
    with run.scope() as session:
        row, account = session.get(Versioned, 1), session.get(Account, 1)
        kind = session.get(Kind, 1)
        run.note(account.letter)
        kind.settings["gone"] = True
        session.expire_all()
        row.name = "again"
        session.flush()
        run.note(account.owner, kind.settings)
        run.look(session)


@case
def read_after_the_scope(run: Run) -> None:
    with run.scope() as session:
        person, account = session.get(Person, 1), session.get(Account, 1)
        member = session.get(Member, 1)
    run.note(person.name, account.owner, account.place)
    for thing, name in ((account, "letter"), (member, "team"), (member, "tags")):
        with run.failing():
            run.note(getattr(thing, name))
    run.note(person, account, member)


@case
def change_after_the_scope_and_add_to_another(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        member = run.keep(session.get(Member, 1))
    person.name = "between"
    with run.scope() as session:
        session.add_all([person, member])
        run.note(member.team, person.age)
        session.flush()
        run.look(session)


@case
def read_after_the_scope_what_was_expired(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        other = run.keep(session.get(Person, 2))
        session.expire(person)
        session.expire(other, ["name"])
    for thing in (person, other):
        with run.failing():
            run.note(thing.name)
    run.note(other.age)


@case
def objects_that_were_never_loaded(run: Run) -> None:
    with run.scope() as session:
        person = Person(id=2)
        make_transient_to_detached(person)
        session.add(person)
        run.look(session)
        run.note(person.name)
        run.look(session)
