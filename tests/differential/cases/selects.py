"""Statements that read, and their results."""

from __future__ import annotations

from sqlalchemy import func, select, text
from sqlalchemy.orm import aliased, defer, load_only

from tests.differential.cases.table import by_hand, case
from tests.differential.pool import Account, Animal, Kind, Member, Person, Team, Thing, Worker
from tests.differential.run import Run


@case
def select_by_the_key(run: Run) -> None:
    with run.scope() as session:
        run.keep(session.scalars(select(Person).where(Person.id == 1)).one())
        run.keep(session.scalar(select(Person).where(Person.id == 2)))
        run.keep(session.execute(select(Person).where(Person.id == 3)).scalar_one())
        run.note(session.scalars(select(Person).where(Person.id == 99)).one_or_none())


@case
def select_by_another_column(run: Run) -> None:
    with run.scope() as session:
        statement = select(Person).where(Person.name == "ann").order_by(Person.id.desc())
        run.note(session.scalars(statement).all(), session.scalars(statement).first())
        run.look(session)
        run.note(session.scalars(select(Person).where(Person.email == None)).all())  # noqa: E711
        run.note(session.scalars(select(Person).filter_by(age=25).limit(1)).all())


@case
def select_with_too_many_or_too_few(run: Run) -> None:
    with run.scope() as session:
        many = select(Person).where(Person.name == "ann")
        none = select(Person).where(Person.name == "nobody")
        for statement in (many, none):
            with run.failing():
                run.note(session.scalars(statement).one())
            with run.failing():
                run.note(session.scalars(statement).one_or_none())
            with run.failing():
                run.note(session.execute(statement).scalar_one())


@case
def select_all_in_order(run: Run) -> None:
    with run.scope() as session:
        kept = session.scalars(select(Person).order_by(Person.age, Person.id)).all()
        run.note(kept)
        run.look(session)
        for person in kept:
            run.keep(person)


@case
def select_with_limit_and_offset(run: Run) -> None:
    with run.scope() as session:
        ordered = select(Person).order_by(Person.id)
        run.note(session.scalars(ordered.limit(2)).all())
        run.note(session.scalars(ordered.limit(2).offset(1)).all())
        run.note(session.scalars(ordered.limit(0)).all())


@case
def select_by_a_list_and_by_several_conditions(run: Run) -> None:
    with run.scope() as session:
        ordered = select(Person).order_by(Person.id)
        run.note(session.scalars(ordered.where(Person.id.in_([1, 3, 99]))).all())
        run.note(session.scalars(ordered.where(Person.id.in_([]))).all())
        run.note(session.scalars(ordered.where(Person.age > 20, Person.active)).all())
        run.note(session.scalars(ordered.where((Person.id == 1) | (Person.name == "bob"))).all())


@case
def the_same_statement_with_other_values(run: Run) -> None:
    with run.scope() as session:
        for number in (1, 2, 99, 1):
            run.note(session.scalars(select(Person).where(Person.id == number)).one_or_none())
        for name in ("ann", None, "bob"):
            statement = select(Person).where(Person.name == name).order_by(Person.id)
            run.note(session.scalars(statement).all())


