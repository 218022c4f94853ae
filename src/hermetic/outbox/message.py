"""One message: what its sender gave, and what tells it from every other one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from ..errors import InvalidOption

LONGEST: Final = 200
_PLACE: Final = "outbox.put()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a relay gives to the function that sends.

    :param token: 32 hexadecimal digits, the same each time that the message is sent: whoever
        receives it knows by it whether it has come before.
    :param topic: what it is about; to a broker, where it goes.
    :param key: messages of one key are sent in the order in which they were committed.
    :param sequence: the message's number among those of its key, from 1, without gaps. ``None``
        where it has no key.
    :param payload: the content. It is in no repr: it may be anything.
    :param headers: what goes with it, for whoever transports it.
    :param created: when it was written, by the database's clock, in UTC.
    :param attempts: how often sending it has failed so far.
    """

    token: str
    topic: str
    key: str | None
    sequence: int | None
    payload: Any = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    created: datetime
    attempts: int = 0


def checked_topic(topic: str) -> str:
    return _checked("topic", topic)


def checked_key(key: str | None) -> str | None:
    """:raises InvalidOption: it is no key.

    MariaDB and MySQL take strings for equal that differ in spaces at their ends alone.
    """
    if key is None:
        return None
    if _checked("key", key) != key.rstrip():
        raise InvalidOption("key", key, "must not end in a space", place=_PLACE)
    return key


def checked_payload(payload: Any) -> Any:
    """A copy: what becomes of the original between now and the COMMIT is not sent.

    :raises InvalidOption: JSON has no form for it.
    """
    try:
        return json.loads(json.dumps(payload, allow_nan=False))
    except (TypeError, ValueError) as error:
        problem = f"is nothing that JSON can hold ({error})"
        raise InvalidOption("payload", ..., problem, place=_PLACE) from None


def checked_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """:raises InvalidOption: they are not strings."""
    found = dict(headers or {})
    if not all(isinstance(each, str) for pair in found.items() for each in pair):
        raise InvalidOption("headers", ..., "must be strings by strings", place=_PLACE)
    return found


def checked_delay(delay: float) -> float:
    """:raises InvalidOption: it is no time to wait."""
    if not 0 <= delay < 1e9:
        raise InvalidOption("delay", delay, "must be seconds, 0 or more", place=_PLACE)
    return delay


def _checked(option: str, value: Any) -> str:
    if not isinstance(value, str) or not value or len(value) > LONGEST or "\0" in value:
        problem = f"must be a string of 1 to {LONGEST} characters"
        raise InvalidOption(option, value, problem, place=_PLACE)
    return str(value)
