"""What the compiled loop loads is what SQLAlchemy loads, down to the states."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from sqlalchemy import Engine, String, cast, func, inspect, literal, null, select, text, update
from sqlalchemy.orm import (
    Bundle,
    Session,
    aliased,
    defer,
    immediateload,
    joinedload,
    lazyload,
    load_only,
    raiseload,
    selectinload,
    subqueryload,
    undefer,
    with_expression,
)

import hermetic
from hermetic.fast import statements
from tests.fast.comparing import Program, compare
from tests.fast.models import (
    Animal,
    Child,
    Dog,
    Lazy,
    Odd,
    Parent,
    Placed,
    Typed,
    Versioned,
)

AHEAD = [
    select(Parent),
    select(Typed),
    select(Lazy),
    select(Child),
    select(Parent).options(load_only(Parent.name)),
    select(Parent).options(defer(Parent.name)),
    select(Parent).options(defer(Parent.name, raiseload=True)),
    select(Lazy).options(undefer(Lazy.note)),
    select(Parent).options(selectinload(Parent.children)),
    select(Parent).options(subqueryload(Parent.children)),
    select(Parent).options(selectinload(Parent.children).joinedload(Child.parent)),
    select(Child).options(selectinload(Child.parent)),
    select(Child).options(joinedload(Child.parent)),
    select(Child).options(immediateload(Child.parent)),
    select(Child).options(lazyload(Child.parent)),
    select(Child).options(raiseload("*")),
    select(aliased(Parent, name="other")),
    select(Parent, Child).join(Child.parent),
    select(Parent, Child).join_from(Parent, Child, isouter=True),
    select(Parent.id, Parent, Child.name).join(Child.parent),
    select(Parent, Parent),
    select(Parent, aliased(Parent, name="other")),
    select(Parent, literal(1), func.length(Parent.name)),
    select(Parent, Bundle("pair", Parent.id, Parent.name)),
    select(Parent).where(Parent.id < 0),
    select(Parent).where(Parent.id == 3),
    select(Parent).union_all(select(Parent)),
    select(Parent).from_statement(text("SELECT * FROM fast_parents")),
    select(Parent).from_statement(text("SELECT id, name FROM fast_parents")),
    select(aliased(Parent, select(Parent).where(Parent.id > 2).subquery())),
    select(Parent).execution_options(identity_token="shard"),
    select(Parent).execution_options(prebuffer_rows=True),
    select(Parent).with_for_update(),
]


@pytest.mark.parametrize("statement", AHEAD, ids=str)
def test_a_query_gives_the_same_objects(statement: Any, engine: Engine) -> None:
    compare(engine, lambda session: session.execute(statement).all())


@pytest.mark.parametrize("statement", AHEAD, ids=str)
def test_a_query_gives_the_same_again_over_what_is_there(statement: Any, engine: Engine) -> None:
    def program(session: Session) -> Any:
        before = session.scalars(select(Parent).where(Parent.id > 2).order_by(Parent.id)).all()
        before[0].name = "changed"
        session.expire(before[1])
        session.expire(before[2], ["name"])
        return [before, session.execute(statement).all(), session.execute(statement).all()]

    compare(engine, program)


@pytest.mark.parametrize("statement", AHEAD, ids=str)
def test_a_query_populates_what_exists(statement: Any, engine: Engine) -> None:
    def program(session: Session) -> Any:
        with session.no_autoflush:
            before = session.scalars(select(Parent).order_by(Parent.id)).all()
            before[0].name = "changed"
            again = session.execute(statement, execution_options={"populate_existing": True})
            return [before, again.all()]

    compare(engine, program)


COLLECTIONS = [
    select(Parent).options(joinedload(Parent.children)),
    select(Parent).options(joinedload(Parent.children).joinedload(Child.parent)),
    select(Parent, Child).join(Parent.children).options(joinedload(Parent.children)),
]


@pytest.mark.parametrize("statement", COLLECTIONS, ids=str)
def test_joined_collections_are_made_unique(statement: Any, engine: Engine) -> None:
    compare(engine, lambda session: session.execute(statement).unique().all())
    compare(engine, lambda session: session.execute(statement).all())


WAYS: dict[str, Program] = {
    "scalars": lambda session: session.scalars(select(Parent)).all(),
    "iterated": lambda session: list(session.scalars(select(Parent))),
    "first": lambda session: session.scalars(select(Parent)).first(),
    "one": lambda session: session.scalars(select(Parent).where(Parent.id == 1)).one(),
    "too many": lambda session: session.scalars(select(Parent)).one(),
    "none": lambda session: session.scalars(select(Parent).where(Parent.id == 0)).one_or_none(),
    "unique": lambda session: session.scalars(select(Parent)).unique().all(),
    "mappings": lambda session: [dict(row) for row in session.execute(select(Parent)).mappings()],
    "columns": lambda session: session.execute(select(Parent, Parent.id)).columns(1, 0).all(),
    "fetchmany": lambda session: session.execute(select(Parent)).fetchmany(3),
    "partitions": lambda session: list(session.scalars(select(Parent)).partitions(3)),
    "yield_per": lambda session: list(session.scalars(select(Parent)).yield_per(3)),
    "option": lambda session: session.scalars(
        select(Parent), execution_options={"yield_per": 3}
    ).all(),
    "yield_per and unique": lambda session: (
        session.scalars(select(Parent), execution_options={"yield_per": 3}).unique().all()
    ),
    "yield_per and selectinload": lambda session: session.scalars(
        select(Parent).options(selectinload(Parent.children)).execution_options(yield_per=3)
    ).all(),
    "freeze": lambda session: session.execute(select(Parent)).freeze()().all(),
    "merge": lambda session: (
        session.execute(select(Parent)).merge(session.execute(select(Parent))).all()
    ),
    "stream_results": lambda session: session.scalars(
        select(Parent), execution_options={"stream_results": True}
    ).all(),
    "query": lambda session: session.query(Parent).all(),
    "query of several": lambda session: session.query(Parent, Child).join(Child).all(),
    "query first": lambda session: session.query(Parent).first(),
    "query joined": lambda session: (
        session.query(Parent).options(joinedload(Parent.children)).all()
    ),
    "query only": lambda session: session.query(Parent).only_return_tuples(True).all(),
    "get": lambda session: session.get(Parent, 3),
    "get twice": lambda session: [session.get(Parent, 3), session.get(Parent, 3)],
    "closed": lambda session: _closed(session.execute(select(Parent))),
}


def _closed(result: Any) -> Any:
    result.close()
    return result.all()


@pytest.mark.parametrize("way", WAYS)
def test_a_result_may_be_read_in_every_way(way: str, engine: Engine) -> None:
    compare(engine, WAYS[way])


@pytest.mark.parametrize("way", WAYS)
def test_a_result_may_be_read_in_every_way_by_the_default_batches(
    way: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    compare(engine, WAYS[way])


def _loads(taken: dict[str, int]) -> dict[str, int]:
    return {name: number for name, number in taken.items() if name.startswith("load:")}


@pytest.mark.parametrize("entity", [Parent, Typed, Lazy, Child])
def test_plain_entities_take_the_compiled_loop(entity: Any, engine: Engine) -> None:
    taken = compare(engine, lambda session: session.scalars(select(entity)).all())

    assert _loads(taken) == {"load:fast": 1}


@pytest.mark.parametrize(
    ("entity", "reason"),
    [(Placed, "events"), (Animal, "inheritance"), (Odd, "class")],
)
def test_others_are_sqlalchemys(entity: Any, reason: str, engine: Engine) -> None:
    taken = compare(engine, lambda session: session.scalars(select(entity)).all())

    assert _loads(taken) == {f"load:aside:{reason}": 1}


@pytest.mark.parametrize("entity", [Dog, Versioned])
def test_a_kind_and_a_version_are_loaded(entity: Any, engine: Engine) -> None:
    compare(engine, lambda session: session.scalars(select(entity)).all())


def test_a_query_of_many_rows_is_fetched_in_batches_from_its_second_time_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "MANY", 5)

    with hermetic.Session(engine) as session:
        names = []
        for _ in range(30):
            names.append([each.name for each in session.scalars(select(Parent)).all()])
            session.expunge_all()

    assert names == [[f"p{n}" for n in range(1, 9)]] * 30


def test_a_row_without_a_key_is_no_object(engine: Engine) -> None:
    statement = select(Parent).from_statement(
        select(null().label("id"), Parent.name, Parent.active, Parent.age)
    )
    taken = compare(engine, lambda session: session.execute(statement).all())

    assert _loads(taken) == {"load:fast": 1}


def test_a_part_of_a_key_may_not_be_null(engine: Engine) -> None:
    statement = select(Lazy).from_statement(
        select(Lazy.first, cast(null(), String).label("second"), Lazy.size)
    )
    compare(engine, lambda session: session.execute(statement).all())


def test_a_changed_object_is_written(engine: Engine) -> None:
    def program(session: Session) -> Any:
        loaded = session.scalars(select(Parent).order_by(Parent.id)).all()
        for parent in loaded:
            parent.age = (parent.age or 0) + 1
        session.flush()
        session.expire_all()
        found = session.scalars(select(Parent).order_by(Parent.id)).all()
        session.execute(update(Parent).where(Parent.id == 1).values(name="set"))
        session.refresh(found[1])
        session.refresh(found[2], ["name"])
        session.delete(found[5])
        return [found, session.scalars(select(Parent)).all()]

    compare(engine, program)


def test_lazy_relationships_are_loaded(engine: Engine) -> None:
    def program(session: Session) -> Any:
        children = session.scalars(select(Child)).all()
        parents = [child.parent for child in children]
        return [children, parents, [parent.children for parent in parents if parent]]

    compare(engine, program)


def test_deferred_columns_are_loaded(engine: Engine) -> None:
    def program(session: Session) -> Any:
        loaded = session.scalars(select(Lazy)).all()
        return [[each.note for each in loaded], loaded]

    compare(engine, program)


def test_an_expression_is_loaded_with_its_entity(engine: Engine) -> None:
    statement = select(Parent).options(with_expression(Parent.name, literal("never")))
    compare(engine, lambda session: session.execute(statement).all())


def test_an_object_that_goes_leaves_the_same_behind(engine: Engine) -> None:
    def program(session: Session) -> Any:
        parents = session.scalars(select(Parent).order_by(Parent.id)).all()
        states = [inspect(parent) for parent in parents]
        session.expunge(parents[1])
        first = parents[0]
        known, third = session.identity_map, parents[2].id
        del parents
        gc.collect()
        left = [(s.obj() is None, s.session_id is None, s.detached, s.key) for s in states]
        return [left, list(known.keys()), first.id, session.get(Parent, third)]

    compare(engine, program)


def test_a_key_that_belongs_to_another_object_by_now_stays(engine: Engine) -> None:
    def program(session: Session) -> Any:
        first = session.scalars(select(Parent).where(Parent.id == 1)).one()
        session.expunge(first)
        second = session.scalars(select(Parent).where(Parent.id == 1)).one()
        del first
        gc.collect()
        return [second in session, session.get(Parent, 1) is second]

    compare(engine, program)
