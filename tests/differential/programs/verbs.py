"""The verbs of programs: each does one thing with a session, and notes what came of it."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import delete, insert, inspect, select, update
from sqlalchemy.orm import selectinload

from tests.differential.programs.shapes import SHAPES, Shape, shape_of
from tests.differential.run import Run

Verb = Callable[["Play", int, int, int], None]
_VERBS: dict[str, Verb] = {}
_INSIDE: list[str] = []
_BETWEEN: list[str] = []


class Play:
    """A program that is being played: its objects, its session, its open savepoints."""

    def __init__(self, run: Run, models: tuple[int, ...]) -> None:
        self.run = run
        self._models = models
        self.session: Any = None
        self.objects: list[Any] = []
        self.savepoints: list[Any] = []

    def do(self, verb: str, a: int, b: int, c: int) -> None:
        self.run.record.add("step", [verb, a, b, c])
        _VERBS[verb](self, a, b, c)

    def shape(self, number: int) -> Shape:
        return SHAPES[pick(self._models, number) % len(SHAPES)]

    def hold(self, thing: Any) -> Any:
        if thing is not None and not any(thing is held for held in self.objects):
            self.objects.append(thing)
        return self.run.keep(thing) if thing is not None else self.run.note(None)

    def let_go(self) -> None:
        """Forget the session: what it has deleted belongs to it for as long as it lives."""
        self.session = None
        if any(inspect(thing).was_deleted for thing in self.objects):
            gc.collect()

    def one(self, number: int) -> Any:
        """An object of the program; the first person when there is none yet."""
        if not self.objects:
            self.objects.append(self.run.keep(SHAPES[0].make(0)))
        return self.objects[number % len(self.objects)]

    def of(self, entity: Any, number: int) -> Any:
        """An object of a model, a new one where the program has none."""
        found = [thing for thing in self.objects if isinstance(thing, entity)]
        if found and number % 3:
            return found[number % len(found)]
        shape = next(shape for shape in SHAPES if shape.entity is entity)
        return self.hold(shape.make(number))


def inside(function: Verb) -> Verb:
    _VERBS[function.__name__] = function
    _INSIDE.append(function.__name__)
    return function


def anywhere(function: Verb) -> Verb:
    _BETWEEN.append(function.__name__)
    return inside(function)


def pick(choices: Any, number: int) -> Any:
    choices = list(choices)
    return choices[number % len(choices)]


# ---------------------------------------------------------------- objects


@inside
def add(play: Play, a: int, b: int, c: int) -> None:
    play.session.add(play.hold(play.shape(a).make(b)))


@inside
def add_several(play: Play, a: int, b: int, c: int) -> None:
    things = [play.hold(play.shape(a).make(number)) for number in range(b % 4 + 1)]
    play.session.add_all(things)


@inside
def attach(play: Play, a: int, b: int, c: int) -> None:
    play.session.add(play.one(a))


@anywhere
def change(play: Play, a: int, b: int, c: int) -> None:
    thing = play.one(a)
    name, values = pick(shape_of(thing).changes.items(), b)
    setattr(thing, name, pick(values, c))


@anywhere
def change_all(play: Play, a: int, b: int, c: int) -> None:
    for thing in play.objects:
        name, values = pick(shape_of(thing).changes.items(), b)
        setattr(thing, name, pick(values, c))


@inside
def change_back(play: Play, a: int, b: int, c: int) -> None:
    thing = play.one(a)
    for attribute in inspect(thing).attrs:
        before = attribute.history.deleted
        if before and attribute.key in shape_of(thing).changes:
            setattr(thing, attribute.key, before[0])


@anywhere
def read(play: Play, a: int, b: int, c: int) -> None:
    thing = play.one(a)
    name = pick(sorted(inspect(thing).mapper.all_orm_descriptors.keys()), b)
    play.run.note(getattr(thing, name))


@inside
def remove(play: Play, a: int, b: int, c: int) -> None:
    play.session.delete(play.one(a))


@inside
def expunge(play: Play, a: int, b: int, c: int) -> None:
    play.session.expunge(play.one(a))


@inside
def merge(play: Play, a: int, b: int, c: int) -> None:
    play.hold(play.session.merge(play.one(a), load=c != 0))


@inside
def merge_new(play: Play, a: int, b: int, c: int) -> None:
    play.hold(play.session.merge(play.shape(a).make(b)))


@anywhere
def pickled(play: Play, a: int, b: int, c: int) -> None:
    play.hold(pickle.loads(pickle.dumps(play.one(a))))


@inside
def expire(play: Play, a: int, b: int, c: int) -> None:
    thing = play.one(a)
    names = [pick(inspect(thing).mapper.attrs.keys(), b)] if c % 2 else None
    play.session.expire(thing, names)


@inside
def expire_all(play: Play, a: int, b: int, c: int) -> None:
    play.session.expire_all()


@inside
def refresh(play: Play, a: int, b: int, c: int) -> None:
    thing = play.one(a)
    names = [pick(inspect(thing).mapper.attrs.keys(), b)] if c % 2 else None
    play.session.refresh(thing, names)


# ---------------------------------------------------------------- relations


@anywhere
def link(play: Play, a: int, b: int, c: int) -> None:
    holder = play.of(pick([s.entity for s in SHAPES if s.collections], a), a + 1)
    name, other = pick(shape_of(holder).collections.items(), b)
    collection = getattr(holder, name)
    (collection.add if isinstance(collection, set) else collection.append)(play.of(other, c))


@anywhere
def unlink(play: Play, a: int, b: int, c: int) -> None:
    holder = play.of(pick([s.entity for s in SHAPES if s.collections], a), a + 1)
    collection = getattr(holder, pick(shape_of(holder).collections, b))
    if isinstance(collection, list) and collection:
        collection.remove(pick(collection, c))
    elif collection:
        collection.remove(min(collection, key=lambda thing: thing.id or 0))


@anywhere
def refer(play: Play, a: int, b: int, c: int) -> None:
    holder = play.of(pick([s.entity for s in SHAPES if s.references], a), a + 1)
    name, other = pick(shape_of(holder).references.items(), b)
    setattr(holder, name, play.of(other, c) if c % 4 else None)


# ---------------------------------------------------------------- reading


@inside
def get(play: Play, a: int, b: int, c: int) -> None:
    wanted = play.shape(a)
    options: list[dict[str, Any]] = [{}, {}, {}, {"populate_existing": True}]
    options += [{"with_for_update": True}, {"options": [*wanted.options[:1]]}]
    found = play.session.get(wanted.entity, pick(wanted.keys, b), **pick(options, c))
    play.hold(found)


@inside
def get_and_let_go(play: Play, a: int, b: int, c: int) -> None:
    with play.session.no_autoflush:
        play.run.note(play.session.get(play.shape(a).entity, pick(play.shape(a).keys, b)))


@inside
def scalars(play: Play, a: int, b: int, c: int) -> None:
    wanted = play.shape(a)
    statement = select(wanted.entity).order_by(*wanted.order)
    if b % 3 == 0:
        statement = statement.where(wanted.order[0] == pick((1, 2, 99), c))
    elif b % 3 == 1:
        name, values = pick(wanted.changes.items(), b)
        statement = statement.where(getattr(wanted.entity, name) == pick(values, c))
    if b % 5 == 4:
        statement = statement.limit(2)
    if b % 7 == 6:
        statement = statement.execution_options(populate_existing=True)
    result = play.session.scalars(statement)
    how = pick(("all", "first", "one", "one_or_none", "unique"), c)
    found = result.unique().all() if how == "unique" else getattr(result, how)()
    for thing in found if isinstance(found, list) else [found]:
        play.hold(thing)


@inside
def rows(play: Play, a: int, b: int, c: int) -> None:
    wanted = play.shape(a)
    name = pick(wanted.changes, b)
    statement = select(wanted.entity, getattr(wanted.entity, name)).order_by(*wanted.order)
    play.run.note(play.session.execute(statement).unique().all())


@inside
def eager(play: Play, a: int, b: int, c: int) -> None:
    wanted = pick([s for s in SHAPES if s.options], a)
    statement = select(wanted.entity).order_by(*wanted.order)
    found = play.session.scalars(statement.options(pick(wanted.options, b))).unique().all()
    for thing in found[: c % 3 + 1]:
        play.hold(thing)


@inside
def deep(play: Play, a: int, b: int, c: int) -> None:
    team, member = SHAPES[1].entity, SHAPES[2].entity
    option = selectinload(team.members).selectinload(member.tags)
    for found in play.session.scalars(select(team).order_by(team.id).options(option)).all():
        play.hold(found)


@inside
def query(play: Play, a: int, b: int, c: int) -> None:
    wanted = play.shape(a)
    asked = play.session.query(wanted.entity).order_by(*wanted.order)
    play.run.note(pick((asked.count, asked.first, asked.all, asked.limit(1).one_or_none), b)())


# ---------------------------------------------------------------- writing


@inside
def flush(play: Play, a: int, b: int, c: int) -> None:
    play.session.flush()


@inside
def bulk_insert(play: Play, a: int, b: int, c: int) -> None:
    entity, key = pick((("Person", "name"), ("Stamped", "name"), ("Word", "text")), a)
    target = next(s.entity for s in SHAPES if s.entity.__name__ == entity)
    play.session.execute(insert(target), [{key: f"bulk{number}"} for number in range(b % 3 + 1)])


@inside
def bulk_update(play: Play, a: int, b: int, c: int) -> None:
    wanted = play.shape(a)
    name, values = pick(wanted.changes.items(), b)
    statement = update(wanted.entity).values({name: pick(values, c)})
    how = pick(("auto", "evaluate", "fetch", False), c)
    play.session.execute(
        statement.where(wanted.order[0] == pick(wanted.keys, b)),
        execution_options={"synchronize_session": how},
    )


@inside
def bulk_delete(play: Play, a: int, b: int, c: int) -> None:
    wanted = play.shape(a)
    statement = delete(wanted.entity).where(wanted.order[0] == pick((1, 2, 99), b))
    how = pick(("auto", "evaluate", "fetch", False), c)
    play.session.execute(statement, execution_options={"synchronize_session": how})


# ---------------------------------------------------------------- savepoints


@inside
def savepoint(play: Play, a: int, b: int, c: int) -> None:
    if len(play.savepoints) < 3:
        play.savepoints.append(play.session.begin_nested())


@inside
def release(play: Play, a: int, b: int, c: int) -> None:
    if play.savepoints:
        play.savepoints[-1].commit()
        play.savepoints.pop()


@inside
def roll_back_to(play: Play, a: int, b: int, c: int) -> None:
    if play.savepoints:
        play.savepoints.pop().rollback()


@inside
def look(play: Play, a: int, b: int, c: int) -> None:
    play.run.look(play.session)


# what programs do most is done more often
_COMMON: Final = (
    "add",
    "get",
    "get",
    "get",
    "change",
    "change",
    "scalars",
    "read",
    "flush",
    "link",
)
INSIDE: Final = (*_INSIDE, *_COMMON)
BETWEEN: Final = tuple(_BETWEEN)
