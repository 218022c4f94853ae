"""What MariaDB and MySQL go on with when a client is gone, and how another client ends it.

A server looks for the end of its client when it is about to answer, and not while a statement
runs: one that was cancelled runs on, and keeps its locks (MariaDB 10.11). ``KILL`` takes a number.
Behind a proxy, or after a failover, that may be somebody else's; so may the port of a client. Both
together, on a server that is up for longer than the connection was, for the same user, are nobody
else's.
"""

from __future__ import annotations

from typing import Any

# of a client by a Unix socket, which has no port
_LOCAL = ""

# how the server's list of clients spells them: by name or number of the host, and the port
_CLIENT = "substring_index(host, ':', -1)"


def address(raw: Any, driver: str) -> str | None:
    """The client's port, as the server sees it where no proxy stands between."""
    if driver == "asyncmy":
        transport = getattr(raw, "_transport", None)
        found = None if transport is None else transport.get_extra_info("sockname")
    else:
        made = getattr(raw, "_sock", None)
        found = None if made is None else made.getsockname()
    if isinstance(found, tuple) and len(found) > 1:
        return str(int(found[1]))
    return None if found is None else _LOCAL


def end(connection: Any, backend: int, client: str, age: float) -> None:
    """End a connection whose client is gone, with its transaction, if it is at work still."""
    uptime = connection.exec_driver_sql("SHOW GLOBAL STATUS LIKE 'Uptime'").one()[1]
    if int(uptime) + 1 < age:
        return  # it counts whole seconds, and began to after the connection was made
    mine = f"{_CLIENT} = '{int(client)}'" if client else "host = 'localhost'"
    at_work = connection.exec_driver_sql(
        "SELECT 1 FROM information_schema.processlist "
        f"WHERE id = {int(backend)} AND {mine} AND command <> 'Sleep' "
        "AND user = substring_index(user(), '@', 1)"
    ).first()
    if at_work is not None:
        connection.exec_driver_sql(f"KILL CONNECTION {int(backend)}")
