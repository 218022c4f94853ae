"""The scopes that outboxes, relays and inboxes open for themselves."""

from __future__ import annotations

from typing import Any

from .. import NO_TENANT, Database


def scope_options(db: Database, name: str, **options: Any) -> dict[str, Any]:
    """Those of a scope that is nobody's: where a tenant is required, it says that there is none."""
    found: dict[str, Any] = {"name": name, **options}
    if db.tenants is not None:
        found["tenant"] = NO_TENANT
    return found
