"""The settings of a Database: told without secrets, and read from where they are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from hermetic import Database, Outcome
from tests.backends import FAMILY_SCHEMES
from tests.databases import FamilyUrl
from tests.models import Base, User


@pytest.mark.parametrize("scheme", FAMILY_SCHEMES.values())
def test_explain_tells_every_setting_and_no_secret(scheme: str) -> None:
    where = "/app.db" if scheme == "sqlite" else "ann:s3cr3t-w0rd@db.example/app?sslpassword=s3cr3t"
    db = Database(
        f"{scheme}://{where}",
        pool_size=7,
        timeout=3,
        connect_args={"password": "s3cr3t-arg", "init_command": "SELECT 1"},
    )

    told = db.explain() + repr(db) + repr(db.options) + repr(db.session())

    assert "s3cr3t" not in told
    assert "pool_size: 7" in told
    assert "timeout: 3" in told
    for option in ("pool_timeout", "lock_timeout", "cleanup_timeout", "retry_burst", "isolation"):
        assert option in told
    assert db.driver() is not None
    assert f"driver {db.driver()}" in told
    db.close()


def test_a_database_from_the_environment_works(family: str, family_url: FamilyUrl) -> None:
    environ = {
        "APP_URL": family_url(family),
        "APP_POOL_SIZE": "3",
        "APP_PING_AFTER": "none",
        "APP_TIMEOUT": "20",
        "APP_RETRY": "4",
        "APP_HIDE_PARAMETERS": "yes",
        "PATH": "/bin",
    }

    with Database.from_env("APP_", environ, pool_timeout=5) as db:
        Base.metadata.create_all(db.engine)

        @db.session()
        def add(session: Any, name: str) -> Outcome | None:
            session.add(User(username=name))
            outcome: Outcome | None = session.outcome
            return outcome

        add("ann")

        assert db.options.pool_size == 3
        assert db.options.ping_after is None
        assert db.options.pool_timeout == 5
        assert db.options.scope.timeout == 20
        assert db.options.scope.retry is not None
        assert db.options.scope.retry.attempts == 4
        assert db.snapshot().counters["committed"] == 1


def test_a_database_from_a_toml_file_works(
    family: str, family_url: FamilyUrl, tmp_path: Path
) -> None:
    url = make_url(family_url(family)).render_as_string(hide_password=False)
    file = tmp_path / "app.toml"
    file.write_text(
        f"[tool.hermetic]\nurl = '{url}'\npool_size = 3\nisolation = 'serializable'\n"
        "[tool.hermetic.retry]\nattempts = 4\nbase = 0.5\n"
    )

    with Database.from_toml(file, table="tool.hermetic") as db:
        Base.metadata.create_all(db.engine)
        with db.session() as session:
            session.add(User(username="ann"))

        assert db.options.pool_size == 3
        assert db.options.scope.retry is not None
        assert (db.options.scope.retry.attempts, db.options.scope.retry.base) == (4, 0.5)
        assert session.outcome is Outcome.COMMITTED
