"""A server on another host is asked who it is, unless somebody says otherwise.

The servers here listen on an address of this machine that is not a loopback address, to which
nothing in a URL can be seen to lead back.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from sqlalchemy import make_url

from hermetic import CannotConnect, Database, FaultKind, InvalidOption, UntrustedServer
from hermetic.dialects import tls
from hermetic.options import DatabaseOptions
from tests.loop import run_async
from tests.servers import LocalServer, MariaDBServer, PostgreSQLServer, ServerUnavailable
from tests.servers.certificates import Authority

DRIVERS = {
    "psycopg": ("postgresql+psycopg", False),
    "psycopg_async": ("postgresql+psycopg", True),
    "asyncpg": ("postgresql+asyncpg", True),
    "pymysql": ("mysql+pymysql", False),
    "asyncmy": ("mysql+asyncmy", True),
}
ENCRYPTED = {
    "postgresql": "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
    "mysql": "SELECT variable_value <> '' FROM information_schema.session_status"
    " WHERE variable_name = 'Ssl_cipher'",
}


def address_of_this_machine() -> str:
    """One that others would use."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.254", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but its loopback's")
        address: str = sock.getsockname()[0]
    if tls.is_local(address):
        pytest.skip("this machine has no address but its loopback's")
    return address


class Site:
    """Both servers, on an address that is not local, and the authority of their certificates."""

    def __init__(self, folder: Path) -> None:
        self.address = address_of_this_machine()
        self.authority = Authority(folder)
        self.stranger = Authority(folder, "stranger")
        self.good = self.authority.sign("good", f"IP:{self.address}", "DNS:db.example")
        self.elsewhere = self.authority.sign("elsewhere", "DNS:elsewhere.example")
        self.postgresql = PostgreSQLServer(settings={"listen_addresses": "*"})
        self.mariadb = MariaDBServer(settings={"bind-address": "0.0.0.0"})

    def start(self) -> None:
        self.postgresql.start()
        with (self.postgresql.data_path / "pg_hba.conf").open("a") as file:
            file.write("host all all all md5\n")
        self.mariadb.start()
        with pymysql.connect(
            host="127.0.0.1",
            port=self.mariadb.port,
            user=self.mariadb.user,
            password=self.mariadb.password,
        ) as admin:
            admin.cursor().execute(
                f"GRANT ALL ON *.* TO {self.mariadb.user}@'%%' IDENTIFIED BY %s",
                [self.mariadb.password],
            )

    def stop(self) -> None:
        self.postgresql.stop()
        self.mariadb.stop()

    def show(self, server: LocalServer, pair: tuple[Path, Path] | None) -> None:
        """Have a server show a certificate, or have none."""
        paths = [] if pair is None else [_owned(server, path) for path in pair]
        if isinstance(server, PostgreSQLServer):
            lines = ["ssl = off"]
            if paths:
                files = zip(("ssl_cert_file", "ssl_key_file"), paths, strict=True)
                lines = ["ssl = on", *(f"{name} = '{path}'" for name, path in files)]
            with (server.data_path / "postgresql.conf").open("a") as file:
                file.writelines(f"{line}\n" for line in lines)
        else:
            for name in ("ssl-cert", "ssl-key"):
                server.settings.pop(name, None)
            if paths:
                server.settings |= {"ssl-cert": str(paths[0]), "ssl-key": str(paths[1])}
        server.restart()

    def url(self, driver: str, host: str | None = None) -> str:
        scheme, _ = DRIVERS[driver]
        server: LocalServer = self.postgresql if "postgres" in scheme else self.mariadb
        database = "postgres" if "postgres" in scheme else "mysql"
        url = make_url(server.url(database, scheme)).set(host=host or self.address)
        return url.render_as_string(hide_password=False)


def _owned(server: LocalServer, path: Path) -> Path:
    copy = server.directory / path.name
    shutil.copy(path, copy)
    owner = server.directory.stat()
    os.chown(copy, owner.st_uid, owner.st_gid)
    copy.chmod(0o600)
    return copy


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    try:
        site = Site(tmp_path_factory.mktemp("certificates"))
        site.start()
    except ServerUnavailable as error:
        pytest.skip(str(error))
    yield site
    site.stop()


