"""INSERT, UPDATE and DELETE by the flush."""

from __future__ import annotations

import datetime
import decimal
import uuid

from sqlalchemy import func, null, text

from tests.differential.cases.table import case
from tests.differential.pool import (
    Box,
    Cat,
    Colour,
    Eager,
    Engineer,
    Kind,
    Lazy,
    Pair,
    Person,
    Stamped,
    Thing,
    Versioned,
    Word,
)
from tests.differential.run import Run


@case
def add_one(run: Run) -> None:
    with run.scope() as session:
        person = Person(name="new")
        session.add(person)
        run.keep(person)
        session.flush()
        run.look(session)
        run.note(person.id, person.age, person.active)


@case
def add_and_do_not_flush(run: Run) -> None:
    with run.scope() as session:
        session.add(run.keep(Person(name="new")))


@case
def add_many(run: Run) -> None:
    with run.scope() as session:
        people = [Person(name=f"n{number}", age=number or None) for number in range(7)]
        session.add_all(people)
        session.flush()
        for person in people:
            run.keep(person)


@case
def add_many_that_are_not_alike(run: Run) -> None:
    with run.scope() as session:
        people = [
            Person(name="no more"),
            Person(name="id", id=40),
            Person(name="age", age=3),
            Person(name="no more again", score=None),
            Person(name="expression", age=func.abs(-9)),
            Person(name="all", email="all@x", age=1, score=2.5, active=False),
        ]
        session.add_all(people)
        run.look(session)
        session.flush()
        for person in people:
            run.keep(person)
        run.note(people[4].age)


@case
def add_with_keys_of_its_own(run: Run) -> None:
    with run.scope() as session:
        session.add_all([Word(text="zeta"), Word(text="beta", meaning="b"), Pair(left=9, right=8)])
        session.flush()
        run.look(session)


@case
def add_without_a_key(run: Run) -> None:
    with run.failing(), run.scope() as session:
        session.add(run.keep(Word(meaning="nothing")))
        session.flush()


@case
def add_with_defaults_of_every_kind(run: Run) -> None:
    with run.scope() as session:
        rows = [Stamped(name="a"), Stamped(name="b", seven=8, by_server="mine"), Stamped(name="c")]
        session.add_all(rows)
        session.flush()
        for row in rows:
            run.keep(row)
        run.note([(row.id, row.seven, row.made, row.loud, row.by_server) for row in rows])
        run.note(rows[0].by_sql, rows[1].by_sql)
        run.look(session)


@case
def change_with_onupdate(run: Run) -> None:
    with run.scope() as session:
        row = run.keep(session.get(Stamped, 1))
        row.name = "other"
        session.flush()
        run.keep(row)
        run.note(row.changed, row.by_sql)
        row.name = "other"
        session.flush()
        run.keep(row)


@case
def defaults_that_are_fetched_soon_or_late(run: Run) -> None:
    with run.scope() as session:
        for row in (Eager(name="e"), Lazy(name="l")):
            session.add(row)
            session.flush()
            run.keep(row)
            row.name = "other"
            session.flush()
            run.keep(row)
        run.note(row.by_server, row.by_sql)


@case
def add_every_type(run: Run) -> None:
    with run.scope() as session:
        kind = Kind(
            colour=Colour.BLUE,
            moment=datetime.datetime.fromisoformat("1999-12-31T23:59:59.999999"),
            day=datetime.date(1, 1, 2),
            price=decimal.Decimal("0.10"),
            data=[1, {"x": None}],
            blob=b"",
            uid=uuid.UUID(int=2**127),
            flag=False,
            parts=["one"],
            settings={"a": 1},
            renamed="under its other name",
        )
        session.add_all([kind, Kind(), Kind(data=None, settings=None), Kind(data=null())])
        session.flush()
        run.keep(kind)
        session.expire(kind)
        run.note(kind.data, kind.settings)
        run.keep(kind)


@case
def change_every_type(run: Run) -> None:
    with run.scope() as session:
        kind = run.keep(session.get(Kind, 1))
        kind.colour, kind.price, kind.renamed = Colour.BLUE, decimal.Decimal(1), None
        kind.settings["theme"] = "light"
        kind.data["a"].append("not seen, because it is no MutableDict")
        run.keep(kind)
        session.flush()
        run.keep(kind)
        kind.settings["more"] = [1]
        kind.data = {"a": "seen"}
        kind.parts = [*kind.parts, "c"]


