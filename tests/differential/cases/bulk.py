"""Statements that write, of one row and of many."""

from __future__ import annotations

from sqlalchemy import delete, insert, select, text, update

from tests.differential.cases.table import case
from tests.differential.pool import Engineer, Kind, Member, Person, Stamped, Versioned, Word
from tests.differential.run import Run


@case
def insert_of_many_rows(run: Run) -> None:
    with run.scope() as session:
        rows = [{"name": f"n{number}", "age": number} for number in range(5)]
        result = session.execute(insert(Person), rows)
        run.note(type(result).__name__)
        session.execute(insert(Word), [{"text": "x"}, {"text": "y", "meaning": "z"}])
        session.execute(insert(Stamped), [{"name": "a"}, {"name": "b"}])
        session.execute(insert(Kind), [{"renamed": "r", "parts": ["p"]}])
        run.look(session)


@case
def insert_that_returns_objects(run: Run) -> None:
    with run.scope() as session:
        rows = [{"name": f"n{number}"} for number in range(3)]
        statement = insert(Person).returning(Person, sort_by_parameter_order=True)
        for person in session.scalars(statement, rows).all():
            run.keep(person)
        one = session.execute(insert(Person).values(name="one").returning(Person.id, Person.name))
        run.note(one.all())


@case
def insert_in_inheritance(run: Run) -> None:
    with run.scope() as session:
        session.execute(insert(Engineer), [{"name": "a", "language": "b", "role": "engineer"}])
        run.note(session.scalars(select(Engineer).order_by(Engineer.id)).all())


@case
def update_and_what_is_loaded(run: Run) -> None:
    with run.scope() as session:
        for number in (1, 2, 3):
            run.keep(session.get(Person, number))
        for how in ("evaluate", "fetch", "auto", False):
            statement = update(Person).where(Person.age > 20).values(age=Person.age + 1)
            result = session.execute(statement, execution_options={"synchronize_session": how})
            run.note(result.rowcount)
            run.look(session)


@case
def update_of_what_is_changed(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        person.name = "flushed first"
        session.execute(update(Person).where(Person.name == "flushed first").values(age=1))
        run.look(session)
        person.age = 50
        with session.no_autoflush:
            session.execute(update(Person).values(age=2))
        run.look(session)


@case
def update_by_keys(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        session.execute(update(Person), [{"id": 1, "age": 3}, {"id": 2, "age": 4}])
        run.keep(person)
        with run.failing():
            session.execute(update(Person), [{"age": 3}])


@case
def update_that_returns(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 2))
        statement = update(Person).where(Person.id <= 2).values(active=False).returning(Person)
        run.note(session.scalars(statement).all())
        run.look(session)
        run.note(person.active)


@case
def delete_and_what_is_loaded(run: Run) -> None:
    with run.scope() as session:
        for number in (1, 2, 3, 4, 5):
            run.keep(session.get(Person, number))
        for number, how in enumerate(("evaluate", "fetch", "auto", False), 1):
            statement = delete(Person).where(Person.id == number)
            session.execute(statement, execution_options={"synchronize_session": how})
            run.look(session)
        run.note(session.get(Person, 1), session.get(Person, 4))


@case
def statements_of_the_tables(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        table = Person.__table__
        session.execute(table.update().values(age=1))  # type: ignore[attr-defined]
        run.keep(person)
        session.execute(text("UPDATE persons SET age = :age"), {"age": 2})
        run.note(session.scalar(text("SELECT max(age) FROM persons")))
        session.execute(text("INSERT INTO words VALUES (:a, :b)"), [{"a": "p", "b": "q"}] * 1)


@case
def the_legacy_bulk_methods(run: Run) -> None:
    with run.scope() as session:
        people = [Person(name="a"), Person(name="b", id=90)]
        session.bulk_save_objects(people, return_defaults=True)
        for person in people:
            run.keep(person)
        session.bulk_insert_mappings(Word, [{"text": "m"}])
        session.bulk_update_mappings(Person, [{"id": 1, "name": "mapped"}])
        run.look(session)


@case
def update_of_versions_and_onupdate(run: Run) -> None:
    with run.scope() as session:
        row, stamped = run.keep(session.get(Versioned, 1)), run.keep(session.get(Stamped, 1))
        session.execute(update(Versioned).where(Versioned.id == 1).values(name="bulk"))
        session.execute(update(Stamped).where(Stamped.id == 1).values(name="bulk"))
        run.look(session)
        row.name = "by the flush"
        stamped.name = "by the flush"
        session.flush()
        run.look(session)


@case
def delete_of_what_others_refer_to(run: Run) -> None:
    with run.failing(), run.scope() as session:
        member = run.keep(session.get(Member, 1))
        session.execute(delete(Member).where(Member.id == member.id))
