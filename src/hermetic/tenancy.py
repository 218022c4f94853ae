"""Tenants, as an option of a Database: who is one, and where the rows of each are."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from .checking import Checker
from .errors import TenantRequired, UnknownTenant

# what needs no escape in a string, a quoted identifier, a file's name or a URL
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}")
# PostgreSQL's own settings have no dot in their names
_SETTING = re.compile(r"[a-z_][a-z0-9_]{0,30}\.[a-z_][a-z0-9_]{0,30}")
_TENANT = "{tenant}"
# scopes without a tenant have the first, and every database has the other
_EVERYBODYS = frozenset({"public", "information_schema"})


class _Nobody(enum.Enum):
    NO_TENANT = "no tenant"

    def __repr__(self) -> str:
        return self.name


NO_TENANT: Final = _Nobody.NO_TENANT
"""``tenant=NO_TENANT``: a scope for what belongs to nobody, where a tenant is required."""


@dataclass(frozen=True, kw_only=True)
class Tenants:
    """What all ways to keep tenants apart have in common; use one of its subclasses.

    A tenant's name is 1 to 63 ASCII letters, digits, ``_`` and ``-``, whatever the database.

    :param known: the names there are, or a function that tells of a name whether it is one. Default
        ``None``: every name that could be one.
    :param current: a function that gives the tenant of a scope that names none, as that of a
        request, or ``None``. A scope inside another has that one's. Default ``None``.
    :param required: whether a scope without a tenant is refused, unless it says
        ``tenant=NO_TENANT``. Default ``True``.
    """

    known: Callable[[str], bool] | Collection[str] | None = None
    current: Callable[[], str | None] | None = None
    required: bool = True

    def __post_init__(self) -> None:
        check = Checker(f"{type(self).__name__}()")
        known: object = self.known
        if isinstance(known, str) or not (
            known is None or callable(known) or isinstance(known, Collection)
        ):
            raise check.refuse("known", type(known), "must be names, or a function of a name")
        if self.current is not None and not callable(self.current):
            raise check.refuse("current", type(self.current), "must be callable, or None")
        check.flag("required", self.required)
        self._check(check)

    def _check(self, check: Checker) -> None:
        """Refuse what the strategy's own options may not be."""

    def chosen(self, given: object) -> str | None:
        """The tenant of an outermost scope.

        :param given: what the scope says; ``None`` for nothing.
        :raises UnknownTenant: nobody has this name.
        :raises TenantRequired: there is none, and there has to be one.
        """
        if given is NO_TENANT:
            return None
        if given is None and self.current is not None:
            given = self.current()
        if given is not None:
            return self.checked(given)
        if self.required:
            raise TenantRequired(
                "The scope has no tenant.",
                hint="Open it with tenant=…, or with tenant=NO_TENANT for what belongs to nobody.",
            )
        return None

    def checked(self, name: object) -> str:
        """:raises UnknownTenant: nobody has this name."""
        if isinstance(name, str) and _NAME.fullmatch(name) and self._is_known(name):
            return name
        raise UnknownTenant(
            f"There is no tenant {name!r:.80}.",
            tenant=name if isinstance(name, str) else repr(name),
            hint="A name is 1 to 63 letters, digits, '_' and '-'"
            + ("." if self.known is None else ", and one of those that the Database was given."),
        )

    def _is_known(self, name: str) -> bool:
        if self.known is None:
            return True
        return self.known(name) if callable(self.known) else name in self.known


