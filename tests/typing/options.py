"""What type checkers see of options: their names and their values. Never run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, assert_type

from hermetic import Attempts, Database, Group, Isolation, Propagation, Retry, Unit, Watch

db = Database("sqlite://", pool_size=5, pool_timeout=2, lock_timeout=None, isolation="SERIALIZABLE")
group = Group(orders=db, stock=Database("sqlite://"), two_phase=True)


def options_of_a_scope(level: str) -> None:
    assert_type(db.session(propagation="requires_new", readonly=True, timeout=1.5), Unit)
    assert_type(db.session(propagation=Propagation.NESTED, isolation=Isolation.SERIALIZABLE), Unit)
    assert_type(db.attempts(retry=Retry(attempts=3, within=5), isolation=level), Attempts)
    db.session(retry=5, commit_on=KeyError, name="transfer", priority=True)
    db.session(retry=None, commit_on=(KeyError, ValueError), after="0/16B3748", position=True)
    assert_type(group.session(isolation="read committed", retry=3), Unit)
    assert_type(group.attempts(), Attempts)


def options_that_are_not_known_before_the_program_runs(options: dict[str, Any]) -> None:
    db.session(**options)
    Database("sqlite://", **options)


def wrong_options_of_a_scope_are_rejected() -> None:
    db.session(isolaton="SERIALIZABLE")  # type: ignore[call-arg]
    db.session(isolation=5)  # type: ignore[arg-type]
    db.session(propagation="new")  # type: ignore[arg-type]
    db.session(readonly="yes")  # type: ignore[arg-type]
    db.session(timeout="1s")  # type: ignore[arg-type]
    db.session(retry="often")  # type: ignore[arg-type]
    db.session(commit_on="KeyError")  # type: ignore[arg-type]
    db.session(pool_size=5)  # type: ignore[call-arg]
    db.attempts(retries=5)  # type: ignore[call-arg]
    group.session(propagation="new")  # type: ignore[arg-type]
    Retry(5)  # type: ignore[call-arg]
    Retry(attempts="5")  # type: ignore[arg-type]


def options_of_a_database(environ: Mapping[str, str]) -> None:
    Database("sqlite://", watch=True, journal_mode="wal", synchronous="normal", tls=Path("ca.pem"))
    Database("postgresql://localhost/app", replicas=["postgresql://other/app"], replica_lag=None)
    Database("postgresql://localhost/app", resolve_commits="token", watch=Watch(), retry=3)
    assert_type(Database.from_env(environ=environ, pool_size=3), Database)
    assert_type(Database.from_toml("app.toml", "tool.app", readonly=True), Database)


def wrong_options_of_a_database_are_rejected() -> None:
    Database()  # type: ignore[call-arg]
    Database(5)  # type: ignore[arg-type]
    Database("sqlite://", pool_sise=5)  # type: ignore[call-arg]
    Database("sqlite://", pool_size="5")  # type: ignore[arg-type]
    Database("sqlite://", journal_mode="none")  # type: ignore[arg-type]
    Database("sqlite://", resolve_commits=True)  # type: ignore[arg-type]
    Database("sqlite://", watch="loose")  # type: ignore[arg-type]
    Database.from_env(pool_size=None)  # type: ignore[arg-type]
