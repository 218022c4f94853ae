"""The options of scopes and Databases as keywords, for type checkers and editors.

What they mean is said by ScopeOptions and DatabaseOptions, which check the values. A test holds
that each of their fields is here.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict

from sqlalchemy import URL
from sqlalchemy.pool import Pool

from .budget import Budget
from .options import Isolation, Propagation, Retry, ScopeOptions
from .replica import Replica
from .seen import Watch
from .tenancy import Tenants

# the four levels, in any case, with spaces or underscores: more forms than a Literal could list
IsolationLevel: TypeAlias = Isolation | str
PropagationWord: TypeAlias = (
    Propagation
    | Literal["required", "requires_new", "nested", "mandatory"]
    | Literal["supports", "not_supported", "never"]
)


class ScopeKeywords(TypedDict, total=False):
    """What ``db.session()`` and ``db.attempts()`` take: the fields of ScopeOptions."""

    propagation: PropagationWord
    isolation: IsolationLevel | None
    readonly: bool | None
    timeout: float | None
    retry: Retry | int | None
    name: str | None
    commit_on: type[BaseException] | Sequence[type[BaseException]]
    priority: bool
    after: str | None
    position: bool | None
    tenant: Any


class DatabaseKeywords(ScopeKeywords, total=False):
    """What a Database takes: the fields of DatabaseOptions, and defaults of its scopes."""

    pool_size: int
    reader_pool_size: int | None
    pool_timeout: float
    max_waiting: int | None
    pool_recycle: float
    pool_min: int
    pool_idle: float | None
    keepalive: float | None
    pool_reserve: int
    shed_after: float | None
    budget: Budget | None
    tenants: Tenants | None
    cache: Any
    credentials: Callable[[], Any] | None
    ping_after: float | None
    reset_connections: Literal["suspected", "always", "never"]
    poolclass: type[Pool] | None
    connect_timeout: float
    statement_timeout: float | None
    lock_timeout: float | None
    idle_in_transaction_timeout: float | None
    cleanup_timeout: float
    tls: str | Path | ssl.SSLContext | None
    application_name: str
    retries_per_second: float
    retry_burst: int
    put_off_begin: bool
    pooler: Literal["transaction"] | None
    resolve_commits: Literal["token", "status"] | None
    replicas: str | Sequence[str | URL | Replica | Mapping[str, Any]]
    zone: str | None
    replica_lag: float | None
    replica_wait: float
    replica_fallback: bool
    failover_wait: float
    probe_every: float
    resolve_timeout: float
    commit_table: str
    hide_parameters: bool
    echo: bool
    foreign_keys: bool
    journal_mode: Literal["wal", "delete", "truncate", "persist", "memory"]
    synchronous: Literal["extra", "full", "normal", "off"]
    connect_args: Mapping[str, Any]
    engine_options: Mapping[str, Any]
    session_options: Mapping[str, Any]
    watch: Watch | Literal["strict"] | bool | None
    scope: ScopeOptions