@pytest.fixture(scope="module")
def good(site: Site) -> Site:
    for server in (site.postgresql, site.mariadb):
        site.show(server, site.good)
    return site


@pytest.fixture(scope="module")
def elsewhere(site: Site) -> Site:
    """Their certificates are of a known authority, and another host's."""
    for server in (site.postgresql, site.mariadb):
        site.show(server, site.elsewhere)
    return site


@pytest.fixture(scope="module")
def plain(site: Site) -> Site:
    for server in (site.postgresql, site.mariadb):
        site.show(server, None)
    return site


def encrypted(driver: str, url: str, **options: Any) -> bool:
    """Whether a scope's connection is encrypted, as the server has it."""
    ask = ENCRYPTED["postgresql" if "postgres" in url else "mysql"]
    if not DRIVERS[driver][1]:
        with Database(url, **options) as db, db.session() as session:
            return bool(session.scalar(ask))
    found: list[bool] = []

    async def work() -> None:
        async with Database(url, **options) as db, db.session() as session:
            found.append(bool(await session.scalar(ask)))

    run_async(work)
    return found[0]


on_drivers = pytest.mark.parametrize("driver", DRIVERS)


@on_drivers
@pytest.mark.slow
def test_a_server_that_is_who_it_says_is_connected_to(good: Site, driver: str) -> None:
    ca = good.authority.certificate

    assert encrypted(driver, good.url(driver), tls=str(ca))
    assert encrypted(driver, good.url(driver), tls="require")


@on_drivers
@pytest.mark.slow
def test_an_authority_of_the_system_is_known(
    good: Site, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(good.authority.certificate))

    assert encrypted(driver, good.url(driver))
    assert encrypted(driver, good.url(driver), tls="verify")


@on_drivers
@pytest.mark.slow
def test_a_context_of_ones_own_is_used_where_the_driver_takes_it(good: Site, driver: str) -> None:
    context = ssl.create_default_context(cafile=str(good.authority.certificate))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT

    if driver.startswith("psycopg"):
        with pytest.raises(InvalidOption, match="libpq"):
            encrypted(driver, good.url(driver), tls=context)
    else:
        assert encrypted(driver, good.url(driver), tls=context)


@on_drivers
@pytest.mark.slow
@pytest.mark.parametrize("tls", [None, "stranger"])
def test_a_certificate_of_an_unknown_authority_is_refused(
    good: Site, driver: str, tls: str | None
) -> None:
    chosen = None if tls is None else good.stranger.certificate

    with pytest.raises(UntrustedServer, match="tls='require'") as raised:
        encrypted(driver, good.url(driver), tls=chosen)

    assert raised.value.fault is not None
    assert raised.value.fault.kind is FaultKind.TLS
    assert not raised.value.fault.retryable
    assert isinstance(raised.value, CannotConnect)
    assert "tls=" in raised.value.hint


@on_drivers
@pytest.mark.slow
def test_a_loopback_address_is_asked_for_nothing(good: Site, driver: str) -> None:
    encrypted(driver, good.url(driver, "127.0.0.1"))
    encrypted(driver, good.url(driver, "localhost"))
    assert not encrypted(driver, good.url(driver, "127.0.0.1"), tls="off")


@on_drivers
@pytest.mark.slow
def test_a_certificate_of_another_host_is_refused(elsewhere: Site, driver: str) -> None:
    ca = elsewhere.authority.certificate

    with pytest.raises(UntrustedServer):
        encrypted(driver, elsewhere.url(driver), tls=ca)
    assert encrypted(driver, elsewhere.url(driver), tls="require")


@on_drivers
@pytest.mark.slow
def test_a_server_without_tls_is_refused(plain: Site, driver: str) -> None:
    for chosen in (None, "verify", "require", plain.authority.certificate):
        with pytest.raises(UntrustedServer, match="tls='off'"):
            encrypted(driver, plain.url(driver), tls=chosen)

    assert not encrypted(driver, plain.url(driver), tls="off")


