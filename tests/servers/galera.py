"""Galera: three nodes of MariaDB's that all take writes, on this machine."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import pymysql

from tests.servers.mariadb import MariaDBServer
from tests.servers.process import ServerUnavailable, find_program, free_port, wait_until

_PATIENCE = 30.0

_PROVIDERS = (
    Path("/usr/lib/galera/libgalera_smm.so"),
    Path("/usr/lib64/galera-4/libgalera_smm.so"),
    Path("/usr/lib64/galera/libgalera_smm.so"),
)

# A dead node is left out after a second instead of five, and the log of changes is small.
_PROVIDER_OPTIONS = {
    "gcache.size": "16M",
    "evs.keepalive_period": "PT0.3S",
    "evs.inactive_check_period": "PT0.2S",
    "evs.suspect_timeout": "PT1.5S",
    "evs.inactive_timeout": "PT3S",
    "evs.install_timeout": "PT3S",
}


def provider() -> Path:
    """:raises ServerUnavailable: something of Galera's is not installed."""
    MariaDBServer.installed_version()
    if find_program("rsync") is None:
        raise ServerUnavailable("no program 'rsync' here, by which nodes join: install it")
    for path in _PROVIDERS:
        if path.exists():
            return path
    raise ServerUnavailable("no Galera here: install the package 'galera-4'")


class GaleraNode(MariaDBServer):
    """One node. The first begins the cluster, and the others get everything from it."""

    def __init__(self, number: int, group_ports: list[int]) -> None:
        mine = group_ports[number]
        options = {
            **_PROVIDER_OPTIONS,
            "gmcast.listen_addr": f"tcp://127.0.0.1:{mine}",
            "ist.recv_addr": f"127.0.0.1:{free_port()}",
        }
        super().__init__(
            settings={
                "wsrep-on": "ON",
                "wsrep-provider": str(provider()),
                "wsrep-provider-options": ";".join(f"{k}={v}" for k, v in options.items()),
                "wsrep-cluster-name": "hermetic",
                "wsrep-node-address": f"127.0.0.1:{mine}",
                "wsrep-node-name": f"node-{number}",
                "wsrep-sst-method": "rsync",
                "wsrep-sst-receive-address": f"127.0.0.1:{free_port()}",
                "binlog-format": "ROW",
                "innodb-autoinc-lock-mode": "2",
            }
        )
        self.number = number
        self._others = [port for port in group_ports if port != mine]

    @property
    def first(self) -> bool:
        return self.number == 0 and not self.joined_once

    joined_once = False

    def start(self) -> None:
        self.settings["wsrep-cluster-address"] = "gcomm://" + (
            "" if self.first else ",".join(f"127.0.0.1:{port}" for port in self._others)
        )
        super().start()
        self.joined_once = True

    def _install(self) -> None:
        if self.first:
            super()._install()
        else:
            self._run("mkdir", "-p", self.data_path)

    def _admit_user(self) -> None:
        if self.first:
            super()._admit_user()

    def _answers(self) -> bool:
        # a node whose data is not there yet refuses our user, too
        return super()._answers() and (self.first or self.is_synced())

    def is_synced(self) -> bool:
        try:
            return self.status("wsrep_local_state_comment") == "Synced" and self.is_ready()
        except (pymysql.err.OperationalError, pymysql.err.InternalError):
            return False

    def is_ready(self) -> bool:
        return self.status("wsrep_ready") == "ON"

    def status(self, name: str) -> str:
        return str(self._query(f"SHOW GLOBAL STATUS LIKE '{name}'")[0][1])

    def isolate(self) -> None:
        """Cut it off from the others, so that it is not of the cluster any more."""
        self._tell("gmcast.isolate=1")
        assert wait_until(lambda: not self.is_ready(), _PATIENCE)

    def reconnect(self) -> None:
        self._tell("gmcast.isolate=0")
        assert wait_until(self.is_synced, _PATIENCE)

    def _tell(self, option: str) -> None:
        self._query(f"SET GLOBAL wsrep_provider_options = '{option}'")


class GaleraCluster:
    """Three nodes, with a database ``app``."""

    def __init__(self) -> None:
        ports = [free_port() for _ in range(3)]
        self.nodes = [GaleraNode(number, ports) for number in range(3)]

    def start(self) -> None:
        try:
            for node in self.nodes:
                node.start()
        except BaseException:
            self.stop()
            raise
        self.nodes[0].create_database("app")
        assert wait_until(self.is_whole, _PATIENCE)

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def is_whole(self) -> bool:
        return all(
            node.pid is not None and node.is_synced() and node.status("wsrep_cluster_size") == "3"
            for node in self.nodes
        )

    def heal(self) -> None:
        """Wait until all three are of the cluster again."""
        assert wait_until(self.is_whole, 2 * _PATIENCE)

    def url(self, scheme: str, *nodes: int) -> str:
        """The URL of several nodes, in this order."""
        numbers = nodes or (0, 1, 2)
        base = self.nodes[0].url("app", scheme)
        hosts = "&".join(f"host=127.0.0.1:{self.nodes[number].port}" for number in numbers)
        return base.replace(f"@127.0.0.1:{self.nodes[0].port}/", "@/") + f"?{hosts}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
