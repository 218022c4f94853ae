"""A wrong option is refused when it is given; the error names it, its limits and its place."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from hermetic import (
    Database,
    FaultKind,
    InvalidOption,
    Retry,
)

MEMORY = "sqlite://"
CANARY = "s3cr3t-canary"


@pytest.fixture
def db() -> Database:
    return Database(MEMORY)


def refused(action: Callable[[], object], *, option: str, place: str) -> InvalidOption:
    with pytest.raises(InvalidOption) as caught:
        action()
    error = caught.value
    assert isinstance(error, ValueError)
    assert error.option == option
    assert error.place == place
    assert str(error).startswith(f"{place}: {option}")
    return error


# ---------------------------------------------------------------- options that there are not


def test_an_unknown_option_of_a_database_is_refused_with_those_that_are_known() -> None:
    error = refused(
        lambda: Database(MEMORY, pool_sise=5),  # type: ignore[call-arg]
        option="pool_sise",
        place="Database()",
    )

    assert "is not an option of a Database" in str(error)
    for known in ("pool_size", "isolation", "retry", "connect_args"):
        assert known in error.hint


@pytest.mark.parametrize("shell", ["session", "attempts"])
def test_an_unknown_option_of_a_scope_is_refused_with_those_that_are_known(
    db: Database, shell: str
) -> None:
    open_it = getattr(db, shell)

    error = refused(lambda: open_it(read_only=True), option="read_only", place=f"db.{shell}()")

    assert "readonly" in error.hint


def test_an_option_of_the_database_is_none_of_a_scope(db: Database) -> None:
    refused(
        lambda: db.session(pool_size=3),  # type: ignore[call-arg]
        option="pool_size",
        place="db.session()",
    )


def test_retry_takes_no_unknown_option() -> None:
    with pytest.raises(TypeError, match="tries"):
        Retry(tries=3)  # type: ignore[call-arg]


# ---------------------------------------------------------------- time

NO_TIME = [-1, -0.001, math.nan, math.inf, -math.inf, "5", "5s", True, Decimal(1), []]
SECONDS = ("pool_timeout", "pool_recycle", "connect_timeout", "cleanup_timeout")
LIMITS_OF_OPTIONAL_SECONDS = "must be a number of seconds above 0, up to 2147483, or None"
OPTIONAL_SECONDS = ("statement_timeout", "lock_timeout", "idle_in_transaction_timeout")


@pytest.mark.parametrize("value", [*NO_TIME, 0, None], ids=repr)
@pytest.mark.parametrize("option", SECONDS)
def test_seconds_are_a_number_above_zero(option: str, value: Any) -> None:
    error = refused(lambda: Database(MEMORY, **{option: value}), option=option, place="Database()")

    assert "must be a number of seconds above 0, up to" in str(error)


@pytest.mark.parametrize("value", [*NO_TIME, 0], ids=repr)
@pytest.mark.parametrize("option", OPTIONAL_SECONDS)
def test_optional_seconds_are_a_number_above_zero_or_none(option: str, value: Any) -> None:
    error = refused(lambda: Database(MEMORY, **{option: value}), option=option, place="Database()")

    assert LIMITS_OF_OPTIONAL_SECONDS in str(error)
    none: dict[str, Any] = {option: None}
    assert getattr(Database(MEMORY, **none).options, option) is None


@pytest.mark.parametrize("value", NO_TIME, ids=repr)
def test_ping_after_may_be_zero_but_not_less(value: Any) -> None:
    error = refused(
        lambda: Database(MEMORY, ping_after=value), option="ping_after", place="Database()"
    )

    assert "must be a number of seconds from 0 to 2147483, or None" in str(error)
    assert Database(MEMORY, ping_after=0).options.ping_after == 0.0


def test_a_rate_is_refused_in_the_words_of_a_rate() -> None:
    error = refused(
        lambda: Database(MEMORY, retries_per_second=-1),
        option="retries_per_second",
        place="Database()",
    )

    assert "number of seconds" not in str(error)


@pytest.mark.parametrize("value", [*NO_TIME, 0], ids=repr)
@pytest.mark.parametrize("shell", ["session", "attempts"])
def test_a_scopes_timeout_is_a_number_above_zero_or_none(
    db: Database, shell: str, value: Any
) -> None:
    open_it = getattr(db, shell)

    error = refused(lambda: open_it(timeout=value), option="timeout", place=f"db.{shell}()")

    assert LIMITS_OF_OPTIONAL_SECONDS in str(error)


@pytest.mark.parametrize("value", [10**400, 1e300, 1e10], ids=["int", "float", "317 years"])
@pytest.mark.parametrize("option", ["pool_timeout", "statement_timeout", "timeout"])
def test_more_seconds_than_clocks_can_count_are_refused_at_once(option: str, value: Any) -> None:
    """Later it would be the operating system, or a server, that refuses them."""
    refused(lambda: Database(MEMORY, **{option: value}), option=option, place="Database()")


# ---------------------------------------------------------------- numbers and words


@pytest.mark.parametrize(
    ("option", "least", "most"),
    [
        ("pool_size", 1, 10_000),
        ("reader_pool_size", 1, 10_000),
        ("max_waiting", 0, 1_000_000),
        ("retry_burst", 0, 1_000_000),
    ],
)
def test_whole_numbers_have_limits_that_the_error_names(option: str, least: int, most: int) -> None:
    for value in (least - 1, most + 1, 2.5, "3", True, math.nan):
        error = refused(
            lambda value=value: Database(MEMORY, **{option: value}),  # type: ignore[misc]
            option=option,
            place="Database()",
        )
        assert f"from {least} to {most}" in str(error)

    for limit in (least, most):
        given: dict[str, Any] = {option: limit}
        assert getattr(Database(MEMORY, **given).options, option) == limit


@pytest.mark.parametrize("option", ["hide_parameters", "echo", "foreign_keys"])
@pytest.mark.parametrize("value", [1, 0, "yes", None], ids=repr)
def test_flags_are_true_or_false_and_nothing_like_it(option: str, value: Any) -> None:
    error = refused(lambda: Database(MEMORY, **{option: value}), option=option, place="Database()")

    assert "must be True or False" in str(error)


@pytest.mark.parametrize(
    ("option", "value", "limits"),
    [
        ("journal_mode", "walrus", "wal, delete, truncate, persist, memory"),
        ("journal_mode", None, "wal, delete"),
        ("synchronous", "sometimes", "extra, full, normal, off"),
        ("synchronous", 1, "extra, full, normal, off"),
        ("poolclass", "QueuePool", "subclass of sqlalchemy.pool.Pool"),
        ("poolclass", int, "subclass of sqlalchemy.pool.Pool"),
        ("application_name", None, "1 to 63 characters"),
        ("application_name", "", "1 to 63 characters"),
        ("application_name", "x" * 64, "1 to 63 characters"),
        ("application_name", "a\nb", "printable"),
        ("application_name", "a\x00b", "printable"),
        ("name", 5, "1 to 63 characters"),
        ("name", "x" * 64, "1 to 63 characters"),
        ("scope", {"readonly": True}, "must be a ScopeOptions"),
        ("engine_options", {"pool_size": 5}, "is an option of its own"),
        ("engine_options", {"poolclass": None}, "is an option of its own"),
        ("engine_options", {"isolation_level": "AUTOCOMMIT"}, "AUTOCOMMIT"),
        ("engine_options", {"execution_options": {"isolation_level": "autocommit"}}, "AUTOCOMMIT"),
        ("session_options", {"expire_on_commit": True}, "is an option of its own"),
        ("session_options", {"bind": None}, "is an option of its own"),
    ],
)
def test_a_value_that_an_option_does_not_take_is_refused_with_what_it_takes(
    option: str, value: Any, limits: str
) -> None:
    error = refused(lambda: Database(MEMORY, **{option: value}), option=option, place="Database()")

    assert limits in str(error)


@pytest.mark.parametrize("value", [CANARY, [CANARY], {1: CANARY}], ids=["text", "list", "key"])
@pytest.mark.parametrize("option", ["connect_args", "engine_options", "session_options"])
def test_a_mapping_that_is_none_is_not_repeated(option: str, value: Any) -> None:
    """What should have been connect_args may hold a password."""
    error = refused(lambda: Database(MEMORY, **{option: value}), option=option, place="Database()")

    assert "must be a mapping with string keys" in str(error)
    assert CANARY not in str(error)
    assert CANARY not in repr(error)


# ---------------------------------------------------------------- propagation, isolation, and so on


@pytest.mark.parametrize("value", ["requiered", "", None, 1, "REQUIRED "], ids=repr)
def test_an_unknown_propagation_is_refused_with_the_seven(db: Database, value: Any) -> None:
    error = refused(
        lambda: db.session(propagation=value), option="propagation", place="db.session()"
    )

    for known in ("required", "requires_new", "nested", "mandatory", "supports", "never"):
        assert known in str(error)
    assert "not_supported" in str(error)


@pytest.mark.parametrize("value", ["snapshot", "", 3, b"SERIALIZABLE", "AUTOCOMMIT"], ids=repr)
def test_an_unknown_isolation_is_refused_with_the_four(db: Database, value: Any) -> None:
    error = refused(lambda: db.session(isolation=value), option="isolation", place="db.session()")

    for known in ("READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"):
        assert known in str(error)


@pytest.mark.parametrize("level", ["repeatable_read", "REPEATABLE READ", "Repeatable-Read"])
def test_a_level_may_be_written_in_any_way_people_write_it(level: str) -> None:
    db = Database("postgresql+psycopg://nobody@localhost/x", isolation=level)

    assert db.options.scope.isolation == "REPEATABLE READ"


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "READ UNCOMMITTED"])
def test_a_level_that_the_database_lacks_is_refused_at_once(db: Database, level: str) -> None:
    error = refused(lambda: db.session(isolation=level), option="isolation", place="db.session()")
    assert "sqlite lacks; it has SERIALIZABLE" in str(error)

    refused(lambda: Database(MEMORY, isolation=level), option="isolation", place="Database()")


@pytest.mark.parametrize("value", [1, 0, "yes", "false"], ids=repr)
def test_readonly_is_true_false_or_none(db: Database, value: Any) -> None:
    error = refused(lambda: db.session(readonly=value), option="readonly", place="db.session()")

    assert "must be True, False or None" in str(error)


@pytest.mark.parametrize("value", [0, -1, 1001, 2.5, "3", True, math.nan], ids=repr)
def test_retry_is_a_number_of_attempts_or_a_policy(db: Database, value: Any) -> None:
    refused(lambda: db.session(retry=value), option="retry", place="db.session()")


@pytest.mark.parametrize("value", ["", "x" * 64, 7, "a\tb"], ids=repr)
def test_the_name_of_a_scope_is_short_and_printable(db: Database, value: Any) -> None:
    refused(lambda: db.session(name=value), option="name", place="db.session()")


@pytest.mark.parametrize(
    "value",
    [ValueError("x"), "ValueError", int, BaseException, KeyboardInterrupt, (ValueError, 1), None],
    ids=repr,
)
def test_commit_on_takes_subclasses_of_exception(db: Database, value: Any) -> None:
    error = refused(lambda: db.session(commit_on=value), option="commit_on", place="db.session()")

    assert "must be a subclass of Exception, or a tuple of them" in str(error)


@pytest.mark.parametrize(
    ("option", "value", "limits"),
    [
        ("attempts", 0, "from 1 to 1000"),
        ("attempts", 1001, "from 1 to 1000"),
        ("attempts", 2.5, "from 1 to 1000"),
        ("attempts", True, "from 1 to 1000"),
        ("within", 0, "above 0, up to 2147483, or None"),
        ("within", math.nan, "above 0, up to 2147483, or None"),
        ("base", -0.1, "from 0 to 2147483"),
        ("base", math.inf, "from 0 to 2147483"),
        ("cap", "2", "from 0 to 2147483"),
        ("on", FaultKind.DEADLOCK, "set of FaultKind"),
        ("on", {"deadlock"}, "set of FaultKind"),
        ("on", None, "set of FaultKind"),
        ("on", 5, "set of FaultKind"),
        ("when", "always", "callable"),
    ],
)
def test_a_retry_policy_checks_its_values(option: str, value: Any, limits: str) -> None:
    given: dict[str, Any] = {option: value}

    error = refused(lambda: Retry(**given), option=option, place="Retry")

    assert limits in str(error)
