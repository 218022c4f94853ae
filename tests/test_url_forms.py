"""URLs of unusual forms, and those that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import URL

from hermetic import Database, InvalidURL

CANARY = "s3cr3t-canary"


# ---------------------------------------------------------------- in memory


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite+pysqlite://",
        "sqlite+aiosqlite://",
        "sqlite+aiosqlite:///:memory:",
        "sqlite:///file:x?mode=memory&uri=true",
        "sqlite:///file::memory:?cache=shared&uri=true",
        "sqlite:///file::memory:?uri=true",
    ],
)
async def test_every_form_of_an_in_memory_database_is_one_for_both_worlds(url: str) -> None:
    async with Database(url) as db:
        with db.session() as session:
            session.execute("CREATE TABLE kept (id INTEGER)")
            session.execute("INSERT INTO kept VALUES (1)")

        async with db.session() as other:
            assert (await other.scalars("SELECT id FROM kept")).all() == [1]
        with db.session(readonly=True) as session:
            assert session.scalars("SELECT id FROM kept").all() == [1]


def test_two_in_memory_databases_are_two() -> None:
    with Database("sqlite://") as one, Database("sqlite://") as two:
        with one.session() as session:
            session.execute("CREATE TABLE only_here (id INTEGER)")

        with two.session() as session:
            assert session.scalars("SELECT name FROM sqlite_schema").all() == []


def test_a_file_is_no_memory(tmp_path: Path) -> None:
    with Database(f"sqlite:///{tmp_path}/memory.db") as db, db.session() as session:
        session.execute("CREATE TABLE kept (id INTEGER)")

    assert (tmp_path / "memory.db").exists()


# ---------------------------------------------------------------- awkward and malformed


AWKWARD = ["p@ss", "a:b", "a/b", "a?b#c", "100%", "ö€", " x ", "+", "'\"", "\\", "%41"]


@pytest.mark.parametrize("password", AWKWARD)
def test_an_awkward_password_arrives_as_it_is(password: str) -> None:
    db = Database(f"postgresql://u%40x:{quote(password, safe='')}@h:5433/d")

    assert db.server.url.password == password
    assert (db.server.url.username, db.server.url.host, db.server.url.port) == ("u@x", "h", 5433)


def test_a_url_object_keeps_an_awkward_password() -> None:
    given = URL.create("postgresql", "u", "p@/:?%", "h", 5433, "d")

    assert Database(given).server.url.password == "p@/:?%"


MALFORMED = [
    "",
    CANARY,
    f"://{CANARY}",
    f"postgresql:{CANARY}",
    f"postgresql:/u:{CANARY}@h/d",
    f"u:{CANARY}@h:5432/d",
    f"postgresql://u:{CANARY}@h:port/d",
    f"postgresql://u:{CANARY}@h:99999999/d",
    f"postgresql://u:{CANARY}@[::1/d",
    f"nosuchdatabase://u:{CANARY}@h/d",
    f"postgresql+nosuchdriver://u:{CANARY}@h/d",
    f"sqlite://u:{CANARY}@h/d",
    f"sqlite://h/{CANARY}",
]


@pytest.mark.parametrize("url", MALFORMED)
def test_a_url_that_cannot_be_used_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(InvalidURL) as caught:
        Database(url)

    error: BaseException | None = caught.value
    while error is not None:
        assert CANARY not in str(error)
        assert CANARY not in repr(error)
        if error.__suppress_context__ and error.__cause__ is None:
            break
        error = error.__cause__ or error.__context__
    assert caught.value.hint or "from 1 to 65535" in str(caught.value)


@pytest.mark.parametrize("url", [None, 5, b"sqlite://", Path("x.db")], ids=repr)
def test_a_url_that_is_no_text_is_refused(url: Any) -> None:
    with pytest.raises(InvalidURL, match=r"must be a string or a sqlalchemy\.URL"):
        Database(url)


def test_an_unknown_scheme_is_told_which_ones_are_known() -> None:
    with pytest.raises(InvalidURL, match="nosuch") as caught:
        Database("nosuch://h/d")

    for known in ("postgresql", "mysql", "mariadb", "sqlite"):
        assert known in caught.value.hint


def test_sqlite_urls_with_two_slashes_are_explained() -> None:
    with pytest.raises(InvalidURL, match="no host") as caught:
        Database("sqlite://data/app.db")

    assert "three slashes" in caught.value.hint
