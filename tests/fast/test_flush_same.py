"""What the fast flush leaves is what SQLAlchemy's leaves."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import exc, func, inspect, text
from sqlalchemy.orm.attributes import flag_modified

from tests.fast.writing import Named, Order, Program, User, kept, same


def one_new(session: Any, log: list[Any]) -> None:
    session.add(kept(session, User(name="a", age=3)))
    session.flush()


def several_new(session: Any, log: list[Any]) -> None:
    users = [User(name=f"u{n}", age=None if n % 3 else n) for n in range(12)]
    session.add_all(kept(session, *users))
    session.flush()
    log.append([user.id for user in users])


def new_with_keys_and_without(session: Any, log: list[Any]) -> None:
    users = [User(id=n * 10 if n % 2 else None, name=f"u{n}") for n in range(7)]
    session.add_all(kept(session, *users))
    session.commit()


def defaults_left_out_and_given(session: Any, log: list[Any]) -> None:
    users = [User(name="a"), User(name="b", score=None), User(name="c", score=2, tick=99)]
    session.add_all(kept(session, *users))
    session.flush()


def one_changed(session: Any, log: list[Any]) -> None:
    user = kept(session, User(name="a"))
    session.add(user)
    session.commit()
    user.age = 8
    session.flush()
    user.name = "a"  # no change
    session.flush()
    log.append(inspect(user).attrs.age.history)


def many_changed(session: Any, log: list[Any]) -> None:
    users = [User(name=f"u{n}") for n in range(9)]
    session.add_all(kept(session, *users))
    session.commit()
    for number, user in enumerate(reversed(users)):
        user.age = number
        if number % 4 == 0:
            user.score = number / 4
    session.flush()


def changed_back(session: Any, log: list[Any]) -> None:
    user = kept(session, User(name="a", age=1))
    session.add(user)
    session.commit()
    user.age = 2
    user.age = 1
    session.flush()
    flag_modified(user, "age")
    session.flush()


def changed_after_expiry(session: Any, log: list[Any]) -> None:
    user = kept(session, User(name="a", age=1))
    session.add(user)
    session.commit()
    session.expire(user)
    user.age = 5
    session.flush()
    session.expire(user, ["name"])
    user.age = 6
    session.flush()


def new_and_changed(session: Any, log: list[Any]) -> None:
    first = kept(session, User(name="a"))
    session.add(first)
    session.flush()
    first.age = 4
    session.add_all(kept(session, User(name="b"), Order(item="x"), Named(key="k", part=1)))
    session.commit()


def unique_violation(session: Any, log: list[Any]) -> None:
    session.add_all(kept(session, User(name="a"), Named(key="x")))
    session.flush()
    session.add_all(kept(session, User(name="b"), User(name="a")))
    with pytest.raises(exc.IntegrityError) as caught:
        session.flush()
    log.append(caught.value.statement)
    log.append(session.is_active)
    with pytest.raises(exc.PendingRollbackError):
        session.execute(text("SELECT 1"))


def one_violation(session: Any, log: list[Any]) -> None:
    session.add(kept(session, User(name="a")))
    session.commit()
    session.add(kept(session, User(name="a")))
    with pytest.raises(exc.IntegrityError) as caught:
        session.flush()
    log.append(str(caught.value))
    session.rollback()
    session.add(kept(session, User(name="c")))
    session.commit()


def update_violation(session: Any, log: list[Any]) -> None:
    first, second = kept(session, User(name="a"), User(name="b"))
    session.add_all([first, second])
    session.commit()
    second.name = "a"
    with pytest.raises(exc.IntegrityError) as caught:
        session.flush()
    log.append(str(caught.value))
    session.rollback()
    log.append(second.name)


def row_gone(session: Any, log: list[Any]) -> None:
    user = kept(session, User(name="a"))
    session.add(user)
    session.commit()
    session.execute(text("DELETE FROM users"))
    user.age = 3
    session.flush()


def rolled_back(session: Any, log: list[Any]) -> None:
    first = kept(session, User(name="a", age=1))
    session.add(first)
    session.commit()
    first.age = 2
    second = kept(session, User(name="b"))
    session.add(second)
    session.flush()
    session.rollback()
    log.append(first.age)


def savepoint_rolled_back(session: Any, log: list[Any]) -> None:
    first = kept(session, User(name="a", age=1))
    session.add(first)
    nested = session.begin_nested()
    first.age = 2
    second = kept(session, User(name="b"))
    session.add(second)
    session.flush()
    nested.rollback()
    log.append(first.age)
    session.add(kept(session, User(name="c")))
    session.commit()


def savepoint_kept(session: Any, log: list[Any]) -> None:
    with session.begin_nested():
        session.add(kept(session, User(name="a", age=1)))
    with pytest.raises(exc.IntegrityError), session.begin_nested():
        session.add(kept(session, User(name="a", age=1)))
    session.add(kept(session, User(name="b", age=1)))
    session.commit()


def types_and_nulls(session: Any, log: list[Any]) -> None:
    from decimal import Decimal

    named = [
        Named(key="a", loud="low", data={"x": [1]}, price=Decimal("1.5")),
        Named(key="b", data=None),
        Named(key="c", part=2, loud="x", made="there"),
    ]
    session.add_all(kept(session, *named))
    session.flush()
    log.append([each.made for each in named])
    named[0].data = None
    named[1].loud = "changed"
    session.commit()


def a_type_that_refuses(session: Any, log: list[Any]) -> None:
    session.add(kept(session, Named(key="a", loud="impossible")))
    session.flush()


def several_that_a_type_refuses(session: Any, log: list[Any]) -> None:
    session.add_all(kept(session, *(Named(key=f"{n}", part=n, loud="impossible") for n in (1, 2))))
    session.flush()


def wrong_value(session: Any, log: list[Any]) -> None:
    session.add(kept(session, User(name="a", age=object())))
    with pytest.raises(exc.DBAPIError):
        session.flush()


def missing_value(session: Any, log: list[Any]) -> None:
    session.add(kept(session, User(age=1)))
    session.flush()


def no_key(session: Any, log: list[Any]) -> None:
    session.add(kept(session, Named(part=1)))
    session.flush()


def expressions(session: Any, log: list[Any]) -> None:
    user = kept(session, User(name=func.lower("ABC")))
    session.add(user)
    session.flush()
    user.age = User.id + 5
    session.flush()
    log.append(user.age)


def a_key_that_is_taken(session: Any, log: list[Any]) -> None:
    session.add(kept(session, User(id=1, name="a")))
    session.flush()
    session.add(kept(session, User(id=1, name="b")))
    session.flush()


def a_key_that_changes(session: Any, log: list[Any]) -> None:
    user = kept(session, User(id=1, name="a"))
    session.add(user)
    session.flush()
    user.id = 5
    session.flush()
    session.rollback()


def related(session: Any, log: list[Any]) -> None:
    user = kept(session, User(name="a"))
    user.orders = [Order(item="x"), Order(item="y")]
    session.add(user)
    session.flush()
    kept(session, *user.orders)
    session.add(kept(session, Order(item="z", user=user)))
    session.flush()
    user.orders[0].user = None
    session.commit()


def deleted(session: Any, log: list[Any]) -> None:
    first, second = kept(session, User(name="a"), User(name="b"))
    session.add_all([first, second])
    session.flush()
    session.delete(first)
    second.age = 1
    session.commit()


def autoflushed(session: Any, log: list[Any]) -> None:
    user = kept(session, User(name="a"))
    session.add(user)
    log.append(session.query(User).filter_by(name="a").one() is user)


def twice_in_a_transaction(session: Any, log: list[Any]) -> None:
    user = kept(session, User(name="a"))
    session.add(user)
    session.flush()
    user.age = 1
    session.flush()
    session.expunge(user)
    session.add(user)
    user.age = 2
    session.commit()


PROGRAMS = {
    name: value
    for name, value in list(globals().items())
    if getattr(value, "__module__", "") == __name__ and callable(value)
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_a_program_ends_as_with_sqlalchemy(program: Program) -> None:
    assert same(program)


FAST = [one_new, several_new, one_changed, many_changed, unique_violation, rolled_back]


@pytest.mark.parametrize("program", FAST, ids=lambda program: program.__name__)
def test_a_plain_program_is_written_the_fast_way(program: Program) -> None:
    assert set(same(program)) == {"flush:fast"}
