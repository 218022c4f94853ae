"""`explain()` shows every setting in force, and no secret; nor does any repr."""

from __future__ import annotations

import dataclasses
import functools
import os
import subprocess
import sys
from typing import Any

import pytest
from sqlalchemy import URL
from sqlalchemy.pool import NullPool

from hermetic import Database, DatabaseOptions, ScopeOptions
from hermetic.release import NO_FAST_PATHS

CANARY = "s3cr3t-canary"


def test_every_option_and_its_value_are_shown() -> None:
    shown = Database("sqlite://", pool_size=7, timeout=3, name="shop").explain()

    lines = {line.strip().partition(":")[0] for line in shown.splitlines()}
    for record in (DatabaseOptions, ScopeOptions):
        names = {field.name for field in dataclasses.fields(record)} - {"name"}
        assert names - lines <= {"scope", "connect_args"}
    assert "Database 'shop'" in shown
    assert ("fast paths: on" if NO_FAST_PATHS is None else NO_FAST_PATHS) in shown
    assert "pool_size: 7" in shown
    assert "timeout: 3.0" in shown
    assert "statement_timeout: None" in shown


@pytest.mark.parametrize("url", ["postgresql://u@h/d", "mysql://u@h/d", "sqlite:///x.db"])
def test_what_each_driver_is_given_is_shown(url: str) -> None:
    db = Database(url)
    shown = db.explain()

    for asynchronous, world in ((False, "threads"), (True, "asyncio")):
        assert f"{world}: driver {db.driver(asynchronous=asynchronous)}" in shown
    if "sqlite" not in url:
        assert "connect_timeout: 5" in shown


def test_a_pool_class_is_shown_by_its_name() -> None:
    class Pools(NullPool):
        pass

    assert "poolclass: Pools" in Database("sqlite://", poolclass=Pools).explain()


QUERY = f"sslpassword={CANARY}&password={CANARY}&passfile={CANARY}&api_token={CANARY}"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{CANARY}@h/d",
        f"postgresql://u:{CANARY}@h/d?{QUERY}",
        URL.create("mysql", "u", CANARY, "h", database="d"),
        f"postgresql://h/d?user=u&password={CANARY}",
        f"postgresql://h/d?options=-c%20my.secret%3D1&sslkey={CANARY}",
    ],
)
def test_no_secret_of_the_url_is_shown(url: str | URL) -> None:
    db = Database(url)

    for shown in (db.explain(), repr(db), repr(db.options), str(db.registry.gates), db.name):
        assert CANARY not in shown


@pytest.mark.parametrize(
    "arguments",
    [
        {"password": CANARY},
        {"passwd": CANARY},
        {"sslpassword": CANARY},
        {"ssl_key_password": CANARY},
        {"ssl": {"key_password": CANARY, "ca": "/etc/ca.pem"}},
        {"deep": {"er": {"secret": CANARY}}},
        {"auth_token": CANARY},
        {"server_settings": {"my.secret": CANARY}},
        {"credentials": ("user", CANARY)},
        {"conninfo": f"host=h password={CANARY}"},
        {"dsn": f"postgresql://u:{CANARY}@h/d"},
        {"init_command": f"SET PASSWORD = '{CANARY}'"},
        {"pwd": CANARY},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_no_secret_of_connect_args_is_shown(arguments: dict[str, Any]) -> None:
    db = Database("postgresql://h/d", connect_args=arguments)

    for shown in (db.explain(), repr(db), repr(db.options)):
        assert CANARY not in shown


def test_no_secret_of_a_function_that_connects_is_shown() -> None:
    creator = functools.partial(print, password=CANARY)
    db = Database("postgresql://h/d", engine_options={"creator": creator})

    for shown in (db.explain(), repr(db), repr(db.options)):
        assert CANARY not in shown


def test_what_is_no_secret_is_shown() -> None:
    db = Database("postgresql://bob@h:6000/d?sslmode=require", connect_args={"keepalives_idle": 99})

    shown = db.explain()

    for visible in ("bob", "6000", "sslmode=require", "keepalives_idle: 99"):
        assert visible in shown


@pytest.mark.slow
def test_why_the_fast_paths_are_off_is_shown() -> None:
    script = "from hermetic import Database; print(Database('sqlite://').explain())"

    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HERMETIC_DISABLE_FAST": "1"},
    )

    assert "fast paths: off: HERMETIC_DISABLE_FAST is set\n" in done.stdout
