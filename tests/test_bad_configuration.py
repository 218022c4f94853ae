"""What is wrong in an environment or a file is refused with the variable, or file and table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hermetic import ConfigurationError, Database, InvalidOption, InvalidURL

MEMORY = "sqlite://"
CANARY = "s3cr3t-canary"


def refused(action: Callable[[], object], *, option: str, place: str) -> InvalidOption:
    with pytest.raises(InvalidOption) as caught:
        action()
    error = caught.value
    assert isinstance(error, ValueError)
    assert error.option == option
    assert error.place == place
    assert str(error).startswith(f"{place}: {option}")
    return error


def test_a_wrong_variable_is_named() -> None:
    environ = {"HERMETIC_URL": MEMORY, "HERMETIC_POOL_SIZE": "many"}

    error = refused(
        lambda: Database.from_env(environ=environ),
        option="pool_size",
        place="environment variable HERMETIC_POOL_SIZE",
    )

    assert error.value == "many"
    assert "must be a number" in str(error)


def test_a_variable_outside_its_limits_is_named() -> None:
    environ = {"APP_URL": MEMORY, "APP_POOL_SIZE": "0"}

    with pytest.raises(InvalidOption, match="from 1 to 10000") as caught:
        Database.from_env("APP_", environ=environ)

    assert "APP_POOL_SIZE" in caught.value.place


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("PASSWORD", CANARY),
        ("CONNECT_ARGS", f'{{"password": "{CANARY}"}}'),
        ("COMMIT_ON", "ValueError"),
        ("POOLCLASS", "QueuePool"),
        ("SCOPE", "x"),
    ],
)
def test_a_variable_that_sets_nothing_is_refused_without_its_value(
    variable: str, text: str
) -> None:
    environ = {"HERMETIC_URL": MEMORY, f"HERMETIC_{variable}": text}

    error = refused(
        lambda: Database.from_env(environ=environ),
        option=variable.lower(),
        place=f"environment variable HERMETIC_{variable}",
    )

    assert text not in str(error)


def test_an_environment_without_a_url_is_refused_with_both_names() -> None:
    with pytest.raises(InvalidURL, match=r"Neither HERMETIC_URL nor DATABASE_URL is set"):
        Database.from_env(environ={"HERMETIC_POOL_SIZE": "3"})


def test_a_wrong_key_in_a_file_is_named_with_file_and_table(tmp_path: Path) -> None:
    path = tmp_path / "app.toml"
    path.write_text('[db]\nurl = "sqlite://"\npool_size = "big"\n')

    error = refused(
        lambda: Database.from_toml(path, "db"), option="pool_size", place=f"{path} [db]"
    )

    assert "from 1 to 10000" in str(error)


def test_an_unknown_key_in_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "app.toml"
    path.write_text('[hermetic]\nurl = "sqlite://"\npoolsize = 5\n')

    refused(lambda: Database.from_toml(path), option="poolsize", place=f"{path} [hermetic]")


@pytest.mark.parametrize(
    ("retry", "problem"),
    [
        ("{ tries = 3 }", "attempts, within, base, cap"),
        ("{ attempts = 0 }", "from 1 to 1000"),
        ('{ within = "long" }', "number of seconds"),
        ('"often"', "number of attempts"),
        ("true", "number of attempts"),
    ],
)
def test_a_wrong_policy_in_a_file_is_named_with_the_file(
    tmp_path: Path, retry: str, problem: str
) -> None:
    path = tmp_path / "app.toml"
    path.write_text(f'[hermetic]\nurl = "sqlite://"\nretry = {retry}\n')

    with pytest.raises(InvalidOption, match=problem) as caught:
        Database.from_toml(path)

    assert str(path) in caught.value.place


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[other]\nurl = 1\n", r"has no table \[hermetic\]"),
        ("hermetic = 5\n", r"has no table \[hermetic\]"),
        ("[hermetic]\npool_size = 5\n", "has no url"),
        ("[hermetic]\nurl = 5\n", "has no url"),
        ("[hermetic\n", "is not TOML"),
    ],
)
def test_a_file_that_says_nothing_usable_is_named(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "app.toml"
    path.write_text(text)

    with pytest.raises(ConfigurationError, match=problem) as caught:
        Database.from_toml(path)

    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b'[hermetic]\nurl = "\xff"\n'])
def test_a_file_that_is_no_text_is_a_configuration_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "app.toml"
    path.write_bytes(content)

    with pytest.raises(ConfigurationError, match="is not TOML"):
        Database.from_toml(path)


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        Database.from_toml(tmp_path / "nothing.toml")


def test_a_wrong_keyword_beside_an_environment_is_a_wrong_keyword() -> None:
    refused(
        lambda: Database.from_env(environ={"HERMETIC_URL": MEMORY}, pool_size=0),
        option="pool_size",
        place="Database keywords",
    )
