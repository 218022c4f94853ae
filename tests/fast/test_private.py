"""Fast paths look whether SQLAlchemy is what they were made for, and stay off where it is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy

from hermetic.fast import private, private_flush, unread
from hermetic.fast.as_read import DIGESTS


def test_this_release_is_as_it_was_read() -> None:
    assert private.problem() is None
    assert private_flush.why_off() is None
    assert unread.problem() is None


_PROGRAM = """
import warnings
import {place} as place
{change}
with warnings.catch_warnings(record=True) as found:
    warnings.simplefilter("always")
    from hermetic import Session
    from hermetic.fast.counts import counts
print(len([each for each in found if "fast paths are off" in str(each.message)]))
from typing import NamedTuple
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
class Base(DeclarativeBase): pass
class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
class Row(NamedTuple):
    id: int
engine = create_engine("sqlite://")
Base.metadata.create_all(engine)
with Session(engine) as session:
    session.add_all(User(id=n) for n in range(9))
    session.commit()
with Session(engine) as session:
    print(len(session.scalars(select(User)).all()), len(session.rows(select(User), into=Row)))
print(sorted(name for name in counts if name.startswith("rows:")))
from hermetic import Database
print(Database("sqlite://").explain().partition("fast paths: ")[2].partition(chr(10))[0])
"""

CHANGES = {
    "nothing": ("sqlalchemy", "", 0, "['rows:fast']"),
    "another closure": (
        "sqlalchemy.orm.loading",
        "place.instances = lambda cursor, context, _of=place.instances: _of(cursor, context)",
        1,
        "['rows:aside:result']",
    ),
    "another method": (
        "sqlalchemy.orm.attributes",
        "place._CollectionAttributeImpl.set_committed_value = lambda self, state, value: None",
        1,
        "['rows:aside:result']",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_sqlalchemy_turns_them_off_with_one_warning(change: str) -> None:
    place, line, warned, counted = CHANGES[change]
    program = _PROGRAM.format(place=place, change=line)

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    *rest, told = done.stdout.splitlines() or [""]
    assert rest == [str(warned), "9 9", counted], done.stderr
    assert told.startswith("off: SQLAlchemy" if warned else "on")


# ---------------------------------------------------------------- a release that nobody has read

_UNREAD = """place.__version__ = "2.1.99"
place.__file__ = {file!r}"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of what is looked at of SQLAlchemy, to change."""
    whole = Path(sqlalchemy.__file__).parent
    for file in DIGESTS:
        copy = tmp_path / "sqlalchemy" / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text((whole / file).read_text(encoding="utf-8"), encoding="utf-8")
    return tmp_path / "sqlalchemy"


def _told(sources: Path) -> list[str]:
    line = _UNREAD.format(file=str(sources / "__init__.py"))
    program = _PROGRAM.format(place="sqlalchemy", change=line)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


newest_read = pytest.mark.skipif(
    sqlalchemy.__version__ != unread.READ[-1], reason="the digests are of another release"
)


@newest_read
@pytest.mark.slow
def test_where_all_is_as_it_was_they_are_on(sources: Path) -> None:
    session = sources / "orm" / "session.py"
    # what they do not stand in for
    changed = session.read_text(encoding="utf-8").replace("def enable_relationship_", "def other_")
    session.write_text(f"# a new head\n{changed}", encoding="utf-8")

    assert _told(sources) == ["0", "9 9", "['rows:fast']", "on"]


@newest_read
@pytest.mark.slow
def test_where_what_they_stand_in_for_has_changed_they_are_off(sources: Path) -> None:
    session = sources / "orm" / "session.py"
    text = session.read_text(encoding="utf-8")
    changed = text.replace("flush_context = UOWTransaction(self)", "flush_context = other(self)")
    assert changed != text
    session.write_text(changed, encoding="utf-8")

    *rest, told = _told(sources)

    assert rest == ["1", "9 9", "['rows:aside:result']"]
    assert told.startswith("off: SQLAlchemy 2.1.99 is not what they were made for")
    assert "orm/session.py: Session._flush" in told


@pytest.mark.slow
def test_where_there_are_no_sources_they_are_off(tmp_path: Path) -> None:
    assert _told(tmp_path)[0] == "1"
    assert "not there to look at" in _told(tmp_path)[-1]


