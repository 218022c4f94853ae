"""Each check finds what it is for, and nothing where all is well."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hermetic import Budget, DatabasePerTenant
from hermetic.doctor.capacity import demand
from hermetic.doctor.checks import Checks, Sign
from hermetic.doctor.examining import REGISTRIES
from hermetic.doctor.findings import Severity
from hermetic.doctor.mysql_standing import MYSQL
from hermetic.doctor.options import CLIENT
from hermetic.doctor.postgresql_standing import POSTGRESQL
from hermetic.doctor.sqlite_checks import SQLITE, has_wal_reset
from tests.doctor import planted
from tests.doctor.planted import Planted

_CASES: list[tuple[Checks[Any], Planted]] = [
    *((POSTGRESQL, case) for case in planted.POSTGRESQL_CASES),
    *((MYSQL, case) for case in planted.MYSQL_CASES),
    *((SQLITE, case) for case in planted.SQLITE_CASES),
    *((CLIENT, case) for case in planted.CLIENT_CASES),
]
_WELL: dict[str, tuple[Checks[Any], Callable[..., Any]]] = {
    "postgresql": (POSTGRESQL, planted.postgresql),
    "standby": (POSTGRESQL, planted.standby),
    "mysql": (MYSQL, planted.mysql),
    "follower": (MYSQL, planted.follower),
    "node": (MYSQL, planted.node),
    "sqlite": (SQLITE, planted.sqlite),
    "client": (CLIENT, planted.client),
}


@pytest.mark.parametrize("name", _WELL)
def test_nothing_is_found_where_all_is_well(name: str) -> None:
    checks, made = _WELL[name]
    facts: Any = made()

    assert list(checks.run(facts)) == []


@pytest.mark.parametrize(
    ("checks", "case"), _CASES, ids=[f"{each.name}-{case.code}" for each, case in _CASES]
)
def test_what_is_planted_is_found(checks: Checks[Any], case: Planted) -> None:
    found = {each.code: each for each in checks.run(case.facts())}
    usual = {check.code: check for check in checks}[case.code]

    assert case.code in found
    finding = found[case.code]
    assert finding.severity == (case.severity or usual.severity)
    assert finding.seen
    assert finding.why == usual.why
    assert finding.change
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize("checks", REGISTRIES, ids=lambda checks: checks.name)
def test_every_check_has_a_planted_case(checks: Checks[Any]) -> None:
    shown = {case.code for registry, case in _CASES if registry is checks}

    assert shown == {check.code for check in checks}


def test_two_checks_cannot_have_one_code() -> None:
    checks: Checks[Any] = Checks("some")

    def check(facts: Any) -> Iterator[Sign]:
        yield from ()

    checks.add("a", Severity.HINT, "one", why="")(check)

    with pytest.raises(ValueError, match="two checks are called a"):
        checks.add("a", Severity.HINT, "another", why="")


# ---------------------------------------------------------------- how much is asked for


def test_a_budget_bounds_what_is_asked_for() -> None:
    within = planted.postgresql(given={"pool_size": 80, "budget": Budget(30)})

    assert demand(within.about).whole == 30
    assert list(POSTGRESQL.run(within)) == []


def test_tenants_databases_on_the_same_server_count() -> None:
    here = DatabasePerTenant(url="postgresql+psycopg://app@127.0.0.1/t_{tenant}", connections=70)
    elsewhere = DatabasePerTenant(url="postgresql+psycopg://app@two.example/t_{tenant}")
    wanted = [
        demand(planted.postgresql(given={"tenants": each}).about).whole
        for each in (here, elsewhere, None)
    ]

    assert wanted == [90, 20, 20]
    (finding,) = POSTGRESQL.run(planted.postgresql(given={"tenants": here, "pool_size": 20}))
    assert "70 of tenants' databases" in finding.seen


def test_readers_are_asked_of_replicas_too() -> None:
    given = {"pool_size": 4, "reader_pool_size": 6}
    alone = planted.postgresql(given={**given, "replica_fallback": False})
    standby = planted.standby(given=given)
    strict = {**given, "replica_fallback": False, "replicas": ["postgresql://app@two/app"]}

    assert (demand(alone.about).writers, demand(alone.about).readers) == (4, 6)
    assert (demand(standby.about).writers, demand(standby.about).readers) == (0, 6)
    assert demand(planted.postgresql(given=strict).about).readers == 0


def test_what_is_changed_fits() -> None:
    facts = planted.postgresql(whose={"workers": 12})
    (finding,) = POSTGRESQL.run(facts)

    assert "pool_size=4" in finding.change
    fitting = planted.postgresql(given={"pool_size": 4}, whose={"workers": 12})
    assert "pool-over-limit" not in {each.code for each in POSTGRESQL.run(fitting)}


def test_the_pools_of_a_pooler_are_not_the_servers() -> None:
    facts = planted.postgresql(given={"pool_size": 500, "pooler": "transaction"}, pooled=True)

    assert list(POSTGRESQL.run(facts)) == []


# ---------------------------------------------------------------- where the server is


def test_the_environment_of_libpq_says_where_and_how(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = planted.postgresql(url="postgresql+psycopg://app@/app")
    assert list(POSTGRESQL.run(facts)) == []

    monkeypatch.setenv("PGHOST", "db.example")
    monkeypatch.setenv("PGSSLMODE", "prefer")

    (finding,) = POSTGRESQL.run(facts)
    assert finding.code == "tls-optional"
    assert finding.seen == "sslmode=prefer with db.example"


@pytest.mark.parametrize(
    ("told", "verified"),
    [
        ({"ssl": {"ca": "authority.pem"}}, True),
        ({"ssl_ca": "authority.pem"}, True),
        ({"ssl_mode": "VERIFY_IDENTITY"}, True),
        ({"ssl_mode": "REQUIRED"}, False),
        ({"ssl": ssl.create_default_context()}, True),
        ({"ssl": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}, True),
        ({"ssl": {"check_hostname": False}}, False),
    ],
)
def test_what_mariadbs_drivers_are_told_counts(told: dict[str, Any], verified: bool) -> None:
    url = "mysql+pymysql://app@db.example/app"
    found = {each.code for each in MYSQL.run(planted.mysql(url=url, given={"connect_args": told}))}

    assert found == (set() if verified else {"tls-unverified"})


# ---------------------------------------------------------------- releases


def test_support_ends_the_day_after_its_last() -> None:
    facts = planted.postgresql()
    last = datetime.date(2027, 11, 11)

    assert list(POSTGRESQL.run(planted.later(facts, today=last))) == []
    (finding,) = POSTGRESQL.run(planted.later(facts, today=last + datetime.timedelta(days=1)))
    assert finding.code == "server-unsupported"


@pytest.mark.parametrize(
    ("version", "has"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
    ],
)
def test_the_wal_reset_bug_is_known_by_the_release(version: tuple[int, ...], has: bool) -> None:
    assert has_wal_reset(version) is has