@pytest.mark.slow
def test_the_url_and_connect_args_have_the_last_word(plain: Site) -> None:
    assert not encrypted("psycopg", plain.url("psycopg") + "?sslmode=disable")
    assert not encrypted("psycopg", plain.url("psycopg"), connect_args={"sslmode": "prefer"})
    assert not encrypted("asyncpg", plain.url("asyncpg"), connect_args={"ssl": False})
    assert not encrypted("pymysql", plain.url("pymysql"), connect_args={"ssl_disabled": True})


# ---------------------------------------------------------------- without a server


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST.",
        "app.localhost",
        "127.0.0.1",
        "127.8.9.1",
        "::1",
        "[::1]",
        "/run/pg",
    ],
)
def test_these_hosts_are_this_machine(host: str) -> None:
    assert tls.is_local(host)


@pytest.mark.parametrize(
    "host",
    ["db", "db.example", "192.0.2.1", "10.0.0.1", "fd00::1", "0.0.0.0", "localhost.evil.example",
     "127.0.0.1.evil.example", "127.1"],
)  # fmt: skip
def test_these_hosts_need_not_be(host: str) -> None:
    assert not tls.is_local(host)


@pytest.mark.parametrize(
    ("url", "options", "verified"),
    [
        ("postgresql+psycopg://u@db/d", {}, True),
        ("postgresql+psycopg:///d", {}, False),
        ("postgresql+psycopg:///d?host=/run/pg", {}, False),
        ("postgresql+psycopg:///d?host=localhost,db", {}, True),
        ("postgresql+psycopg:///d?host=localhost:5432&host=db:5432", {}, True),
        ("postgresql+psycopg://u@localhost/d", {"connect_args": {"host": "db"}}, True),
        ("postgresql+psycopg://u@db/d?sslmode=prefer", {}, False),
        ("postgresql+psycopg://u@db/d?sslrootcert=/etc/ca.pem", {}, True),
        ("postgresql+asyncpg://u@db/d", {}, True),
        ("postgresql+asyncpg://u@db/d?ssl=prefer", {}, False),
        ("mysql+pymysql://u@db/d", {}, True),
        ("mysql+pymysql://u@db/d?ssl_ca=/etc/ca.pem", {}, False),
        ("mysql+pymysql://u@db/d?unix_socket=/run/mysqld.sock", {}, False),
        ("mysql+asyncmy://u@db/d", {"connect_args": {"ssl": {}}}, False),
        ("mysql+mysqldb://u@db/d", {}, True),
    ],
)
def test_what_a_driver_is_told(url: str, options: dict[str, Any], verified: bool) -> None:
    made = DatabaseOptions.build(options, place="here")
    parsed = make_url(url)
    family = Database(url, **options).family
    driver = parsed.drivername.partition("+")[2]

    told = family.engine_settings(
        parsed, driver, made, reader=False, asynchronous=driver in ("asyncpg", "asyncmy")
    ).connect_args

    context = told.get("ssl")
    found = told.get("sslmode") == "verify-full" or told.get("ssl_mode") == "VERIFY_IDENTITY"
    if isinstance(context, ssl.SSLContext):
        found = context.check_hostname and context.verify_mode is ssl.CERT_REQUIRED
    assert found is verified
    if "sslrootcert" in url:
        assert "sslrootcert" not in told


def test_an_environment_that_says_how_has_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLMODE", "require")

    assert "sslmode" not in Database("postgresql+psycopg://u@db/d").explain()

    with pytest.raises(InvalidOption, match="PGSSLMODE"):
        Database("postgresql+psycopg://u@db/d", tls="verify")


def test_to_say_it_twice_is_refused() -> None:
    with pytest.raises(InvalidOption, match="sslmode"):
        Database("postgresql+psycopg://u@db/d?sslmode=disable", tls="verify")
    with pytest.raises(InvalidOption, match="ssl_ca"):
        Database("mysql+pymysql://u@db/d", tls="require", connect_args={"ssl_ca": "x"})


@pytest.mark.parametrize("value", ["yes", "/no/such/file.pem", True, 1, b"verify"])
def test_a_wrong_value_is_refused_when_it_is_given(value: Any) -> None:
    with pytest.raises(InvalidOption, match="tls"):
        Database("postgresql://u@localhost/d", tls=value)


def test_a_database_without_a_server_has_no_tls() -> None:
    with pytest.raises(InvalidOption, match="tls"):
        Database("sqlite://", tls="verify")
