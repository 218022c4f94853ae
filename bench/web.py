"""Requests per second, and what clients are told wrongly, side by side.

    python bench/web.py [SECONDS] [ROUNDS] [FAULTS]

Starts PostgreSQL, and each application of ``web_apps`` as a process of its own: FastAPI's by
uvicorn, Flask's by werkzeug's server with threads. In turns, ROUNDS times (default 5), 16 clients
ask each for SECONDS (default 1); the processor's time that a request costs its server is beside it,
which a busy machine changes less. Then FAULTS requests (default 40) write one row each while every
other COMMIT is cut off, before or after the server has seen it, and what each client was told is
compared with the table: *lost* are rows that a client was told of and that are not there, *unsaid*
those that are there though the client was told of an error that did not say so.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sqlalchemy import create_engine, make_url, text

from bench.web_apps import APPS, Base
from tests.proxy import COMMIT, Proxy
from tests.servers import PostgreSQLServer
from tests.servers.process import wait_until

_CLIENTS = 16
_ROWS = 1000
# seconds that any answer may take
_PATIENCE = 20.0


class Served:
    """One application in a process of its own."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        _, driver, _ = APPS[name]
        given = make_url(url).set(drivername=f"postgresql+{driver}")
        self._process = subprocess.Popen(
            [
                *(sys.executable, __file__, "--serve", name),
                *(given.render_as_string(hide_password=False), str(self.port)),
            ],
            stderr=subprocess.DEVNULL,
        )
        assert wait_until(self._answers, 60), f"{name} does not start"

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def cpu(self) -> float:
        """Seconds of processor that the process has used."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def serve(name: str, url: str, port: int) -> None:
    make, _, is_wsgi = APPS[name]
    app = make(url)
    if is_wsgi:
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            def log(self, *args: object) -> None: ...

        make_server("127.0.0.1", port, app, threaded=True, request_handler=Quiet).serve_forever()
    else:
        import uvicorn

        uvicorn.run(app, host="127.0.0.1", port=port, log_level="critical", ws="none")


class Client:
    """One connection, kept where the server keeps it; werkzeug's does not."""

    def __init__(self, served: Served) -> None:
        self._port = served.port
        self._keeps = not APPS[served.name][2]
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._writer is not None:
            self._writer.close()

    async def ask(self, method: str, path: str) -> tuple[int, bytes]:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
            connected = self._writer.get_extra_info("socket")
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        self._writer.write(request.encode())
        async with asyncio.timeout(_PATIENCE):
            head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await self._reader.readexactly(length)
        if not self._keeps:
            self._writer.close()
            self._writer = None
        return int(head.split(b" ", 2)[1]), body


async def rate(served: Served, kind: str, seconds: float, round_: int) -> tuple[float, float]:
    """Requests per second, and milliseconds of processor for each."""
    until = time.monotonic() + seconds
    counts = [0] * _CLIENTS

    async def work(client_number: int) -> None:
        async with Client(served) as client:
            number = 0
            while time.monotonic() < until:
                if kind == "read":
                    status, _ = await client.ask("GET", f"/users/{number % _ROWS + 1}")
                else:
                    mark = f"{served.port}-{round_}-{client_number}-{number}"
                    status, _ = await client.ask("POST", f"/users/{mark}")
                assert status == 200, (served.name, status)
                number += 1
            counts[client_number] = number

    begun, used = time.monotonic(), served.cpu()
    await asyncio.gather(*(work(number) for number in range(_CLIENTS)))
    took = time.monotonic() - begun
    return sum(counts) / took, 1000 * (served.cpu() - used) / sum(counts)


async def told(served: Served, proxy: Proxy, faults: int) -> dict[str, tuple[int, bytes]]:
    """What each client was told of its row."""
    answers = {}
    for number in range(faults):
        name = f"told-{served.port}-{number}"
        if number % 2:
            trap = proxy.cut_before if number % 4 == 1 else proxy.cut_after
            trap(COMMIT)
        try:
            async with Client(served) as client:
                answers[name] = await client.ask("POST", f"/users/{name}")
        except (OSError, EOFError, TimeoutError, asyncio.IncompleteReadError):
            answers[name] = (0, b"")
        await asyncio.sleep(0.05)  # some commit after they have answered
        proxy.disarm()
    return answers


def main(seconds: float, rounds: int, faults: int) -> None:
    with PostgreSQLServer() as server:
        server.create_database("web")
        url = server.url("web", "postgresql+psycopg")
        engine = create_engine(url)
        Base.metadata.create_all(engine)
        with engine.begin() as connection:
            connection.execute(
                text("INSERT INTO users (name) SELECT 'u' || n FROM generate_series(1, :n) AS n"),
                {"n": _ROWS},
            )
        rates = _rates(url, seconds, rounds)
        wrong = _wrong(url, engine, faults)
        engine.dispose()
    print("| | reads/s | CPU ms | writes/s | CPU ms | lost | unsaid |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in APPS:
        cells = []
        for kind in ("read", "write"):
            per_second, cpu = (
                statistics.median(each) for each in zip(*rates[name, kind], strict=True)
            )
            cells += [f"{per_second:,.0f}", f"{cpu:.2f}"]
        lost, unsaid = wrong[name]
        print(f"| {name} | {' | '.join(cells)} | {lost} | {unsaid} |")
    print(
        f"\n{_CLIENTS} clients, medians of {rounds} rounds; {faults} writes, {faults // 2} cut off."
    )


def _rates(
    url: str, seconds: float, rounds: int
) -> dict[tuple[str, str], list[tuple[float, float]]]:
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    running = [Served(name, url) for name in APPS]
    try:
        for round_ in range(-1, rounds):
            for kind in ("read", "write"):
                for served in running:
                    measured = asyncio.run(rate(served, kind, seconds, round_))
                    if round_ >= 0:  # the first one only warms
                        found.setdefault((served.name, kind), []).append(measured)
    finally:
        for served in running:
            served.stop()
    return found


def _wrong(url: str, engine: Any, faults: int) -> dict[str, tuple[int, int]]:
    found = {}
    for name in APPS:
        with Proxy(url) as proxy:
            served = Served(name, proxy.url)
            try:
                answers = asyncio.run(told(served, proxy, faults))
            finally:
                served.stop()
        with engine.connect() as connection:
            there = set(connection.scalars(text("SELECT name FROM users")))
        lost = sum(status == 200 and row not in there for row, (status, _) in answers.items())
        unsaid = sum(
            status != 200 and row in there and b"unknown" not in body
            for row, (status, body) in answers.items()
        )
        found[name] = (lost, unsaid)
    return found


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        given = sys.argv[1:]
        main(
            float(given[0]) if given else 1.0,
            int(given[1]) if len(given) > 1 else 5,
            int(given[2]) if len(given) > 2 else 40,
        )
