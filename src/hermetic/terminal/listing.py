"""``hermetic list``: the processes that have a watched Database, and what is open in them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .. import ConfigurationError
from . import words
from .gathering import Nearby
from .services import Look, Service, Worker

# changes when a key means something else; new ones may come
VERSION = 1


def add(commands: Any) -> None:
    """:param commands: argparse's subparsers."""
    parser = commands.add_parser(
        "list",
        help="the processes of this host that have a watched Database",
        description="The processes of this user on this host that have a watched Database, by "
        "service. The exit code is 0 if there are any, 1 if there are none.",
    )
    narrowing(parser)
    parser.add_argument("--scopes", action="store_true", help="with every open scope")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=_list)


def narrowing(parser: argparse.ArgumentParser) -> None:
    """Which processes are meant; also of ``hermetic top``."""
    parser.add_argument("--service", help="those of this service alone")
    parser.add_argument("--pid", type=int, action="append", default=[], help="this one; repeatable")
    parser.add_argument("--folder", type=Path, help="look here; default: this user's folders")


def source_of(given: argparse.Namespace) -> Nearby:
    """Those that the arguments mean."""
    return Nearby(given.folder, given.service, frozenset(given.pid))


def looked(source: Nearby) -> Look:
    """:raises ConfigurationError: the folder that was named cannot be looked into."""
    try:
        return source.look(history=False)
    except OSError as error:
        raise ConfigurationError(
            f"It cannot be looked into: {error}.", hint="Name another --folder, or none."
        ) from error


def _list(given: argparse.Namespace) -> int:
    look = looked(source_of(given))
    for problem in look.left_out:
        sys.stderr.write(f"hermetic: left out: {words.clean(problem)}\n")
    if given.json:
        json.dump(as_json(look, scopes=given.scopes), sys.stdout, indent=2)
        sys.stdout.write("\n")
    elif look.workers:
        sys.stdout.write("".join(f"{line}\n" for line in lines(look, scopes=given.scopes)))
    else:
        sys.stderr.write(f"{NOBODY}\n")
    return 0 if look.workers else 1


NOBODY = (
    "No process of this user has a watched Database with a first scope behind it: "
    "Database(url, watch=True), or HERMETIC_WATCH=on."
)


def as_json(look: Look, *, scopes: bool) -> dict[str, Any]:
    """What ``--json`` prints; docs/terminal.md has every key."""
    return {
        "version": VERSION,
        "at": look.at,
        "services": [_service(service) for service in look.services],
        "processes": [_process(worker, scopes=scopes) for worker in look.workers],
        "left_out": look.left_out,
    }


def _service(service: Service) -> dict[str, Any]:
    answering = [worker for worker in service.workers if worker.problem is None]
    return {
        "name": service.name,
        "processes": [worker.pid for worker in service.workers],
        "open_scopes": service.open_scopes,
        "counters": _counters(service.workers),
        "pools": [
            {
                "database": pool.database,
                "name": pool.name,
                "limit": pool.limit,
                "lent": pool.lent,
                "waiting": pool.waiting,
            }
            for pool in service.pools()
        ],
        "findings": len(service.findings()),
        "answering": len(answering),
    }


def _counters(workers: list[Worker]) -> dict[str, int]:
    names = {
        name: None
        for worker in workers
        for database in worker.databases
        for name in database["counters"]
    }
    return {name: sum(worker.counter(name) for worker in workers) for name in names}


def _process(worker: Worker, *, scopes: bool) -> dict[str, Any]:
    return {
        "pid": worker.pid,
        "service": worker.service,
        "command": worker.command,
        "since": worker.since,
        "python": worker.said.get("python"),
        "hermetic": worker.said.get("hermetic"),
        "problem": worker.problem,
        "databases": [_database(each, scopes=scopes) for each in worker.databases],
    }


_TAKEN = ("id", "name", "family", "url", "state", "open_scopes", "counters")


def _database(database: dict[str, Any], *, scopes: bool) -> dict[str, Any]:
    found = {name: database[name] for name in _TAKEN}
    found["findings"] = [
        {name: each[name] for name in ("id", "code", "message", "place", "count", "last")}
        for each in database["findings"]
    ]
    if scopes:
        found["scopes"] = database["scopes"]
    return found


# ---------------------------------------------------------------- for people

_COLUMNS = ("PID", "SERVICE", "COMMAND", "SINCE", "SCOPES", "FINDINGS", "DATABASES")
_OF_SCOPES = ("PID", "SCOPE", "OWNER", "PHASE", "AGE", "SENT", "ROWS", "TRIPS", "OPENED AT")
_RIGHT = frozenset({"PID", "SCOPES", "FINDINGS", "AGE", "SENT", "ROWS", "TRIPS", "SINCE"})


def lines(look: Look, *, scopes: bool) -> Iterator[str]:
    """The processes as a table, and the scopes as one below it."""
    yield from _table(_COLUMNS, [_row(worker, look.at) for worker in look.workers])
    for service in look.services:
        if len(service.workers) > 1:
            yield (
                f"{service.name}: {len(service.workers)} workers, {service.open_scopes} open "
                f"scopes, {service.counter('committed')} committed"
            )
    if scopes:
        yield ""
        rows = [_scope(scope) for service in look.services for scope in service.scopes()]
        yield from _table(_OF_SCOPES, rows) if rows else ["No scope is open."]


def _row(worker: Worker, now: float) -> tuple[str, ...]:
    since = words.seconds(now - worker.since) if worker.since else "?"
    who = (str(worker.pid), worker.service, worker.command, since)
    if worker.problem is not None:
        return (*who, "?", "?", words.clean(worker.problem))
    found = sum(len(database["findings"]) for database in worker.databases)
    names = ", ".join(words.clean(name) for name in worker.said.get("databases", ()))
    return (*who, str(worker.open_scopes), str(found), names)


def _scope(scope: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(scope["worker"].pid),
        words.clean(f"{scope['name']} #{scope['number']}"),
        words.clean(scope["owner"]),
        scope["phase"],
        words.seconds(scope["age"]),
        str(scope["statements"]),
        _known(scope["rows"]),
        _known(scope["round_trips"]),
        words.clean(scope["opened_at"]),
    )


def _known(number: int | None) -> str:
    return "?" if number is None else str(number)


def _table(titles: Sequence[str], rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    for row in (titles, *rows):
        cells = [
            text.rjust(width) if title in _RIGHT else text.ljust(width)
            for title, text, width in zip(titles, row, widths, strict=True)
        ]
        yield "  ".join(cells).rstrip()
