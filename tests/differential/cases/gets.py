"""session.get: what it finds, where, and what it refuses."""

from __future__ import annotations

from collections import namedtuple

from sqlalchemy import select
from sqlalchemy.orm import joinedload, load_only, selectinload, undefer

from tests.differential.cases.table import by_hand, case
from tests.differential.pool import (
    Account,
    Animal,
    Author,
    Book,
    Box,
    Cat,
    Dog,
    Engineer,
    Kind,
    Member,
    Pair,
    Person,
    Team,
    Thing,
    Versioned,
    Word,
    Worker,
)
from tests.differential.run import Run


@case
def get_what_is_there(run: Run) -> None:
    with run.scope() as session:
        run.keep(session.get(Person, 1))


@case
def get_what_is_not_there(run: Run) -> None:
    with run.scope() as session:
        run.note(session.get(Person, 99), session.get(Word, "none"))


@case
def get_twice(run: Run) -> None:
    with run.scope() as session:
        first = run.keep(session.get(Person, 1))
        run.note(session.get(Person, 1) is first)


@case
def get_of_what_nobody_kept(run: Run) -> None:
    with run.scope() as session:
        session.get(Person, 1)
        run.look(session)
        session.get(Person, 1).name = "kept by its change"
        run.look(session)


@case
def get_by_every_form_of_a_key(run: Run) -> None:
    with run.scope() as session:
        run.keep(session.get(Pair, (1, 2)))
        run.note(session.get(Pair, {"left": 1, "right": 1}))
        run.note(session.get(Pair, (0, 0)), session.get(Pair, [2, 2]))
        run.note(session.get(Person, (1,)), session.get(Person, {"id": 2}))
        run.note(session.get(Word, ""), session.get(Word, "able"))


@case
def get_by_a_key_of_another_type(run: Run) -> None:
    for key in ("1", True, 1.0):
        with run.failing(), run.scope() as session:
            run.keep(session.get(Person, key))
            run.keep(session.get(Person, 1))
            run.look(session)


@case
def get_by_what_holds_a_key(run: Run) -> None:
    Held = namedtuple("Held", "id")
    with run.scope() as session:
        row = session.execute(select(Person.id).order_by(Person.id)).first()
        run.keep(session.get(Person, row))
        run.note(session.get(Person, row), session.get(Person, Held(2)))
        run.note(session.get(Person, range(2, 3)), session.get(Person, {"id": 2}.values()))
        run.note(session.get(Person, iter([3])), session.get(Person, frozenset([1])))
        both = session.execute(select(Pair.left, Pair.right).order_by(Pair.left)).first()
        run.keep(session.get(Pair, both))


@case
def get_by_a_wrong_key(run: Run) -> None:
    with run.scope() as session:
        for key in ((1, 2), (), {"nothing": 1}, (1, None)):
            with run.failing():
                run.note(session.get(Person, key))
        with run.failing():
            run.note(session.get(Pair, 1))
        with run.failing():
            run.note(session.get(Pair, {"left": 1}))


@case
def get_of_none(run: Run) -> None:
    with run.scope() as session:
        run.note(session.get(Person, None))
        run.note(session.get(Pair, (1, None)), session.get(Pair, (None, None)))


@case
def get_of_what_is_no_entity(run: Run) -> None:
    with run.scope() as session:
        with run.failing():
            session.get(Person.__table__, 1)
        with run.failing():
            session.get(int, 1)


@case
def get_one_of_what_is_not_there(run: Run) -> None:
    with run.scope() as session:
        run.keep(session.get_one(Person, 1))
        with run.failing():
            session.get_one(Person, 99)


@case
def get_of_every_type(run: Run) -> None:
    with run.scope() as session:
        run.keep(session.get(Kind, 1))
        run.keep(session.get(Kind, 2))


@case
def get_with_deferred_and_computed_attributes(run: Run) -> None:
    with run.scope() as session:
        account = run.keep(session.get(Account, 1))
        run.note(account.upper, account.holder, account.euros, account.place)
        run.keep(account)
        run.note(account.letter)
        run.keep(account)
        run.note(account.memo, session.get(Account, 2).place)