def test_a_function_is_told_from_others_by_its_class() -> None:
    text = """
def first(
    a,
):
    def inner():
        pass

    return a

class Outer:
    @property
    def first(self): ...
    class Inner:
        async def first(self):
            # what is said is a part of it

            return 1
    x = 1
    def last(self):
        return 2
# the end
"""
    blocks = unread.blocks_of(text)

    assert list(blocks) == ["first", "Outer.first", "Outer.Inner.first", "Outer.last"]
    assert blocks["first"].splitlines()[-1] == "    return a"
    assert blocks["Outer.Inner.first"].splitlines()[1:] == [
        "            # what is said is a part of it",
        "            return 1",
    ]
    assert blocks["Outer.last"].endswith("return 2")


# ---------------------------------------------------------------- a name that is gone

_WITHOUT = """
import builtins
imported = builtins.__import__
def without(name, globals=None, locals=None, fromlist=(), level=0):
    place = (globals or {{}}).get("__name__")
    if place == "hermetic.fast.{module}" and "{gone}" in (fromlist or ()):
        raise ImportError("cannot import name '{gone}'")
    return imported(name, globals, locals, fromlist, level)
builtins.__import__ = without
import warnings
with warnings.catch_warnings(record=True) as found:
    warnings.simplefilter("always")
    from hermetic import Database
builtins.__import__ = imported
print(len(found), *(str(each.message) for each in found))

import asyncio
from typing import NamedTuple
from sqlalchemy import ForeignKey, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload
class Base(DeclarativeBase): pass
class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    pets: Mapped[list["Pet"]] = relationship()
class Pet(Base):
    __tablename__ = "pets"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
class Row(NamedTuple):
    id: int
db = Database("sqlite:///{folder}/main.db")
print("fast paths: on" + chr(10) in db.explain())
Base.metadata.create_all(db.engine)
with db.session() as s:
    s.add_all(User(name="old", pets=[Pet()]) for _ in range(4))
with db.session() as s:
    print(len(s.get(User, 1).pets), len(s.scalars(select(User)).all()))
    s.get(User, 2).name = "new"
    with db.session(propagation="nested"):
        s.add(User(name="nested"))
with db.session(readonly=True) as s:
    users = s.scalars(select(User).options(selectinload(User.pets))).all()
    print([user.name for user in users], len(s.rows(select(User.id), into=Row)))
with db.session() as s:
    pets = [{{"user_id": 1}}] * 3
    print(s.insert_many(Pet, pets), s.insert_many(Pet, pets, returning=[Pet.id]))
    print(s.update_many(Pet, [{{"id": 9, "user_id": 2}}]), s.get(Pet, 9).user_id)
async def main():
    async with db.session() as s:
        s.add(User(name="async"))
    async with db.session() as s:
        print((await s.get(User, 6)).name)
        print((await s.scalars(select(User).where(User.id == 6))).one().name)
    await db.aclose()
asyncio.run(main())
db.close()
"""

OFF = "1 hermetic's fast paths are off"
UNIT_OF_WORK = "1 hermetic writes through SQLAlchemy's own unit of work"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "gone", "warning"),
    [
        ("private", "_EmptyListener", OFF),
        ("private", "InstanceState", OFF),
        ("private", "_sessions", OFF),
        ("private_flush", "SessionTransactionState", UNIT_OF_WORK),
        ("private_flush", "unitofwork", UNIT_OF_WORK),
    ],
)
def test_a_name_that_is_gone_turns_them_off_and_all_else_works(
    module: str, gone: str, warning: str, tmp_path: Path
) -> None:
    program = _WITHOUT.format(module=module, gone=gone, folder=tmp_path)

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    first, *rest = done.stdout.splitlines() or [""]
    assert first.startswith(warning), done.stderr
    assert gone in first
    assert rest == [
        "False",
        *("1 4", "['old', 'new', 'old', 'old', 'nested'] 5"),
        *("3 [(8,), (9,), (10,)]", "1 2", "async", "async"),
    ], done.stderr


_WITHOUT_GREENLET = """
import sys
sys.modules["greenlet"] = None
from hermetic import Database
from hermetic.fast.switch import ON
db = Database("sqlite://")
with db.session() as session:
    print(ON, session.scalar("SELECT 42"))
"""


@pytest.mark.slow
def test_threads_need_no_greenlet() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _WITHOUT_GREENLET],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == "True 42\n", done.stderr
