"""Fast paths look whether SQLAlchemy is what they were made for, and stay off where it is not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hermetic.fast import private


def test_this_release_is_as_it_was_read() -> None:
    assert private.problem() is None


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

    assert done.stdout.splitlines() == [str(warned), "9 9", counted], done.stderr
