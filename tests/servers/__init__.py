"""Real database servers for the tests, each in a temporary folder and on a port of its own."""

from tests.servers.access import Connection, ServerAccess, ServerAddress
from tests.servers.local import LocalServer
from tests.servers.mariadb import MariaDBAccess, MariaDBServer
from tests.servers.postgresql import PostgreSQLAccess, PostgreSQLServer
from tests.servers.process import ServerFailed, ServerUnavailable
from tests.servers.shared import ServerSet, installed

__all__ = [
    "Connection",
    "LocalServer",
    "MariaDBAccess",
    "MariaDBServer",
    "PostgreSQLAccess",
    "PostgreSQLServer",
    "ServerAccess",
    "ServerAddress",
    "ServerFailed",
    "ServerSet",
    "ServerUnavailable",
    "installed",
]