@case
def select_of_what_is_changed_and_not_flushed(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        person.name = "zoe"
        run.note(session.scalars(select(Person).where(Person.name == "zoe")).all())
        person.name = "eva"
        with session.no_autoflush:
            run.note(session.scalars(select(Person).where(Person.name == "eva")).all())
            run.note(session.scalars(select(Person).where(Person.name == "zoe")).all())
            run.keep(person)


@case
def select_does_not_overwrite_what_is_loaded(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        session.execute(text("UPDATE persons SET name = 'elsewhere' WHERE id = 1"))
        run.keep(session.scalars(select(Person).where(Person.id == 1)).one())
        statement = select(Person).where(Person.id == 1)
        session.scalars(statement.execution_options(populate_existing=True)).one()
        run.keep(person)


@case
def populate_existing_drops_a_change(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        person.name = "dropped"
        with session.no_autoflush:
            session.scalars(
                select(Person).where(Person.id == 1), execution_options={"populate_existing": True}
            ).all()
        run.look(session)


@case
def select_fills_in_what_is_expired(run: Run) -> None:
    with run.scope() as session:
        first, second = session.get(Person, 1), session.get(Person, 2)
        session.expire(first)
        session.expire(second, ["age"])
        second.name = "changed"
        with session.no_autoflush:
            run.note(session.scalars(select(Person).order_by(Person.id)).all())
        run.look(session)


@case
def select_of_entities_and_columns(run: Run) -> None:
    with run.scope() as session:
        rows = session.execute(
            select(Person, Person.name, func.length(Person.name)).order_by(Person.id).limit(2)
        ).all()
        run.note(rows, [row._fields for row in rows], rows[0].Person is rows[0][0])
        run.note(session.execute(select(Person.id, Person.name).order_by(Person.id)).all())
        run.note(session.execute(select(Member, Team).join(Member.team).order_by(Member.id)).all())
        run.note(session.execute(select(func.count()).select_from(Person)).scalar_one())
        run.look(session)


@case
def results_are_used_up_and_closed(run: Run) -> None:
    with run.scope() as session:
        result = session.scalars(select(Person).order_by(Person.id))
        run.note(result.first())
        with run.failing():
            run.note(result.all())
        result = session.execute(select(Person).order_by(Person.id))
        run.note(result.fetchone(), result.fetchmany(2), result.keys())
        run.note(list(result), result.fetchone())
        run.note(result.all())


@case
def results_in_every_form(run: Run) -> None:
    with run.scope() as session:
        ordered = select(Person).order_by(Person.id)
        # kept: whether the next result finds them is otherwise the garbage collector's to say
        everybody = session.scalars(ordered).all()
        run.note(list(session.scalars(ordered).partitions(2)))
        run.note(session.scalars(ordered).unique().all())
        run.note(session.execute(ordered).mappings().first())
        run.note(session.execute(ordered).columns(0).all())
        run.note([type(row).__name__ for row in session.execute(ordered)])
        run.note(session.execute(ordered).tuples().first())
        run.note(everybody)


@by_hand
def results_in_pages(run: Run) -> None:
    with run.session() as session:
        ordered = select(Person).order_by(Person.id)
        run.note(session.scalars(ordered.execution_options(yield_per=2)).all())
        run.note(session.scalars(ordered, execution_options={"stream_results": True}).all())


@case
def select_of_part_of_the_columns(run: Run) -> None:
    with run.scope() as session:
        first = select(Person).order_by(Person.id).options(load_only(Person.name))
        person = session.scalars(first).first()
        run.keep(person)
        run.note(person.age)
        run.keep(person)
        other = session.scalars(select(Person).where(Person.id == 2).options(defer(Person.name)))
        run.keep(other.one())


@case
def select_of_every_kind_of_class(run: Run) -> None:
    with run.scope() as session:
        run.note(session.scalars(select(Kind).order_by(Kind.id)).all())
        run.note(session.scalars(select(Account).order_by(Account.id)).all())
        run.note(session.scalars(select(Thing).order_by(Thing.id)).all())
        run.note(session.scalars(select(Animal).order_by(Animal.id)).all())
        run.note(session.scalars(select(Worker).order_by(Worker.id)).all())
        run.look(session)


@case
def select_by_the_values_of_every_type(run: Run) -> None:
    with run.scope() as session:
        kind = session.get(Kind, 1)
        for attribute in (Kind.colour, Kind.moment, Kind.day, Kind.uid, Kind.parts, Kind.blob):
            value = getattr(kind, attribute.key)
            run.note(session.scalars(select(Kind).where(attribute == value)).all())


@case
def select_of_an_alias_and_from_text(run: Run) -> None:
    with run.scope() as session:
        other = aliased(Person, name="other")
        run.note(session.scalars(select(other).where(other.id == 1)).one())
        written = text("SELECT * FROM persons WHERE id = :id").bindparams(id=2)
        run.note(session.scalars(select(Person).from_statement(written)).one())
        run.note(session.scalars(select(Person).where(text("id = 3"))).one())
        run.note(session.execute(text("SELECT name FROM persons ORDER BY id")).all())


@case
def the_legacy_query(run: Run) -> None:
    with run.scope() as session:
        query = session.query(Person)
        run.note(query.filter(Person.id == 1).one(), query.filter_by(name="nobody").first())
        run.note(query.order_by(Person.id).limit(2).all(), query.count(), query.get(3))
        run.note(session.query(Person.name, Person.age).order_by(Person.id).all())
        run.note(query.filter(Person.age == 25).update({"age": 26}))
        run.note(query.filter(Person.id == 5).delete())
        run.look(session)


@case
def select_after_the_scope_is_refused_objects_stay(run: Run) -> None:
    with run.scope() as session:
        people = session.scalars(select(Person).order_by(Person.id)).all()
    run.note(people, [person.name for person in people])
