"""A session of MariaDB or MySQL, set back to how it began, without connecting again.

``COM_RESET_CONNECTION`` (MariaDB 10.2.4, MySQL 5.7.3) rolls back, and takes with it variables of
the session and of the user, temporary tables, prepared statements, named locks, locked tables and
handlers. The database stays the one that was used last, and the character set becomes the server's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_RESET_CONNECTION = 0x1F


def reset(raw: Any, driver: str, wait: Callable[[Any], Any]) -> bool:
    """
    :param raw: the driver's connection.
    :param wait: gives the result of a driver's awaitable.
    :return: ``False`` where it cannot be done, or where something else is done to new connections.
    """
    if driver == "pymysql":
        return _reset_pymysql(raw)
    return driver == "asyncmy" and bool(wait(_reset_asyncmy(raw)))


def remember(raw: Any, arguments: dict[str, Any]) -> None:
    """Note on a connection of asyncmy, which tells nothing of it, how it began.

    :param arguments: of its making.
    """
    others = {"sql_mode", "init_command", "read_default_file"} & set(arguments)
    database = arguments.get("db") or arguments.get("database")
    charset = str(arguments.get("charset", ""))
    if database and charset.isidentifier() and not others:
        raw.hermetic_began = (database, charset)


def _reset_pymysql(raw: Any) -> bool:
    if not raw.db or raw.sql_mode is not None or raw.init_command is not None:
        return False
    raw._execute_command(_RESET_CONNECTION, b"")
    raw._read_ok_packet()
    raw.select_db(raw.db)
    raw.set_character_set(raw.charset, raw.collation)
    return True


async def _reset_asyncmy(raw: Any) -> bool:
    began = getattr(raw, "hermetic_began", None)
    if began is None:
        return False
    database, charset = began
    await raw._execute_command(_RESET_CONNECTION, b"")
    await raw._read_ok_packet()
    await raw.select_db(database)
    await raw.query(f"SET NAMES {charset}")  # asyncmy's own set_charset fails (0.2.18)
    return True