@case
def change_one_attribute(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        person.name = "changed"
        run.look(session)
        session.flush()
        run.look(session)


@case
def change_to_the_same_value(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        person.name = "ann"
        run.note(session.is_modified(person), person in session.dirty)
        run.look(session)
        session.flush()
        run.look(session)


@case
def change_and_change_back(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        person.name, person.age = "other", 5
        person.name, person.age = "ann", 30
        run.look(session)
        session.flush()
        run.look(session)


@case
def change_many_alike_and_not_alike(run: Run) -> None:
    with run.scope() as session:
        people = [run.keep(session.get(Person, number)) for number in range(1, 6)]
        for person in people[:3]:
            person.age = 60
        people[3].name, people[3].score = "four", None
        people[4].age = Person.age + 1
        session.flush()
        run.look(session)
        run.note(people[4].age)


@case
def change_what_is_expired_or_deferred(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        session.expire(person)
        person.name = "blind"
        run.look(session)
        session.flush()
        run.look(session)
        run.note(person.age)


@case
def change_a_key(run: Run) -> None:
    with run.scope() as session:
        pair = run.keep(session.get(Pair, (1, 1)))
        pair.right = 7
        session.flush()
        run.look(session)
        run.note(session.get(Pair, (1, 1)), session.get(Pair, (1, 7)) is pair)


@case
def set_none(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        person.email = None
        run.look(session)
        session.flush()
        run.look(session)


@case
def delete_an_attribute(run: Run) -> None:
    with run.failing(), run.scope() as session:
        person = run.keep(session.get(Person, 1))
        del person.age
        run.look(session)
        session.flush()  # SQLAlchemy's own KeyError


@case
def delete_and_add_again(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        session.delete(person)
        run.look(session)
        session.flush()
        run.look(session)
        session.add(Person(id=1, name="in its place"))
        session.flush()
        run.look(session)


@case
def delete_many(run: Run) -> None:
    with run.scope() as session:
        for number in (5, 1, 3):
            session.delete(run.keep(session.get(Person, number)))
        session.flush()
        run.look(session)


@case
def delete_and_add_the_same_key_in_one_flush(run: Run) -> None:
    with run.scope() as session:
        session.delete(run.keep(session.get(Person, 1)))
        session.add(run.keep(Person(id=1, name="in its place")))
        session.flush()
        run.look(session)


@case
def versions_are_counted_and_compared(run: Run) -> None:
    with run.scope() as session:
        row = run.keep(session.get(Versioned, 1))
        row.name = "second"
        session.flush()
        run.keep(row)
        session.add(run.keep(Versioned(name="new")))
        session.flush()
    with run.failing(), run.scope() as session:
        row = run.keep(session.get(Versioned, 2))
        session.execute(text("UPDATE versioned SET version = 9 WHERE id = 2"))
        row.name = "stale"
        session.flush()


@case
def change_and_delete_what_is_gone(run: Run) -> None:
    with run.failing(), run.scope() as session:
        person = run.keep(session.get(Person, 1))
        session.execute(text("DELETE FROM persons WHERE id = 1"))
        person.name = "nobody"
        session.flush()
    with run.failing(), run.scope() as session:
        person = run.keep(session.get(Person, 2))
        session.execute(text("DELETE FROM persons WHERE id = 2"))
        session.delete(person)
        session.flush()


@case
def write_in_inheritance_and_other_styles(run: Run) -> None:
    with run.scope() as session:
        fresh = [Cat(name="new"), Engineer(name="eva", language="c"), Thing(name="t"), Box("b")]
        session.add_all(fresh)
        session.flush()
        for thing in fresh:
            run.keep(thing)
        worker = run.keep(session.get(Engineer, 3))
        worker.name, worker.language = "both", "tables"
        cat = run.keep(session.get(Cat, 2))
        cat.lives -= 1
        session.flush()
        session.delete(worker)
        session.flush()
        run.look(session)


@case
def flush_of_some_objects_only(run: Run) -> None:
    with run.scope() as session:
        first, second = Person(name="first"), Person(name="second")
        session.add_all([first, second])
        session.flush([second])
        run.look(session)
