"""What the benchmarks load: one mapped class of six columns, and its row."""

from __future__ import annotations

from sqlalchemy import Engine, String, insert
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

ROWS = 100
SELECT = "SELECT id, username, email, age, active, score FROM bench_users WHERE id = "


class Base(DeclarativeBase):
    """Base of the benchmarks' tables."""


class User(Base):
    """Six columns: an int key, two strings, an int, a bool and a float."""

    __tablename__ = "bench_users"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    username: Mapped[str] = mapped_column(String(50))
    email: Mapped[str] = mapped_column(String(100))
    age: Mapped[int]
    active: Mapped[bool]
    score: Mapped[float]


def fill(engine: Engine) -> None:
    """Make the table anew, with its rows."""
    rows = [
        {
            "id": number,
            "username": f"user{number}",
            "email": f"user{number}@example.org",
            "age": 20 + number % 60,
            "active": number % 2 == 0,
            "score": number / 8,
        }
        for number in range(1, ROWS + 1)
    ]
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(User), rows)