@case
def get_of_other_styles_of_class(run: Run) -> None:
    with run.scope() as session:
        run.keep(session.get(Thing, 1))
        run.keep(session.get(Thing, 2))
        run.keep(session.get(Box, 1))
        run.note(session.get(Thing, 1) == session.get(Thing, 2))


@case
def get_in_one_table_for_several_classes(run: Run) -> None:
    with run.scope() as session:
        run.keep(session.get(Animal, 2))
        run.note(session.get(Cat, 2), session.get(Dog, 2), session.get(Dog, 3))
        run.keep(session.get(Animal, 1))


@case
def get_in_several_tables_for_one_class(run: Run) -> None:
    with run.scope() as session:
        worker = run.keep(session.get(Worker, 3))
        run.note(worker.language)
        run.keep(session.get(Engineer, 3))
        run.note(session.get(Engineer, 2))


@case
def get_of_another_class_in_the_identity_map(run: Run) -> None:
    with run.scope() as session:
        run.keep(session.get(Animal, 3))
        run.note(session.get(Cat, 3))
        run.note(session.get(Animal, 3))


@case
def get_of_an_expired_object(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        session.expire(person)
        run.keep(session.get(Person, 1))
        session.expire(person, ["name"])
        run.keep(session.get(Person, 1))
        run.note(person.name)


@case
def get_of_an_expired_object_that_is_gone(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        session.execute(
            Person.__table__.delete().where(Person.__table__.c.id == 1)  # type: ignore[attr-defined]
        )
        run.note(session.get(Person, 1))
        session.expire(person)
        run.note(session.get(Person, 1))
        with run.failing():
            run.note(person.name)


@case
def get_of_a_pending_and_a_deleted_object(run: Run) -> None:
    with run.scope() as session:
        session.add(Person(id=50, name="new"))
        run.note(session.get(Person, 50))
        session.flush()
        run.note(session.get(Person, 50))
        session.delete(session.get(Person, 2))
        run.note(session.get(Person, 2))
        session.flush()
        run.note(session.get(Person, 2))


@case
def get_flushes_only_when_it_asks_the_server(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        person.name = "changed"
        session.get(Person, 1)
        run.look(session)
        session.get(Person, 2)
        run.look(session)


@case
def get_with_options(run: Run) -> None:
    with run.scope() as session:
        run.keep(session.get(Team, 1, options=[selectinload(Team.members)]))
        run.keep(session.get(Member, 3, options=[joinedload(Member.team)]))
        run.keep(session.get(Person, 2, options=[load_only(Person.name)]))
        run.keep(session.get(Account, 1, options=[undefer(Account.letter)]))


@case
def get_with_populate_existing(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        person.name = "changed"
        with session.no_autoflush:
            session.get(Person, 1, populate_existing=True)
        run.keep(person)


@case
def get_for_update(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        session.get(Person, 1, with_for_update=True)
        run.keep(person)
        session.get(Person, 1, with_for_update={"read": True})


@case
def get_with_execution_options_and_identity_token(run: Run) -> None:
    with run.scope() as session:
        run.keep(session.get(Person, 1, execution_options={"compiled_cache": None}))
        run.keep(session.get(Person, 1, identity_token="shard"))
        run.look(session)


@by_hand
def get_with_bind_arguments(run: Run) -> None:
    with run.session() as session:
        run.keep(session.get(Person, 1, bind_arguments={"bind": session.get_bind()}))


@case
def get_of_eager_relationships(run: Run) -> None:
    with run.scope() as session:
        run.keep(session.get(Author, 1))
        run.keep(session.get(Book, 2))
        run.keep(session.get(Author, 2))


@case
def get_after_a_select_and_the_other_way_round(run: Run) -> None:
    with run.scope() as session:
        first = session.scalars(select(Person).where(Person.id == 1)).one()
        run.note(session.get(Person, 1) is first)
        second = session.get(Person, 2)
        run.note(session.scalars(select(Person).where(Person.id == 2)).one() is second)
        run.look(session)


@case
def get_in_a_second_scope(run: Run) -> None:
    with run.scope() as session:
        first = run.keep(session.get(Versioned, 1))
    with run.scope() as session:
        second = session.get(Versioned, 1)
        run.note(second is first)
        with run.failing():
            session.add(first)
