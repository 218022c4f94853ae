"""The bank's tables. They exist for the time of one run, and never touch tables that were there."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, String, inspect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.orm import Session as PlainSession

FIRST_BALANCE = 1000
_NAMES = ("ann", "bob", "cleo", "dan", "eve", "finn", "gus", "hana", "ivo", "jo", "kim", "lea")


class Base(DeclarativeBase):
    """Base of the bank's tables."""


class Account(Base):
    """Who holds how much. ``version`` counts the changes."""

    __tablename__ = "hermetic_bank_accounts"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    holder: Mapped[str] = mapped_column(String(50))
    balance: Mapped[int]
    version: Mapped[int] = mapped_column(default=0)


class Token(Base):
    """One row for one applied transfer, written in the transfer's own transaction.

    Nothing forbids a token to be there twice: that it is not shall be seen, not assumed.
    """

    __tablename__ = "hermetic_bank_tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    token: Mapped[str] = mapped_column(String(50), index=True)
    source: Mapped[int]
    target: Mapped[int]
    amount: Mapped[int]


@dataclass(frozen=True, slots=True)
class Order:
    """A transfer to be made."""

    token: str
    source: int
    target: int
    amount: int


class TablesExist(Exception):
    """The database has tables of these names; the demo leaves them alone."""


def open_bank(engine: Engine, accounts: int) -> None:
    """Make the tables and the accounts.

    :raises TablesExist: there are such tables already.
    """
    known = set(inspect(engine).get_table_names()) & set(Base.metadata.tables)
    if known:
        raise TablesExist(", ".join(sorted(known)))
    Base.metadata.create_all(engine, checkfirst=False)
    with PlainSession(engine) as session, session.begin():
        for number in range(1, accounts + 1):
            name = _NAMES[(number - 1) % len(_NAMES)]
            holder = name if number <= len(_NAMES) else f"{name}{number}"
            session.add(Account(id=number, holder=holder, balance=FIRST_BALANCE, version=0))


def close_bank(engine: Engine) -> None:
    """Drop the tables that ``open_bank`` made."""
    Base.metadata.drop_all(engine)
