"""Attributes that are more than columns."""

from __future__ import annotations

from sqlalchemy import inspect, select
from sqlalchemy.orm import attributes, undefer, undefer_group

from tests.differential.cases.table import case
from tests.differential.pool import Account, Box, Kind, Person, Thing
from tests.differential.pool.attributes import Point
from tests.differential.run import Run


@case
def composites(run: Run) -> None:
    with run.scope() as session:
        account = run.keep(session.get(Account, 1))
        run.note(account.place)
        account.place = Point(5, 6)
        run.look(session)
        session.flush()
        session.expire(account)
        run.note(account.place)
        account.place.x = 9  # nobody hears it
        session.flush()
        new = Account(owner="new", place=Point(0, None))
        session.add(run.keep(new))
        session.flush()
        run.note(session.scalars(select(Account).where(Account.place == Point(5, 6))).all())
        run.look(session)


@case
def computed_columns_follow_a_flush_when_expired(run: Run) -> None:
    with run.scope() as session:
        account = run.keep(session.get(Account, 1))
        account.owner = "changed"
        session.flush()
        run.note(account.upper)
        session.refresh(account)
        run.note(account.upper)
        new = run.keep(Account(owner="new"))
        session.add(new)
        session.flush()
        run.keep(new)
        run.note(new.upper)


@case
def synonyms_and_hybrids(run: Run) -> None:
    with run.scope() as session:
        account = session.scalars(select(Account).where(Account.holder == "ann")).one()
        run.note(account.euros, session.scalars(select(Account).where(Account.euros > 1)).all())
        account.holder = "by the synonym"
        run.look(session)
        session.flush()
        run.note(account.owner)
        run.keep(account)


@case
def deferred_columns(run: Run) -> None:
    with run.scope() as session:
        account = run.keep(session.get(Account, 1))
        account.letter = "written unread"
        run.look(session)
        session.flush()
        run.look(session)
        second = select(Account).where(Account.id == 2)
        run.note(session.scalars(second.options(undefer(Account.letter))).one())
        run.note(session.scalars(second.options(undefer_group("notes"))).one())
        run.look(session)


@case
def columns_of_another_name(run: Run) -> None:
    with run.scope() as session:
        kind = run.keep(session.get(Kind, 1))
        kind.renamed = "changed"
        session.flush()
        run.note(session.scalars(select(Kind).where(Kind.renamed == "changed")).one())
        run.note(session.scalars(select(Kind).filter_by(renamed=None)).all())
        row = session.execute(select(Kind.renamed, Kind.id)).first()
        run.note(row, row._fields)


@case
def mutable_values(run: Run) -> None:
    with run.scope() as session:
        kind = run.keep(session.get(Kind, 1))
        kind.settings["theme"] = "light"
        run.look(session)
        session.flush()
        run.look(session)
        kind.settings = {"plain": "dict"}
        run.look(session)
        kind.settings.pop("plain")
        session.flush()
        session.refresh(kind)
        kind.settings.setdefault("later", 1)
    kind.settings["after"] = 2
    run.note(kind)


@case
def json_that_is_null_or_none(run: Run) -> None:
    with run.scope() as session:
        kind = run.keep(session.get(Kind, 2))
        kind.data = {}
        session.flush()
        kind.data = None
        session.flush()
        run.keep(kind)
        run.note(session.scalar(select(Kind.data).where(Kind.id == 2)))


@case
def marked_by_hand(run: Run) -> None:
    with run.scope() as session:
        kind = run.keep(session.get(Kind, 1))
        kind.data["b"] = 1
        attributes.flag_modified(kind, "data")
        run.look(session)
        session.flush()
        person = run.keep(session.get(Person, 1))
        attributes.set_committed_value(person, "name", "never written")
        run.look(session)
        attributes.flag_dirty(person)
        run.look(session)
        session.flush()
        run.look(session)


@case
def attributes_that_no_mapper_knows(run: Run) -> None:
    with run.scope() as session:
        person = run.keep(session.get(Person, 1))
        person.nickname = "n"
        account = session.get(Account, 1)
        run.note(account.loaded_with, person.nickname)
        session.expire(person)
        session.refresh(account)
        run.note(account.loaded_with, person.nickname)
        run.look(session)


@case
def what_can_be_inspected(run: Run) -> None:
    with run.scope() as session:
        person = session.get(Person, 1)
        state = inspect(person)
        person.name, person.age = "other", None
        run.note(state.attrs.name.history, state.attrs.age.loaded_value, state.identity)
        run.note(attributes.get_history(person, "name"))
        run.note(attributes.get_history(person, "email"), state.mapper.class_.__name__)
        run.note(sorted(state.dict), state.session is session, state.object is person)
        run.note(session.is_modified(person), session.identity_key(Person, 1))


@case
def constructors_of_every_style(run: Run) -> None:
    with run.scope() as session:
        thing, box = Thing(name="t"), Box("b")
        run.keep(thing)
        run.keep(box)
        with run.failing():
            Person(nothing=1)
        session.add_all([thing, box])
        session.flush()
        run.note(thing == Thing(name="t"), repr(thing), box.weight)
        box.label = None
        thing.size += 1
