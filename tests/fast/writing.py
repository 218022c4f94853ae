"""One program, run with SQLAlchemy's session and with hermetic's, and what it left behind."""

from __future__ import annotations

import itertools
import json
import re
import warnings
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from sqlalchemy import JSON, ForeignKey, String, TypeDecorator, create_engine, inspect, orm, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

import hermetic
from hermetic.fast.counts import counts

Program = Callable[[Any, list[Any]], None]


class Upper(TypeDecorator[str]):
    """Written in capitals; some values cannot be."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        if value == "impossible":
            raise ValueError("impossible")
        return None if value is None else value.upper()


_tick = itertools.count(1)


def tick() -> int:
    """The same numbers in the same order for every session."""
    return next(_tick)


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50), unique=True)
    age: Mapped[int | None]
    score: Mapped[float] = mapped_column(default=1.5)
    tick: Mapped[int] = mapped_column(default=tick, onupdate=tick)
    orders: Mapped[list[Order]] = relationship(back_populates="user")


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    item: Mapped[str] = mapped_column(String(50))
    user: Mapped[User | None] = relationship(back_populates="orders")


class Named(Base):
    __tablename__ = "named"

    key: Mapped[str] = mapped_column(String(50), primary_key=True)
    part: Mapped[int] = mapped_column(primary_key=True, default=7)
    loud: Mapped[str | None] = mapped_column(Upper)
    data: Mapped[Any] = mapped_column(JSON, nullable=True)
    price: Mapped[Decimal | None]
    made: Mapped[str] = mapped_column(String(50), server_default="here")


def described(instance: Any) -> Any:
    """Everything of an object and its state that a program can see."""
    state = inspect(instance)
    return {
        "class": type(instance).__name__,
        "values": {k: v for k, v in sorted(state.dict.items()) if k[0] != "_" and _plain(v)},
        "unloaded": sorted(state.unloaded),
        "expired": (state.expired, sorted(state.expired_attributes)),
        "changes": sorted(state.committed_state),
        "modified": state.modified,
        "key": None if state.key is None else (state.key[0].__name__, *state.key[1:]),
        "where": [
            name
            for name in ("transient", "pending", "persistent", "deleted", "detached")
            if getattr(state, name)
        ],
        "held": state._strong_obj is not None,
    }


def _plain(value: Any) -> bool:
    return isinstance(value, int | float | str | dict | list | Decimal | None) and not (
        isinstance(value, list) and value and hasattr(value[0], "_sa_instance_state")
    )


def told(error: BaseException) -> Any:
    cause = getattr(error, "orig", None)
    return (
        type(error).__mro__[-4].__name__ if cause is None else type(cause).__name__,
        re.sub(r"'\w+': [^,}\]]+", _sorted_pairs, str(error)),
    )


def _sorted_pairs(text: re.Match[str]) -> str:
    return "…"


def outcome(session_class: Any, program: Program) -> Any:
    global _tick  # noqa: PLW0603 - a column's default takes no argument
    _tick = itertools.count(1)
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    log: list[Any] = []
    objects: list[Any] = []
    with session_class(engine, expire_on_commit=False) as session:
        session.info["objects"] = objects
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                program(session, log)
            except Exception as error:
                log.append(("raised", told(error)))
        log.append([re.sub(r" at 0x\w+", "", str(each.message)) for each in caught])
        log.append(("active", session.is_active, len(session.new), len(session.dirty)))
        transaction = session.get_transaction()
        if transaction is not None:
            log += [
                (name, sorted(_named(state) for state in getattr(transaction, name)))
                for name in ("_new", "_dirty", "_deleted")
            ]
        log.append(sorted(_named(state) for state in session.identity_map.all_states()))
        log.append([described(each) for each in objects])
        if session.is_active:
            for table in Base.metadata.sorted_tables:
                rows = session.connection().execute(text(f"SELECT * FROM {table.name}"))
                log.append((table.name, [tuple(row) for row in rows]))
    engine.dispose()
    return json.loads(json.dumps(log, default=str))


def _named(state: Any) -> str:
    return f"{state.class_.__name__} {state.key and state.key[1]}"


def kept(session: Any, *instances: Any) -> Any:
    """Have objects described at the end."""
    session.info["objects"] += instances
    return instances[0] if len(instances) == 1 else instances


def same(program: Program) -> dict[str, int]:
    """Run both ways and compare; which ways the flushes went."""
    expected = outcome(orm.Session, program)
    before = dict(counts)
    found = outcome(hermetic.Session, program)
    went = {
        key: count - before.get(key, 0)
        for key, count in counts.items()
        if key.startswith("flush:") and count != before.get(key, 0)
    }
    for mine, theirs in zip(found, expected, strict=False):
        assert mine == theirs, f"\n{mine}\n{theirs}"
    assert len(found) == len(expected)
    return went
