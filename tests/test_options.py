"""Options: what their docstrings promise, and where they come from."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from hermetic import (
    Database,
    DatabaseOptions,
    Isolation,
    Propagation,
    Retry,
    ScopeOptions,
    Watch,
)
from hermetic.keywords import DatabaseKeywords, ScopeKeywords
from hermetic.options import RETRYABLE_KINDS

RECORDS = [Retry, ScopeOptions, DatabaseOptions, Watch]
DEFAULTS = DatabaseOptions()


# ---------------------------------------------------------------- what docstrings promise


def described(record: type[Any]) -> dict[str, str]:
    """Each ``:param name: text`` of a docstring."""
    text = inspect.cleandoc(record.__doc__ or "")
    parts = re.split(r"^:param (\w+):", text, flags=re.MULTILINE)
    return {
        name: " ".join(words.split()) for name, words in zip(parts[1::2], parts[2::2], strict=True)
    }


def stated_default(words: str) -> tuple[Any] | None:
    """The default that a description states, in a tuple of one, or None where it states none."""
    if re.search(r"``None``, the default,|``None`` \(the default\)", words):
        return (None,)
    found = re.search(r"[Dd]efault:? (``[^`]+``|[\d.]*\d)", words)
    return None if found is None else (ast.literal_eval(found[1].strip("`")),)


@pytest.mark.parametrize("record", RECORDS)
def test_every_option_is_described_and_nothing_else_is(record: type[Any]) -> None:
    assert list(described(record)) == [field.name for field in dataclasses.fields(record)]


@pytest.mark.parametrize("record", RECORDS)
def test_a_default_is_what_its_description_says(record: type[Any]) -> None:
    compared = 0
    for name, words in described(record).items():
        stated = stated_default(words)
        if stated is not None:
            compared += 1
            default = getattr(record(), name)
            assert default == stated[0], name
            assert (default is None) == (stated[0] is None), name

    assert compared >= 4


SPOKEN = {"name", "on", "when", "commit_on", "connect_args", "engine_options", "session_options"}


def test_every_default_is_stated_but_for_those_that_words_describe() -> None:
    unstated = {
        name
        for record in RECORDS
        for name, words in described(record).items()
        if stated_default(words) is None
    }

    assert unstated <= SPOKEN | {"scope"}


@pytest.mark.parametrize(
    "name",
    [name for name, words in described(DatabaseOptions).items() if "second" in words.split(".")[0]],
)
def test_a_time_says_its_unit_first(name: str) -> None:
    assert described(DatabaseOptions)[name].startswith("seconds")


def test_every_time_says_that_it_is_seconds() -> None:
    times = [
        field.name
        for field in dataclasses.fields(DatabaseOptions)
        if "float" in str(field.type) and field.name != "retries_per_second"
    ]

    assert len(times) == 16
    assert all(described(DatabaseOptions)[name].startswith("seconds") for name in times)


# ---------------------------------------------------------------- frozen


@pytest.mark.parametrize("record", RECORDS)
def test_options_are_frozen(record: type[Any]) -> None:
    options = record()

    for field in dataclasses.fields(record):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(options, field.name, getattr(options, field.name))


@pytest.mark.parametrize("option", ["connect_args", "engine_options", "session_options"])
def test_mappings_are_copied_and_cannot_be_changed(option: str) -> None:
    given = {"a": 1}
    kept: Any = getattr(DatabaseOptions.build({option: given}, place="here"), option)

    given["a"] = 2

    assert kept == {"a": 1}
    with pytest.raises(TypeError):
        kept["a"] = 3


def test_the_faults_of_a_policy_are_copied_and_cannot_be_changed() -> None:
    given = set(RETRYABLE_KINDS)

    policy = Retry(on=given)  # type: ignore[arg-type]
    given.clear()

    assert policy.on == RETRYABLE_KINDS
    assert isinstance(policy.on, frozenset)


def test_options_can_be_compared() -> None:
    assert Retry(attempts=3) == Retry(attempts=3)
    assert hash(Retry()) == hash(Retry())
    assert ScopeOptions() == ScopeOptions()
    assert DatabaseOptions() == DatabaseOptions()


# ---------------------------------------------------------------- values become what they mean


@pytest.mark.parametrize(
    ("option", "given", "kept"),
    [
        ("propagation", "nested", Propagation.NESTED),
        ("propagation", Propagation.NEVER, Propagation.NEVER),
        ("isolation", "serializable", Isolation.SERIALIZABLE),
        ("isolation", None, None),
        ("readonly", True, True),
        ("timeout", 3, 3.0),
        ("retry", 3, Retry(attempts=3)),
        ("retry", False, None),
        ("retry", None, None),
        ("retry", Retry(cap=1), Retry(cap=1)),
        ("commit_on", ValueError, (ValueError,)),
        ("commit_on", (ValueError, KeyError), (ValueError, KeyError)),
        ("name", "transfer", "transfer"),
    ],
)
def test_a_scopes_option_is_kept_as_what_it_means(option: str, given: Any, kept: Any) -> None:
    options = ScopeOptions().updated({option: given}, place="here")

    assert getattr(options, option) == kept
    assert type(getattr(options, option)) is type(kept)
    untouched = {f.name for f in dataclasses.fields(options)} - {option}
    assert all(getattr(options, name) == getattr(ScopeOptions(), name) for name in untouched)


def test_a_databases_options_are_defaults_of_its_scopes() -> None:
    db = Database("sqlite://", retry=4, timeout=9, scope=ScopeOptions(readonly=True, timeout=1))

    assert db.options.scope == ScopeOptions(readonly=True, timeout=9.0, retry=Retry(attempts=4))
    unit = db.session(timeout=2)
    assert "readonly=True" in repr(unit)
    assert "timeout=2.0" in repr(unit)


# ---------------------------------------------------------------- the environment


FROM_TEXT: list[tuple[str, str, Any]] = [
    ("pool_size", "3", 3),
    ("reader_pool_size", "none", None),
    ("reader_pool_size", " 4 ", 4),
    ("pool_timeout", "2.5", 2.5),
    ("pool_timeout", "2", 2.0),
    ("max_waiting", "None", None),
    ("ping_after", "", None),
    ("ping_after", "0", 0.0),
    ("statement_timeout", "1e1", 10.0),
    ("pooler", "Transaction", "transaction"),
    ("resolve_commits", "Token", "token"),
    ("resolve_timeout", "3", 3.0),
    ("commit_table", "lost_answers", "lost_answers"),
    ("echo", "TRUE", True),
    ("echo", "off", False),
    ("foreign_keys", "0", False),
    ("hide_parameters", "Yes", True),
    ("put_off_begin", "no", False),
    ("journal_mode", "DELETE", "delete"),
    ("reset_connections", "Always", "always"),
    ("tls", "Off", "off"),
    ("synchronous", "Normal", "normal"),
    ("application_name", "shop", "shop"),
    ("name", "orders", "orders"),
    ("retries_per_second", "7", 7.0),
    ("retry_burst", "0", 0),
    ("pool_min", "2", 2),
    ("pool_idle", "none", None),
    ("keepalive", "30", 30.0),
    ("pool_reserve", "1", 1),
    ("shed_after", "0.5", 0.5),
    ("replicas", "", ()),
    ("zone", "here", "here"),
    ("replica_lag", "none", None),
    ("replica_wait", "0", 0.0),
    ("replica_fallback", "no", False),
    ("failover_wait", "0", 0.0),
    ("probe_every", "2", 2.0),
    ("watch", "on", Watch()),
    ("watch", "strict", Watch(strict=True)),
    ("watch", "off", None),
]
FROM_TEXT_OF_SCOPES: list[tuple[str, str, Any]] = [
    ("isolation", "serializable", Isolation.SERIALIZABLE),
    ("isolation", "none", None),
    ("propagation", "nested", Propagation.NESTED),
    ("priority", "yes", True),
    ("readonly", "yes", True),
    ("position", "yes", True),
    ("readonly", "no", False),
    ("readonly", "none", None),
    ("timeout", "2.5", 2.5),
    ("timeout", "none", None),
    ("retry", "3", Retry(attempts=3)),
    ("retry", "none", None),
]


@pytest.mark.parametrize(("option", "text", "value"), FROM_TEXT)
def test_a_variable_sets_an_option(option: str, text: str, value: Any) -> None:
    url = "postgresql://localhost/app" if option == "pooler" else "sqlite://"
    environ = {"HERMETIC_URL": url, f"HERMETIC_{option.upper()}": text}

    kept = getattr(Database.from_env(environ=environ).options, option)

    assert kept == value
    assert type(kept) is type(value)


@pytest.mark.parametrize(("option", "text", "value"), FROM_TEXT_OF_SCOPES)
def test_a_variable_sets_a_default_of_scopes(option: str, text: str, value: Any) -> None:
    environ = {"HERMETIC_URL": "sqlite://", f"HERMETIC_{option.upper()}": text}

    assert getattr(Database.from_env(environ=environ).options.scope, option) == value


def test_every_option_that_text_can_express_has_a_variable() -> None:
    fields = {
        *(field.name for field in dataclasses.fields(DatabaseOptions)),
        *(field.name for field in dataclasses.fields(ScopeOptions)),
    }
    tested = {option for option, _, _ in [*FROM_TEXT, *FROM_TEXT_OF_SCOPES]}
    inexpressible = {
        *("poolclass", "connect_args", "engine_options", "session_options", "scope", "commit_on"),
        *("budget", "cache", "credentials", "after", "tenant", "tenants"),
    }
    like_those = {
        *("pool_recycle", "connect_timeout", "lock_timeout"),
        *("idle_in_transaction_timeout", "cleanup_timeout"),
    }

    assert fields == tested | inexpressible | like_those
    for option in like_those:
        environ = {"HERMETIC_URL": "sqlite://", f"HERMETIC_{option.upper()}": "2"}
        assert getattr(Database.from_env(environ=environ).options, option) == 2.0


def test_variables_of_hermetic_that_are_no_options_are_left_alone() -> None:
    names = ("GROUP", "DISABLE_FAST", "DISABLE_COMPILED", "REQUIRE_COMPILED")
    environ = {"HERMETIC_URL": "sqlite://", **{f"HERMETIC_{name}": "0" for name in names}}

    with Database.from_env(environ=environ) as db:
        assert db.options.pool_size == 10


def test_an_environment_has_a_prefix_of_ones_own() -> None:
    environ = {"SHOP_URL": "sqlite:///shop.db", "SHOP_POOL_SIZE": "2", "HERMETIC_POOL_SIZE": "9"}

    db = Database.from_env("SHOP_", environ=environ)

    assert (db.name, db.options.pool_size) == ("shop.db", 2)


def test_the_usual_variable_for_a_url_is_the_second_choice() -> None:
    usual = {"DATABASE_URL": "sqlite:///usual.db"}

    assert Database.from_env(environ=usual).name == "usual.db"
    assert Database.from_env(environ={**usual, "HERMETIC_URL": "sqlite:///own.db"}).name == "own.db"


def test_the_process_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMETIC_TEST_URL", "sqlite:///from-process.db")

    assert Database.from_env("HERMETIC_TEST_").name == "from-process.db"


def test_keywords_win_over_variables() -> None:
    environ = {
        "HERMETIC_URL": "sqlite://",
        "HERMETIC_POOL_SIZE": "2",
        "HERMETIC_RETRY": "2",
        "HERMETIC_POOL_TIMEOUT": "3",
    }

    options = Database.from_env(environ=environ, pool_size=5, retry=6).options

    assert (options.pool_size, options.scope.retry) == (5, Retry(attempts=6))
    assert options.pool_timeout == 3.0


# ---------------------------------------------------------------- files


TOML = """
[hermetic]
url = "sqlite:///app.db"
pool_size = 3
pool_timeout = 2.5
connect_timeout = 4
echo = true
journal_mode = "delete"
isolation = "serializable"
readonly = true
timeout = 30
connect_args = { cached_statements = 10 }