@dataclass(frozen=True, kw_only=True)
class SchemaPerTenant(Tenants):
    """Each tenant's tables are in a schema of its own. PostgreSQL.

    The scope's ``search_path`` is that schema and the shared ones, set for its transaction alone:
    mapped tables without a schema and names in SQL strings are the tenant's.

    :param schema: the schema's name, with ``{tenant}`` in it. Default ``"{tenant}"``.
    :param shared: schemas that are searched after it. Default none: what a tenant has no table for
        is an error, and not another's table.
    """

    schema: str = _TENANT
    shared: tuple[str, ...] = ()

    def _check(self, check: Checker) -> None:
        schema: object = self.schema
        if not isinstance(schema, str) or _TENANT not in schema:
            raise check.refuse("schema", schema, "must be a string with {tenant} in it")
        if not _NAME.fullmatch(self.schema.replace(_TENANT, "t")):
            limits = "must have nothing but letters, digits, '_' and '-' around {tenant}"
            raise check.refuse("schema", self.schema, limits)
        shared: object = self.shared
        if not isinstance(shared, tuple):
            raise check.refuse("shared", shared, "must be a tuple of schemas")
        for each in shared:
            check.identifier("shared", each)

    def checked(self, name: object) -> str:
        tenant = super().checked(name)
        schema = self.schema_of(tenant)
        taken = schema in self.shared or schema in _EVERYBODYS
        if taken or len(schema) > 63 or schema.lower().startswith("pg_"):
            raise UnknownTenant(
                f"There is no tenant {tenant!r}: {schema!r:.80} can be no schema of its own.",
                tenant=tenant,
                hint="A schema has 63 characters at most, does not begin with pg_, and is none that"
                " others have, too.",
            )
        return tenant

    def schema_of(self, tenant: str) -> str:
        return self.schema.replace(_TENANT, tenant)


@dataclass(frozen=True, kw_only=True)
class RowSecurity(Tenants):
    """Everybody's rows are in the same tables, and the server shows each tenant its own: row-level
    security by a setting of the transaction. PostgreSQL.

    ``hermetic.tenants.protect(table)`` makes the policies. A connection whose role they do not bind
    (a superuser, one with BYPASSRLS) is refused.

    :param setting: what the policies look at, with a dot in it. Default ``"app.tenant"``.
    """

    setting: str = "app.tenant"

    def _check(self, check: Checker) -> None:
        setting: object = self.setting
        if not isinstance(setting, str) or not _SETTING.fullmatch(setting):
            raise check.refuse("setting", setting, "must be two lower-case names and a dot")


@dataclass(frozen=True, kw_only=True)
class DatabasePerTenant(Tenants):
    """Each tenant has a database of its own, with pools that are made when they are needed.

    The Database's own URL is that of scopes without a tenant.

    :param url: the URL of a tenant's database, with ``{tenant}`` in it, or a function of the name.
    :param open_at_once: tenants that have pools at once; beyond that the one that was unused for
        longest is closed, if nobody is in it. 1 to 10000, default 100.
    :param connections: what all of them may have, lent and idle: idle ones of tenants that were
        unused for longest are closed for it. 1 to 10000, default 20.
    """

    url: str | URL | Callable[[str], str | URL] = field(repr=False)
    open_at_once: int = 100
    connections: int = 20

    def _check(self, check: Checker) -> None:
        check.whole("open_at_once", self.open_at_once, at_least=1, at_most=10_000)
        check.whole("connections", self.connections, at_least=1, at_most=10_000)
        if callable(self.url):
            return
        given: object = self.url
        text = given.render_as_string(hide_password=False) if isinstance(given, URL) else given
        if not isinstance(text, str) or _TENANT not in text.replace("%7B", "{").replace("%7D", "}"):
            # it may hold a password
            raise check.refuse("url", ..., "must be a URL with {tenant} in it, or a function")
        self.url_of("t")

    def url_of(self, tenant: str) -> URL:
        """:raises InvalidOption: it is none."""
        given: Any = self.url
        if callable(given):
            given = given(tenant)
        elif isinstance(given, URL):
            given = given.render_as_string(hide_password=False)
        if isinstance(given, str) and not callable(self.url):
            given = given.replace("%7B", "{").replace("%7D", "}").replace(_TENANT, tenant)
        try:
            return make_url(given)
        except (ArgumentError, ValueError, TypeError):
            raise Checker("DatabasePerTenant()").refuse("url", ..., "cannot be parsed") from None


def tenants(check: Checker, option: str, value: object) -> Tenants | None:
    strategies = (SchemaPerTenant, RowSecurity, DatabasePerTenant)
    if value is None or isinstance(value, strategies):
        return value
    limits = "must be a SchemaPerTenant, a RowSecurity, a DatabasePerTenant, or None"
    raise check.refuse(option, type(value), limits)


def tenant(check: Checker, value: object) -> object:
    if value is None or value is NO_TENANT or (isinstance(value, str) and _NAME.fullmatch(value)):
        return value
    limits = "must be 1 to 63 ASCII letters, digits, '_' and '-', or NO_TENANT, or None"
    raise check.refuse("tenant", value, limits)
