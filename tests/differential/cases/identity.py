"""Who an object is: the identity map, merging, expunging, pickling."""

from __future__ import annotations

import pickle

from sqlalchemy import select, text
from sqlalchemy.orm import make_transient, object_session

from tests.differential.cases.table import case
from tests.differential.pool import Author, Book, Kind, Member, Pair, Person, Stamped, Team, Thing
from tests.differential.run import Run


@case
def nobody_keeps_what_is_clean(run: Run) -> None:
    with run.scope() as session:
        kept = run.keep(session.get(Person, 1))
        for number in range(2, 5):
            session.get(Person, number)
        run.note(len(session.scalars(select(Person)).all()))
        run.look(session)
        session.get(Person, 2).age = 1
        session.add(Person(name="new"))
        session.delete(session.get(Person, 3))
        run.look(session)
        session.flush()
        run.look(session)
        run.note(kept in session, session.get(Person, 1) is kept)


@case
def expunge_an_object(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        session.expunge(person)
        run.keep(person)
        run.note(session.get(Person, 1) is person)
        new = Person(name="new")
        session.add(new)
        session.expunge(new)
        run.keep(new)
        with run.failing():
            session.expunge(new)
        person.name = "lost"


@case
def expunge_all(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        person.name = "lost"
        session.add(run.keep(Person(name="new")))
        session.expunge_all()
        run.look(session)


@case
def add_a_second_object_of_the_same_key(run: Run) -> None:
    with run.failing(), run.scope() as session:
        run.keep(session.get(Person, 1))
        session.add(run.keep(Person(id=1, name="second")))
        session.flush()
    with run.scope() as session:
        first = session.get(Person, 1)
        session.expunge(first)
        run.keep(session.get(Person, 1))
        with run.failing():
            session.add(first)


@case
def merge_of_what_is_new_there_and_loaded(run: Run) -> None:
    with run.scope() as session:
        run.keep(session.merge(Person(name="new")))
        run.keep(session.merge(Person(id=1, name="from the database")))
        there = session.get(Person, 2)
        given = Person(id=2, age=77)
        run.note(session.merge(given) is there)
        run.keep(there)
        run.keep(given)
        run.keep(session.merge(Person(id=88, name="with a key")))
        run.keep(session.merge(Stamped(id=1, name="other")))
        session.flush()
        run.look(session)


@case
def merge_with_relationships(run: Run) -> None:
    with run.scope() as session:
        given = Team(id=1, name="red", members=[Member(id=2, name="bob"), Member(name="new")])
        team = run.keep(session.merge(given))
        run.note(team.members)
        session.flush()
        run.look(session)


@case
def merge_without_load(run: Run) -> None:
    with run.scope() as session:
        author = session.get(Author, 1)
        pair = session.get(Pair, (1, 1))
    with run.scope() as session:
        run.keep(session.merge(author, load=False))
        run.keep(session.merge(pair, load=False))
        run.look(session)
        with run.failing():
            session.merge(Person(id=1), load=False)


@case
def merge_of_a_detached_and_changed_object(run: Run) -> None:
    with run.scope() as session:
        kind = session.get(Kind, 1)
        book = session.get(Book, 1)
    kind.settings["more"] = 1
    kind.renamed = "other"
    book.title = "other"
    with run.scope() as session:
        run.keep(session.merge(kind))
        run.note(session.merge(book).author)
        run.look(session)
    run.note(kind, book)


@case
def merge_into_an_object_of_an_earlier_scope(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(Person(id=60, name="new"))
        session.add(person)
    with run.scope() as session:
        session.add(person)
        session.execute(text("UPDATE persons SET age = 9 WHERE id = 60"))
        run.keep(session.merge(Person(id=60, name="newer")))
        run.note(person.age)
        session.expire(person)
        run.note(person.name)


@case
def pickles_of_what_a_scope_loaded(run: Run) -> None:
    with run.scope() as session:
        author = session.get(Author, 1)
        kind = session.get(Kind, 1)
        person = session.get(Person, 1)
        session.expire(person, ["name"])
    for thing in (author, kind, person):
        run.keep(pickle.loads(pickle.dumps(thing)))
    other = pickle.loads(pickle.dumps(person))
    with run.failing():
        run.note(other.name)
    with run.scope() as session:
        session.add(other)
        run.note(other.name)
        run.look(session)


@case
def pickles_inside_a_scope(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        person.name = "changed"
        copy = run.keep(pickle.loads(pickle.dumps(person)))
        run.note(object_session(copy) is None, copy.name)
        new = pickle.loads(pickle.dumps(Person(name="new")))
        session.add(run.keep(new))


@case
def made_transient_again(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        session.expunge(person)
        make_transient(person)
        run.keep(person)
        person.id, person.email = 70, None
        session.add(person)
        session.flush()
        run.look(session)


@case
def dataclasses_that_are_equal_are_two_objects(run: Run) -> None:
    with run.scope() as session:
        things = session.scalars(select(Thing).order_by(Thing.id)).all()
        run.note(things, things[0] == things[1], things[0] in session)
        session.delete(things[0])
        run.look(session)
        session.flush()
        run.look(session)


@case
def a_deleted_object_is_not_the_next_scopes(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        session.delete(person)
    with run.scope() as session:
        run.note(object_session(person) is session, person in session)
        run.note(session.get(Person, 1))
        session.add(run.keep(Person(name="other")))
        run.look(session)


@case
def the_same_key_in_two_scopes_is_two_objects(run: Run) -> None:
    with run.scope() as session:
        first = run.keep(session.get(Person, 1))
    with run.scope() as session:
        second = run.keep(session.get(Person, 1))
        run.note(first is second, object_session(first) is None)
        with run.failing():
            session.add(first)
        first.name = "of the past"
        second.name = "of the present"
