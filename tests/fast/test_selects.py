"""Small queries that are recognised by their shape: the same objects, results and errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, Select, and_, func, inspect, not_, or_, orm, select, text
from sqlalchemy.engine import ChunkedIteratorResult, ScalarResult
from sqlalchemy.orm import aliased

import hermetic
from hermetic.fast.counts import counts
from tests.fast.comparing import described
from tests.fast.models import Child, Parent, Typed

Ask = Callable[[Any], Any]

ACTIVE: Any = Parent.active

RECOGNISED: dict[str, Callable[[], Select[Any]]] = {
    "all": lambda: select(Parent),
    "by key": lambda: select(Parent).where(Parent.id == 3),
    "filter_by": lambda: select(Parent).filter_by(id=3, name="parent 3"),
    "none": lambda: select(Parent).where(Parent.id < 0),
    "range": lambda: select(Parent).where(Parent.id > 2, Parent.id <= 5),
    "null": lambda: select(Parent).where(Parent.age == None),  # noqa: E711
    "not null": lambda: select(Parent).where(Parent.age.is_not(None)),
    "true": lambda: select(Parent).where(Parent.active == True),  # noqa: E712
    "is false": lambda: select(Parent).where(Parent.active.is_(False)),
    "column": lambda: select(Parent).where(ACTIVE),
    "not column": lambda: select(Parent).where(~Parent.active),
    "columns": lambda: select(Parent).where(Parent.id == Parent.age),
    "or": lambda: select(Parent).where(or_(Parent.id == 1, Parent.name == "parent 2")),
    "or by sign": lambda: select(Parent).where((Parent.id == 1) | (Parent.id == 2)),
    "and in or": lambda: select(Parent).where(
        or_(and_(Parent.id > 1, Parent.id < 3), Parent.id == 5), Parent.name != "x"
    ),
    "or in and": lambda: select(Parent).where(
        and_(or_(Parent.id == 1, Parent.id == 2), or_(Parent.id == 2, ACTIVE))
    ),
    "in": lambda: select(Parent).where(Parent.id.in_([1, 2, 4])),
    "in, a list with NULL": lambda: select(Parent).where(Parent.age.in_([1, None])),
    "in one": lambda: select(Parent).where(Parent.id.in_([4])),
    "not in": lambda: select(Parent).where(Parent.id.not_in([1, 2]), Parent.id < 5),
    "in twice": lambda: select(Parent).where(
        Parent.id.in_([1, 2]), Parent.name.in_(["parent 2", "parent 3"]), Parent.id > 0
    ),
    "between": lambda: select(Parent).where(Parent.id.between(2, 4), Parent.id != 3),
    "like": lambda: select(Parent).where(Parent.name.like("%3")),
    "ilike": lambda: select(Parent).where(Parent.name.ilike("PARENT 3")),
    "startswith": lambda: select(Parent).where(Parent.name.startswith("parent")),
    "contains": lambda: select(Parent).where(Parent.name.contains("ren")),
    "not endswith": lambda: select(Parent).where(not_(Parent.name.endswith("3"))),
    "order": lambda: select(Parent).order_by(Parent.name.desc(), Parent.id),
    "limit": lambda: select(Parent).order_by(Parent.id).limit(2),
    "limit and offset": lambda: select(Parent).order_by(Parent.id).limit(2).offset(1),
    "offset": lambda: select(Parent).order_by(Parent.id).offset(2),
    "in, order, limit": lambda: (
        select(Parent).where(Parent.id.in_([1, 2, 4])).order_by(Parent.id.desc()).limit(1)
    ),
    "made by a function": lambda: select(Typed).where(Typed.amount >= 0, Typed.amount.in_([1, 2])),
}

ASIDE: dict[str, Callable[[], Select[Any]]] = {
    "distinct": lambda: select(Parent).distinct(),
    "join": lambda: select(Child).join(Child.parent),
    "alias": lambda: select(aliased(Parent)),
    "text": lambda: select(Parent).where(text("id = 3")),
    "function": lambda: select(Parent).where(func.length(Parent.name) > 3),
    "arithmetic": lambda: select(Parent).where(Parent.id + 1 == 3),
    "none of a list": lambda: select(Parent).where(Parent.id.in_([])),
    "a long list": lambda: select(Parent).where(Parent.id.in_(list(range(100)))),
    "subquery": lambda: select(Parent).where(Parent.id.in_(select(Child.parent_id))),
    "escaped": lambda: select(Parent).where(Parent.name.startswith("50%", autoescape=True)),
    "negated": lambda: select(Parent).where(not_(or_(Parent.id == 1, Parent.id == 2))),
    "another's column": lambda: select(Parent).where(Child.parent_id == 1),
    "a named parameter": lambda: select(Parent).where(Parent.id == text(":id").bindparams(id=1)),
    "lock": lambda: select(Parent).where(Parent.id == 1).with_for_update(),
}


def outcome(session_class: Callable[..., orm.Session], engine: Engine, ask: Ask) -> Any:
    with session_class(engine) as session:
        try:
            found = ask(session)
            return described(found), sorted(map(str, session.identity_map.keys()))
        except Exception as error:
            return (
                type(error),
                re.sub("0x[0-9a-f]+", "", str(error)),
                sorted(map(str, session.identity_map.keys())),
            )


def taken(engine: Engine, ask: Ask) -> int:
    """Ask both; how many statements were recognised."""
    expected = outcome(orm.Session, engine, ask)
    before = counts.get("read:over a Connection", 0)
    actual = outcome(hermetic.Session, engine, ask)

    assert actual == expected
    return counts.get("read:over a Connection", 0) - before


@pytest.mark.parametrize("name", RECOGNISED)
def test_recognised(name: str, engine: Engine) -> None:
    make = RECOGNISED[name]

    assert taken(engine, lambda session: session.scalars(make()).all()) == 1
    assert taken(engine, lambda session: session.execute(make()).all()) == 1
    # and by the shape that is known now
    assert taken(engine, lambda session: session.scalar(make())) == 1


@pytest.mark.parametrize("name", ASIDE)
def test_left_to_sqlalchemy(name: str, engine: Engine) -> None:
    assert taken(engine, lambda session: session.scalars(ASIDE[name]()).all()) == 0


def test_the_same_shape_with_other_values(engine: Engine) -> None:
    def ask(session: Any) -> Any:
        found: list[Any] = []
        for size in (1, 3, 1, 2, 3):
            for first in (1, 2):
                listed = list(range(first, first + size))
                ordered = select(Parent).where(Parent.id.in_(listed)).order_by(Parent.id)
                found.append(session.scalars(ordered.limit(size).offset(first - 1)).all())
        for name, number in (("parent 1", 1), ("parent 2", 1), ("parent 2", 2)):
            both = and_(Parent.name == name, Parent.id == number)
            either = or_(Parent.name == name, Parent.id == number)
            found.append(session.scalars(select(Parent).where(both)).all())
            found.append(session.scalars(select(Parent).where(either).order_by(Parent.id)).all())
        return found

    assert taken(engine, ask) == 16


def test_a_statement_that_is_kept(engine: Engine) -> None:
    """What an execution leaves in a statement, and in those made of it, changes nothing."""
    kept = select(Parent).where(Parent.id > 1)
    # as statements are that were made before mappers were configured
    inspect(Parent)._reset_memoizations()
    late = select(Parent).where(Parent.id > 1)
    assert kept._raw_columns[0] is not late._raw_columns[0]

    for statement in (kept, late, kept.order_by(Parent.id), late.limit(2)):
        with orm.Session(engine) as session:
            session.scalars(statement).all()
        for _ in range(2):
            assert taken(engine, partial(all_of, statement)) == 1


@pytest.mark.parametrize("rows", [2, 8])
def test_what_an_object_lacks_is_filled_in_whatever_else_it_has(rows: int, engine: Engine) -> None:
    def ask(session: Any) -> Any:
        lacking = select(Parent).options(
            orm.load_only(Parent.id), orm.selectinload(Parent.children)
        )
        held = session.scalars(lacking).all()
        for each in held:
            each.__dict__.update(dict.fromkeys(("notes", "of", "a", "user"), 1))
        session.scalars(select(Parent).order_by(Parent.id).limit(rows)).all()
        return [(each.id, sorted(inspect(each).unloaded)) for each in held]

    assert taken(engine, ask) == 1


def all_of(statement: Select[Any], session: Any) -> Any:
    return session.scalars(statement).all()


def test_a_list_that_is_changed_afterwards(engine: Engine) -> None:
    def ask(session: Any) -> Any:
        listed = [1, 2]
        statement = select(Parent).where(Parent.id.in_(listed))
        listed.append(3)
        return session.scalars(statement).all()

    taken(engine, ask)


def test_wrong_values(engine: Engine) -> None:
    for wrong in ("three", object(), [1], 3.5, None):
        taken(engine, partial(found_by_key, wrong))
    taken(engine, lambda session: session.scalars(select(Parent).limit(-1)).all())


def found_by_key(key: Any, session: Any) -> Any:
    return session.scalars(by_key(key)).all()


def by_key(key: Any) -> Select[Any]:
    return select(Parent).where(Parent.id == key)


# what may be asked of a result, one after the other
SCALARS: dict[str, Ask] = {
    "one": lambda result: result.one(),
    "one_or_none": lambda result: result.one_or_none(),
    "first": lambda result: result.first(),
    "all": lambda result: result.all(),
    "fetchall": lambda result: result.fetchall(),
    "fetchmany": lambda result: result.fetchmany(2),
    "fetchmany all": lambda result: result.fetchmany(),
    "iter": list,
    "iter one": lambda result: next(iter(result)),
    "next": next,
    "partitions": lambda result: list(result.partitions(2)),
    "unique": lambda result: result.unique().all(),
    "unique one": lambda result: result.unique().one(),
    "unique by": lambda result: result.unique(lambda each: each.active).all(),
    "unique, again": lambda result: (result.unique(), result.all())[1],
    "yield_per": lambda result: result.yield_per(2).all(),
    "yield_per, again": lambda result: (result.yield_per(2), list(result))[1],
    "unique, yield_per": lambda result: result.unique().yield_per(2).all(),
    "close": lambda result: result.close(),
    "closed": lambda result: result.closed,
    "with": lambda result: [each.all() for each in [result.__enter__()]],
    "exit": lambda result: result.__exit__(None, None, None),
    "no such": lambda result: result.no_such,
}
EXECUTED: dict[str, Ask] = SCALARS | {
    "scalars one": lambda result: result.scalars().one(),
    "scalars all": lambda result: result.scalars().all(),
    "scalars by name": lambda result: result.scalars("Parent").first(),
    "scalars by no name": lambda result: result.scalars(5).first(),
    "scalars unique": lambda result: result.scalars().unique().all(),
    "scalars next": lambda result: next(result.scalars()),
    "scalars, closed": lambda result: result.scalars().closed,
    "scalars close": lambda result: result.scalars().close(),
    "unique scalars": lambda result: result.unique().scalars().all(),
    "unique by": lambda result: result.unique(lambda row: row.Parent.active).all(),
    "yield_per scalars": lambda result: list(result.yield_per(2).scalars().partitions()),
    "scalar": lambda result: result.scalar(),
    "scalar_one": lambda result: result.scalar_one(),
    "scalar_one_or_none": lambda result: result.scalar_one_or_none(),
    "fetchone": lambda result: result.fetchone(),
    "mappings": lambda result: [dict(each) for each in result.mappings()],
    "columns": lambda result: result.columns(0).all(),
    "t": lambda result: result.t.all(),
    "keys": lambda result: list(result.keys()),
    "freeze": lambda result: result.freeze()().all(),
    "merge": lambda result: result.merge().all(),
    "attributes": lambda result: dict(result._attributes),
}


def asked(statement: Select[Any], method: str, asks: list[Ask]) -> Ask:
    def ask(session: Any) -> Any:
        result = getattr(session, method)(statement)
        found: list[Any] = []
        for each in asks:
            try:
                found.append(described(each(result)))
            except Exception as error:
                found.append((type(error).__name__, str(error)))
            found.append(result.closed)
        return found

    return ask


# what shows the state that a result is left in
AFTERWARDS = ["one", "all", "next", "fetchmany", "unique", "yield_per", "close"]


@pytest.mark.parametrize("rows", [0, 1, 5])
@pytest.mark.parametrize("first", SCALARS)
def test_scalars(first: str, rows: int, engine: Engine) -> None:
    statement = select(Parent).order_by(Parent.id).limit(rows)
    for second in AFTERWARDS:
        asks = [SCALARS[first], SCALARS[second], SCALARS["all"]]
        taken(engine, asked(statement, "scalars", asks))


@pytest.mark.parametrize("rows", [0, 1, 5])
@pytest.mark.parametrize("first", EXECUTED)
def test_executed(first: str, rows: int, engine: Engine) -> None:
    statement = select(Parent).order_by(Parent.id).limit(rows)
    for second in [*AFTERWARDS, "scalars one", "scalar", "scalars all", "keys"]:
        asks = [EXECUTED[first], EXECUTED[second], EXECUTED["all"]]
        taken(engine, asked(statement, "execute", asks))


def test_two_views_of_one_result(engine: Engine) -> None:
    def ask(use: Ask) -> Ask:
        def asked(session: Any) -> Any:
            result = session.execute(select(Parent).order_by(Parent.id).limit(3))
            first, second = result.scalars(), result.scalars()
            found = [use(first), second.closed, result.closed]
            for each in (second, result, first):
                try:
                    found.append(each.all())
                except Exception as error:
                    found.append((type(error).__name__, str(error)))
            return found

        return asked

    for use in ("first", "all", "next", "close"):
        taken(engine, ask(SCALARS[use]))


def test_results_are_sqlalchemys(engine: Engine) -> None:
    with hermetic.Session(engine) as session:
        scalars = session.scalars(by_key(1))
        executed = session.execute(by_key(1))

        assert isinstance(scalars, ScalarResult)
        assert isinstance(executed, ChunkedIteratorResult)
        assert isinstance(executed.scalars(), ScalarResult)
        scalars.close()
        executed.close()
        assert type(scalars) is ScalarResult
        assert type(executed) is ChunkedIteratorResult


@pytest.mark.parametrize("method", ["scalars", "execute"])
@pytest.mark.parametrize("use", ["all", "first", "one", "fetchmany"])
def test_a_result_outlives_what_the_session_had(method: str, use: str, engine: Engine) -> None:
    def ask(end: str) -> Ask:
        def asked(session: Any) -> Any:
            result = getattr(session, method)(by_key(1))
            getattr(session, end)()
            return getattr(result, use)()

        return asked

    for end in ("close", "expunge_all", "expire_all", "rollback", "commit"):
        taken(engine, ask(end))


def test_what_cannot_be_made_of_a_row(engine: Engine) -> None:
    """An error while the objects are made leaves the result without rows."""

    def ask(use: str) -> Ask:
        def asked(session: Any) -> Any:
            session.execute(text("UPDATE fast_typed SET colour = 'GREEN'"))
            result = session.scalars(select(Typed))
            found: list[Any] = []
            for each in (use, "all", "first"):
                try:
                    found.append(getattr(result, each)())
                except Exception as error:
                    found.append((type(error).__name__, str(error)))
                found.append(result.closed)
            return found

        return asked

    for use in ("all", "first", "fetchmany"):
        taken(engine, ask(use))