[hermetic.retry]
attempts = 7
within = 3.5

[tool.shop.db]
url = "sqlite:///shop.db"
retry = 2
"""


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "app.toml"
    path.write_text(TOML)
    return path


def test_a_file_sets_every_kind_of_option(toml: Path) -> None:
    options = Database.from_toml(toml).options

    assert (options.pool_size, options.pool_timeout, options.connect_timeout) == (3, 2.5, 4.0)
    assert (options.echo, options.journal_mode) == (True, "delete")
    assert options.connect_args == {"cached_statements": 10}
    assert options.scope == ScopeOptions(
        isolation=Isolation.SERIALIZABLE,
        readonly=True,
        timeout=30.0,
        retry=Retry(attempts=7, within=3.5),
    )


@pytest.mark.parametrize("kind", [str, Path])
def test_a_table_may_be_deep_in_a_file(toml: Path, kind: Any) -> None:
    db = Database.from_toml(kind(toml), "tool.shop.db")

    assert db.name == "shop.db"
    assert db.options.scope.retry == Retry(attempts=2)


def test_keywords_win_over_files(toml: Path) -> None:
    options = Database.from_toml(toml, pool_size=8, retry=None).options

    assert (options.pool_size, options.scope.retry) == (8, None)
    assert options.pool_timeout == 2.5


# ---------------------------------------------------------------- as type checkers see them


def test_every_option_is_a_keyword_that_type_checkers_know() -> None:
    of_a_scope = {field.name for field in dataclasses.fields(ScopeOptions)}
    of_a_database = {field.name for field in dataclasses.fields(DatabaseOptions)}

    assert set(ScopeKeywords.__annotations__) == of_a_scope
    assert set(DatabaseKeywords.__annotations__) == of_a_database | of_a_scope
