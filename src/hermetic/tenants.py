"""Making room for tenants: their schemas, their tables, and the policies that keep rows apart."""

from __future__ import annotations

from typing import Any

from sqlalchemy import DDL, Connection, MetaData, Table, event

from .database import Database
from .dialects.drivers import family_of
from .errors import ConfigurationError, InvalidOption
from .tenancy import DatabasePerTenant, RowSecurity, SchemaPerTenant


def create_tenant(db: Database, tenant: str, metadata: MetaData) -> None:
    """Make a tenant's schema, and the tables in it that are missing; or those of its database.

    A database itself is not made, a SQLite file is. It may be called again.

    :raises UnknownTenant: nobody has this name.
    :raises ConfigurationError: all tenants are in the same tables.
    """
    tenants, name = _checked(db, tenant)
    if isinstance(tenants, DatabasePerTenant):
        assert db.tenant_servers is not None
        with db.tenant_servers.held(name) as server:
            metadata.create_all(server.engine(reader=False))
        return
    with db.engine.begin() as connection:
        _create_schema(connection, tenants.schema_of(name), metadata)


async def acreate_tenant(db: Database, tenant: str, metadata: MetaData) -> None:
    """As ``create_tenant``, under asyncio."""
    tenants, name = _checked(db, tenant)
    if isinstance(tenants, DatabasePerTenant):
        assert db.tenant_servers is not None
        with db.tenant_servers.held(name) as server:
            async with server.async_engine(reader=False).begin() as connection:
                await connection.run_sync(metadata.create_all)
        return
    async with db.async_engine.begin() as connection:
        await connection.run_sync(_create_schema, tenants.schema_of(name), metadata)


def _checked(db: Database, tenant: str) -> tuple[SchemaPerTenant | DatabasePerTenant, str]:
    tenants = db.tenants
    if not isinstance(tenants, (SchemaPerTenant, DatabasePerTenant)):
        raise ConfigurationError(
            f"Database {db.name!r} has no room of its own for a tenant.",
            hint="There is nothing to be made where all tenants are in the same tables.",
        )
    return tenants, tenants.checked(tenant)


def _create_schema(connection: Connection, schema: str, metadata: MetaData) -> None:
    connection.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    # alone: a table of the same name in a shared schema would be taken for this one
    connection.exec_driver_sql(f"SELECT set_config('search_path', '\"{schema}\"', true)")
    metadata.create_all(connection)


def protect(table: Table, column: str = "tenant", *, tenants: RowSecurity | None = None) -> None:
    """Have a table made with a policy, so that each tenant sees and writes its own rows alone.

    It works where the table is created: ``metadata.create_all``, on PostgreSQL. The owner of the
    table is bound too. A row that is inserted without a tenant gets the scope's.

    :param column: the table's column with the tenant's name; it is of a text type.
    :param tenants: that of the Database, where its ``setting`` is another than the default.
    :raises InvalidOption: the table has no such column.
    """
    if column not in table.c:
        raise InvalidOption("column", column, f"is no column of {table.name}", place="protect()")
    for statement in policies(table, column, tenants=tenants):
        make: Any = DDL
        ddl = make(statement).execute_if(callable_=_has_policies)
        event.listen(table, "after_create", ddl)


def _has_policies(ddl: Any, target: Any, bind: Connection, **more: Any) -> bool:
    return family_of(bind.engine.url).has_tenants


def policies(
    table: Table, column: str = "tenant", *, tenants: RowSecurity | None = None
) -> list[str]:
    """The statements that ``protect`` has executed, for migrations."""
    setting = (tenants or RowSecurity()).setting
    name, quoted = _quoted(table.name), _quoted(column)
    if table.schema is not None:
        name = f"{_quoted(table.schema)}.{name}"
    # '' is what PostgreSQL leaves of a setting behind the transaction that had it
    whose = f"nullif(current_setting('{setting}', true), '')"
    return [
        f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY",
        f"ALTER TABLE {name} ALTER COLUMN {quoted} SET DEFAULT {whose}",
        # what holds of a row that is read holds of one that is written
        f"CREATE POLICY hermetic_tenant ON {name} USING ({quoted} = {whose})",
    ]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""').replace("%", "%%") + '"'
