"""Options from outside the program: environment variables and TOML files."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from .errors import ConfigurationError, InvalidOption, InvalidURL
from .options import DatabaseOptions, Retry, ScopeOptions

# ``None`` for the process's own
Environ: TypeAlias = Mapping[str, str] | None

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
# what a string cannot express
_NOT_FROM_TEXT = frozenset(
    {"poolclass", "connect_args", "engine_options", "session_options", "scope", "commit_on"}
    | {"budget", "credentials", "after", "tenant", "tenants"}
)
# what hermetic reads from the environment besides, in other places
_NO_OPTIONS = frozenset(
    {"HERMETIC_GROUP", "HERMETIC_DISABLE_FAST", "HERMETIC_NEARBY", "HERMETIC_SERVICE"}
    | {"HERMETIC_DISABLE_COMPILED", "HERMETIC_REQUIRE_COMPILED"}
)


def options_from_environment(prefix: str, environ: Environ) -> tuple[str, dict[str, Any]]:
    """The URL and the options that environment variables with this prefix give.

    :raises InvalidURL: neither ``{prefix}URL`` nor ``DATABASE_URL`` is set.
    :raises InvalidOption: a variable is unknown, or its text does not fit its option.
    """
    variables = os.environ if environ is None else environ
    url = variables.get(f"{prefix}URL") or variables.get("DATABASE_URL")
    if not url:
        raise InvalidURL(
            f"Neither {prefix}URL nor DATABASE_URL is set.",
            hint="Set one to scheme://user:password@host:port/database.",
        )
    found = {}
    for variable, content in variables.items():
        option = variable[len(prefix) :].lower()
        if not variable.startswith(prefix) or option == "url" or variable in _NO_OPTIONS:
            continue
        place = f"environment variable {variable}"
        found[option] = _from_text(option, content, place=place)
        # checked one by one, so that the error names the variable
        DatabaseOptions.build({option: found[option]}, place=place)
    return url, found


def options_from_toml(path: Path, table: str) -> tuple[str, dict[str, Any], str]:
    """The URL and the options in a table of a TOML file, and a name for the place.

    :raises ConfigurationError: the file cannot be read, or has no such table.
    """
    found, place = table_from_toml(path, table)
    url = found.pop("url", None)
    if not isinstance(url, str):
        raise InvalidURL(f"{place} has no url.", hint='Add: url = "postgresql://…"')
    if isinstance(found.get("retry"), dict):
        found["retry"] = _retry(found["retry"], place)
    return url, found, place


def table_from_toml(path: Path, table: str) -> tuple[dict[str, Any], str]:
    """A table of a TOML file, and a name for the place.

    :raises ConfigurationError: the file cannot be read, or has no such table.
    """
    place = f"{path} [{table}]"
    try:
        with path.open("rb") as file:
            content: Any = tomllib.load(file)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}.",
            hint="A relative path begins in the folder where the program was started.",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path} is not TOML: {error}.", hint="Mend that line; texts are in quotes."
        ) from error
    for name in table.split("."):
        content = content.get(name) if isinstance(content, dict) else None
    if not isinstance(content, dict):
        raise ConfigurationError(
            f"{path} has no table [{table}].", hint="Add it, or name the one that is meant."
        )
    return dict(content), place


def _retry(values: dict[str, Any], place: str) -> Retry:
    try:
        return Retry(**values)
    except InvalidOption as error:
        # the constructor does not know which file its values came from
        problem = error.message.partition(f"={error.value!r} ")[2].rstrip(".")
        raise InvalidOption(f"retry.{error.option}", error.value, problem, place=place) from None
    except TypeError:
        known = "attempts, within, base, cap"
        raise InvalidOption("retry", values, f"may have {known}", place=place) from None


def _from_text(option: str, text: str, *, place: str) -> Any:
    """A value of the type that the option's default, or its declared type, asks for."""
    fields = {**DatabaseOptions.__dataclass_fields__, **ScopeOptions.__dataclass_fields__}
    field = fields.get(option)
    if field is None or option in _NOT_FROM_TEXT:
        # the value stays out: a misspelt variable may hold a password
        raise InvalidOption(option, ..., "is not an option that a variable can set", place=place)
    declared = str(field.type)
    if "None" in declared and text.strip().lower() in ("", "none"):
        return None
    try:
        if "bool" in declared:
            return _flag(text)
        if "float" in declared:
            return float(text)
        if "int" in declared or option == "retry":
            return int(text)
    except ValueError:
        wanted = "a number" if "bool" not in declared else "true or false"
        raise InvalidOption(option, text, f"must be {wanted}", place=place) from None
    return text


def _flag(text: str) -> bool:
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(text)
