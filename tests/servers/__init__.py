"""Real database servers for the tests, each in a temporary folder and on a port of its own."""

from tests.servers.access import Connection, ServerAccess, ServerAddress
from tests.servers.galera import GaleraCluster, GaleraNode
from tests.servers.local import LocalServer
from tests.servers.mariadb import MariaDBAccess, MariaDBServer
from tests.servers.postgresql import PostgreSQLAccess, PostgreSQLServer
from tests.servers.process import ServerFailed, ServerUnavailable
from tests.servers.replication import MariaDBPrimary, MariaDBReplica, PostgreSQLReplica
from tests.servers.shared import ServerSet, installed

__all__ = [
    "Connection",
    "GaleraCluster",
    "GaleraNode",
    "LocalServer",
    "MariaDBAccess",
    "MariaDBPrimary",
    "MariaDBReplica",
    "MariaDBServer",
    "PostgreSQLAccess",
    "PostgreSQLReplica",
    "PostgreSQLServer",
    "ServerAccess",
    "ServerAddress",
    "ServerFailed",
    "ServerSet",
    "ServerUnavailable",
    "installed",
]
