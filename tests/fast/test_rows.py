"""``session.rows``: rows as objects of the user's own class."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Engine, event, func, select, text
from sqlalchemy.orm import aliased

from hermetic import AsyncSession, ConfigurationError, Session
from hermetic.fast.counts import counts
from tests.fast.models import Child, Parent, Typed


class Named(NamedTuple):
    id: int
    name: str
    active: bool | None
    age: int | None


class Derived(Named):
    @property
    def shout(self) -> str:
        return self.name.upper()


@dataclass
class Plain:
    id: int
    name: str
    active: bool | None
    age: int | None


@dataclass(frozen=True)
class Frozen:
    id: int
    name: str
    active: bool | None
    age: int | None


@dataclass(slots=True)
class Slotted:
    id: int
    name: str
    active: bool | None
    age: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Keywords:
    id: int
    name: str
    active: bool | None
    age: int | None


@dataclass
class Careful:
    """Does something of its own with its fields."""

    id: int
    name: str
    active: bool | None
    age: int | None
    doubled: int = field(init=False)

    def __post_init__(self) -> None:
        self.doubled = self.id * 2


@dataclass
class Defaults:
    name: str
    missing: str = "?"
    made: list[int] = field(default_factory=list)
    id: int = 0


KINDS: list[Any] = [Named, Derived, Plain, Frozen, Slotted, Keywords, Careful]


@pytest.fixture
def session(engine: Engine) -> Any:
    with Session(engine) as session:
        yield session


def expected(cls: Any) -> list[Any]:
    return [cls(id=n, name=f"p{n}", active=[True, False, None][n % 3], age=n) for n in range(1, 9)]


COLUMNS = select(Parent.id, Parent.name, Parent.active, Parent.age).order_by(Parent.id)
SHUFFLED = select(Parent.age, Parent.active, func.length(Parent.name), Parent.name, Parent.id)


@pytest.mark.parametrize("cls", KINDS)
@pytest.mark.parametrize(
    "statement",
    [
        COLUMNS,
        SHUFFLED.order_by(Parent.id),
        select(Parent).order_by(Parent.id),
        select(aliased(Parent, name="other")).order_by(text("id")),
        Parent.__table__.select().order_by(text("id")),
        text("SELECT * FROM fast_parents ORDER BY id").columns(*Parent.__table__.columns),
    ],
    ids=str,
)
def test_rows_become_objects_of_every_kind(cls: Any, statement: Any, session: Any) -> None:
    found = session.rows(statement, into=cls)

    assert found == expected(cls)
    assert {type(each) for each in found} == {cls}
    assert [type(each.active) for each in found[:3]] == [bool, type(None), bool]


def test_rows_become_structs(session: Any) -> None:
    msgspec = pytest.importorskip("msgspec")
    fields = [("id", int), ("name", str), ("active", Any), ("age", int)]
    plain = msgspec.defstruct("plain", fields)
    keywords = msgspec.defstruct("keywords", [*fields, ("other", int, 5)], kw_only=True)

    assert session.rows(COLUMNS, into=plain) == expected(plain)
    assert session.rows(SHUFFLED.order_by(Parent.id), into=plain) == expected(plain)
    assert session.rows(select(Parent).order_by(Parent.id), into=keywords) == expected(keywords)


def test_values_are_what_the_types_make_of_them(session: Any) -> None:
    cls = dataclasses.make_dataclass("Values", [column.key for column in Typed.__table__.columns])
    entities = session.scalars(select(Typed).order_by(Typed.id)).all()

    found = session.rows(select(Typed).order_by(Typed.id), into=cls)

    assert [vars(each) for each in found] == [
        {name: getattr(entity, name) for name in vars(found[0])} for entity in entities
    ]


def test_a_string_and_its_parameters_do(session: Any) -> None:
    statement = "SELECT id, name, active, age FROM fast_parents WHERE id = :id"

    (found,) = session.rows(statement, {"id": 4}, into=Plain)

    assert (found.id, found.name, found.age) == (4, "p4", 4)


def test_the_session_does_not_know_the_objects(session: Any) -> None:
    before = dict(counts)
    found = session.rows(select(Parent), into=Plain)
    found[0].name = "changed"

    assert not session.identity_map.keys()
    assert not session.dirty
    assert counts["rows:fast"] == before.get("rows:fast", 0) + 1


def test_fields_with_a_default_need_no_column(session: Any) -> None:
    first, second, *_ = session.rows(select(Parent.name).order_by(Parent.id), into=Defaults)

    assert first == Defaults("p1")
    assert first.made is not second.made


def test_joined_entities_give_their_columns_together(session: Any) -> None:
    statement = select(Child.name, Parent.age).join(Child.parent).order_by(Child.id)
    cls = dataclasses.make_dataclass("Both", ["name", "age"])

    found = session.rows(statement.limit(1), into=cls)

    assert [(each.name, each.age) for each in found] == [("c1", 1)]


def test_pending_changes_are_flushed_first(session: Any) -> None:
    session.add(Parent(id=99, name="new"))

    found = session.rows(select(Parent).where(Parent.id == 99), into=Plain)
    session.rollback()

    assert [each.name for each in found] == ["new"]


def test_a_listener_may_give_another_result(session: Any) -> None:
    frozen = session.execute(COLUMNS).freeze()
    event.listen(session, "do_orm_execute", lambda _: frozen())

    assert session.rows(select(Parent), into=Named) == expected(Named)
    assert counts["rows:aside:result"] > 0


@dataclass
class Asking:
    id: int
    nickname: str


@pytest.mark.parametrize(
    ("statement", "into", "words"),
    [
        (select(Parent), Asking, "no column for the field 'nickname' of Asking"),
        (
            select(Parent, Child).join(Parent.children),
            Asking,
            "2 columns for the field 'id' of Asking",
        ),
        (select(Parent), dict, "no class whose fields are known"),
        (select(Parent), Parent, "no class whose fields are known"),
        (select(Parent), "Plain", "no class whose fields are known"),
    ],
)
def test_what_does_not_fit_is_refused_before_it_is_sent(
    statement: Any, into: Any, words: str, engine: Engine, session: Any
) -> None:
    sent: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *arguments: sent.append(arguments[2]))

    with pytest.raises(ConfigurationError, match=words):
        session.rows(statement, into=into)

    assert sent == []


def test_text_that_does_not_fit_is_refused_by_its_result(session: Any) -> None:
    with pytest.raises(ConfigurationError, match="no column for the field 'nickname'"):
        session.rows("SELECT id FROM fast_parents", into=Asking)


async def test_rows_are_read_under_asyncio(filled: Any) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(f"sqlite+aiosqlite:///{filled}")
    async with AsyncSession(engine) as session:
        found = await session.rows(COLUMNS, into=Named)
    await engine.dispose()

    assert found == expected(Named)
