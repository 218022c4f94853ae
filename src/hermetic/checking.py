"""Checks of single values, on behalf of the place that they were given in."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import InvalidOption

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")

# seconds; what a server that counts milliseconds in 32 bits can still hold, about 24 days
LONGEST = 2_147_483


@dataclass(frozen=True)
class Checker:
    """Checks single values on behalf of one place, which every refusal names."""

    place: str

    def refuse(self, option: str, value: object, problem: str, hint: str = "") -> InvalidOption:
        return InvalidOption(option, value, problem, place=self.place, hint=hint)

    def unknown(self, option: str, owner: str, known: str) -> InvalidOption:
        # a misspelt option may hold a secret: its value is not shown
        problem = f"is not an option of {owner}"
        return InvalidOption(option, ..., problem, place=self.place, hint=f"Known: {known}.")

    def seconds(
        self, option: str, value: object, *, optional: bool = False, zero: bool = False
    ) -> float | None:
        if value is None and optional:
            return None
        limits = (
            f"must be a number of seconds from 0 to {LONGEST}"
            if zero
            else f"must be a number of seconds above 0, up to {LONGEST}"
        )
        if optional:
            limits += ", or None"
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.refuse(option, value, limits)
        # comparisons are exact for any int; NaN fails the first
        if not 0 <= value <= LONGEST or (value == 0 and not zero):
            raise self.refuse(option, value, limits)
        return float(value)

    def rate(self, option: str, value: object) -> float:
        limits = "must be a number above 0, of things per second"
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.refuse(option, value, limits)
        if not 0 < value <= LONGEST:
            raise self.refuse(option, value, limits)
        return float(value)

    def whole(
        self, option: str, value: object, *, at_least: int, at_most: int, optional: bool = False
    ) -> int | None:
        if value is None and optional:
            return None
        limits = f"must be a whole number from {at_least} to {at_most}"
        if optional:
            limits += ", or None"
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.refuse(option, value, limits)
        if not at_least <= value <= at_most:
            raise self.refuse(option, value, limits)
        return value

    def flag(self, option: str, value: object, *, optional: bool = False) -> bool | None:
        if value is None and optional:
            return None
        if not isinstance(value, bool):
            allowed = "True, False or None" if optional else "True or False"
            raise self.refuse(option, value, f"must be {allowed}")
        return value

    def text(self, option: str, value: object, *, longest: int = 63) -> str:
        if not isinstance(value, str) or not value or len(value) > longest:
            raise self.refuse(option, value, f"must be a string of 1 to {longest} characters")
        if not value.isprintable():
            raise self.refuse(option, value, "must be printable")
        return value

    def ascii(self, option: str, value: object) -> str:
        text = self.text(option, value)
        if not text.isascii():
            # the server would put question marks in their place
            raise self.refuse(option, value, "must be of ASCII characters alone")
        return text

    def identifier(self, option: str, value: object) -> str:
        """A name that needs no quotes in any database, is not cut off, and is not the server's."""
        if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
            limits = "must be 1 to 63 ASCII letters, digits and underscores, no digit first"
            raise self.refuse(option, value, limits)
        if value.lower().startswith("pg_"):
            raise self.refuse(option, value, "must not begin with pg_, which is PostgreSQL's own")
        return value

    def exceptions(self, option: str, value: object) -> tuple[type[BaseException], ...]:
        given = value if isinstance(value, tuple) else (value,)
        for each in given:
            if not (isinstance(each, type) and issubclass(each, Exception)):
                raise self.refuse(
                    option, value, "must be a subclass of Exception, or a tuple of them"
                )
        return given
