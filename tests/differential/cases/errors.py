"""What goes wrong, and in which words."""

from __future__ import annotations

from sqlalchemy import select, text

from tests.differential.cases.table import case
from tests.differential.pool import Account, Kind, Member, Pair, Person, Stamped, Team
from tests.differential.run import Run


@case
def a_unique_value_twice(run: Run) -> None:
    with run.failing(), run.scope() as session:
        run.keep(session.get(Person, 1))
        session.add(run.keep(Person(name="x", email="bob@x")))
        session.flush()
    with run.failing(), run.scope() as session:
        session.add(run.keep(Person(name="x", email="bob@x")))
    with run.failing(), run.scope() as session:
        session.get(Person, 1).email = "bob@x"


@case
def a_unique_value_twice_among_many(run: Run) -> None:
    with run.failing(), run.scope() as session:
        emails = ("p@x", "q@x", "ann@x", "r@x")
        session.add_all([run.keep(Person(name="x", email=email)) for email in emails])


@case
def a_key_twice(run: Run) -> None:
    with run.failing(), run.scope() as session:
        session.add_all([run.keep(Pair(left=1, right=1)), run.keep(Pair(left=5, right=5))])
    with run.failing(), run.scope() as session:
        session.add_all([run.keep(Pair(left=6, right=1)), run.keep(Pair(left=6, right=1))])


@case
def null_where_a_value_must_be(run: Run) -> None:
    with run.failing(), run.scope() as session:
        session.add(run.keep(Person()))
    with run.failing(), run.scope() as session:
        session.get(Person, 1).name = None


@case
def a_reference_to_nothing(run: Run) -> None:
    with run.failing(), run.scope() as session:
        session.add(run.keep(Member(name="x", team_id=99)))
    with run.failing(), run.scope() as session:
        session.execute(text("DELETE FROM teams WHERE id = 1"))


@case
def a_value_of_the_wrong_type(run: Run) -> None:
    for attribute, value in (
        *(("moment", "not a date"), ("day", 5), ("uid", 3), ("colour", "GREEN")),
        *(("parts", 7), ("data", {1, 2}), ("blob", "text"), ("price", "x"), ("flag", "maybe")),
    ):
        with run.failing(), run.scope() as session:
            session.add(run.keep(Kind(**{attribute: value})))


@case
def a_value_of_the_wrong_type_in_a_change(run: Run) -> None:
    with run.failing(), run.scope() as session:
        kind = run.keep(session.get(Kind, 1))
        kind.moment = "not a date"


@case
def a_value_of_the_wrong_type_in_a_query(run: Run) -> None:
    for criterion in (
        Kind.uid == "not a uuid",
        Kind.uid.in_([5]),
        Kind.moment.between("then", "now"),
        Kind.flag == "perhaps",
        Kind.parts == 5,
    ):
        # an error that does not leave its scope is another matter where a server gives up with it
        for _ in range(2):
            with run.failing(), run.scope() as session:
                run.note(session.scalars(select(Kind).where(criterion)).all())
            with run.failing(), run.scope() as session:
                run.note(session.execute(select(Kind).where(criterion)).all())


@case
def a_value_that_a_validator_refuses(run: Run) -> None:
    with run.scope() as session:
        account = run.keep(session.get(Account, 1))
        with run.failing():
            account.cents = -1
        run.look(session)
        with run.failing():
            session.add(Account(owner="x", cents=-1))


@case
def a_default_that_fails(run: Run) -> None:
    with run.failing(), run.scope() as session:
        session.add(run.keep(Stamped()))


@case
def an_attribute_of_the_wrong_kind(run: Run) -> None:
    with run.scope() as session:
        team = run.keep(session.get(Team, 1))
        for bad in (Person(name="x"), 5):
            with run.failing():
                team.members.append(bad)
        with run.failing():
            team.members = 5
        with run.failing():
            session.get(Member, 1).team = "red"
        run.look(session)


@case
def things_that_are_not_mapped(run: Run) -> None:
    with run.scope() as session:
        for refused in (5, None, object, Person):
            with run.failing():
                session.add(refused)
            with run.failing():
                session.delete(refused)
        with run.failing():
            session.delete(Person(name="transient"))


@case
def statements_that_the_server_refuses(run: Run) -> None:
    for statement in (text("SELECT nothing FROM nowhere"), text("SELEC 1")):
        with run.failing(), run.scope() as session:
            session.execute(statement)
    with run.failing(), run.scope() as session:
        session.scalars(select(Person).where(Person.id == object())).all()
    with run.failing(), run.scope() as session:
        session.execute(text("SELECT :missing"))


@case
def a_failed_flush_that_is_swallowed(run: Run) -> None:
    with run.failing(), run.scope() as session:
        session.add(run.keep(Person(name="x", email="bob@x")))
        with run.failing():
            session.flush()


@case
def autoflush_that_fails(run: Run) -> None:
    with run.failing(), run.scope() as session:
        session.add(run.keep(Person(name="x", email="bob@x")))
        session.scalars(select(Person)).all()
    with run.failing(), run.scope() as session:
        member = run.keep(session.get(Member, 1))
        session.add(run.keep(Person(name=None)))
        run.note(member.team)


@case
def a_session_that_is_over(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
    with run.scope() as session:
        other = run.keep(session.get(Person, 1))
        with run.failing():
            session.delete(person)
        with run.failing():
            session.refresh(person)
        with run.failing():
            session.expire(person)
        session.delete(other)
        with run.failing():
            session.add(other)
        session.flush()
        with run.failing():
            session.add(other)
