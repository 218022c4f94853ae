"""A replica, as an option: where it is, and how much of the reading it gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from .checking import Checker
from .redaction import redacted

_HEAVIEST = 1000


@dataclass(frozen=True)
class Replica:
    """A server that follows the primary, for read-only scopes.

    :param url: as the Database's, of the same family and driver.
    :param weight: how many scopes it gets, beside those of others. Above 0, up to 1000, default 1.
    :param zone: where it is; scopes of a Database with the same ``zone`` go there first. Default
        ``None``.
    """

    url: str | URL = field(repr=False)
    weight: float = 1.0
    zone: str | None = None

    def __post_init__(self) -> None:
        check = Checker("Replica()")
        try:
            object.__setattr__(self, "url", make_url(self.url))
        except (ArgumentError, ValueError, TypeError):
            # it may hold a password in a place nobody expected
            raise check.refuse("url", ..., "cannot be parsed") from None
        if check.rate("weight", self.weight) > _HEAVIEST:
            raise check.refuse("weight", self.weight, f"must be at most {_HEAVIEST}")
        if self.zone is not None:
            check.text("zone", self.zone)

    def __repr__(self) -> str:
        assert isinstance(self.url, URL)
        return f"Replica({redacted(self.url)!r}, weight={self.weight:g}, zone={self.zone!r})"


def replicas(check: Checker, option: str, value: Any) -> tuple[Replica, ...]:
    limits = "must be a list of URLs and Replicas"
    if isinstance(value, str):
        value = value.split()
    if not isinstance(value, (list, tuple)):
        raise check.refuse(option, type(value), limits)
    found = []
    for each in value:
        if isinstance(each, Replica):
            found.append(each)
        elif isinstance(each, (str, URL)):
            found.append(Replica(each))
        elif isinstance(each, Mapping) and {"url"} <= set(each) <= {"url", "weight", "zone"}:
            found.append(Replica(**each))
        else:
            raise check.refuse(option, type(each), limits)
    urls = [replica.url for replica in found]
    if len(set(urls)) < len(urls):
        raise check.refuse(option, ..., "names a server twice")
    return tuple(found)
