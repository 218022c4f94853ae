"""The pages of `hermetic top`: rows of a look, their columns, and by what they are sorted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from . import words
from .services import Look, Pool, Service

Row = dict[str, Any]

# seconds from which on a scope's age is worth a look, and a worry
_LONG, _TOO_LONG = 1.0, 10.0

PHASES = {
    "waiting": "yellow",
    "statement": "green",
    "idle": "magenta",
    "leaving": "cyan",
    "open": "dim",
}


@dataclass(frozen=True, slots=True)
class Column:
    """``cell`` is what it shows of a row. One of no ``width`` has what the others leave.

    :param order: what rows are sorted by, the greatest first where it is a number.
    :param least: how many columns a terminal has to have, so that it is shown.
    """

    title: str
    width: int
    cell: Callable[[Row, int], str]
    order: Callable[[Row], Any] | None = None
    style: Callable[[Row], str] | None = None
    right: bool = False
    least: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """``rows`` are those of a look, each with a ``key`` that is the same in the next one."""

    name: str
    rows: Callable[[Look], list[Row]]
    columns: tuple[Column, ...]
    # the title of the column that it is sorted by at first
    first: str
    nothing: str
    history: bool = False

    @property
    def orders(self) -> tuple[str, ...]:
        """The titles of the columns that it can be sorted by."""
        return tuple(column.title for column in self.columns if column.order is not None)

    def sorted(self, rows: list[Row], title: str, *, reverse: bool) -> list[Row]:
        """Rows in the order of a column: numbers from the greatest, texts from A."""
        column = next(column for column in self.columns if column.title == title)
        order = column.order
        assert order is not None
        numbers = column.right
        return sorted(rows, key=lambda row: (order(row), row["key"]), reverse=numbers != reverse)


def _text(name: str) -> Callable[[Row, int], str]:
    return lambda row, _: words.clean(row[name] if row[name] is not None else "")


def _number(name: str) -> Callable[[Row, int], str]:
    return lambda row, _: "?" if row[name] is None else words.count(row[name])


def _seconds(name: str) -> Callable[[Row, int], str]:
    return lambda row, _: "" if row[name] is None else words.seconds(row[name])


def _by(name: str) -> Callable[[Row], Any]:
    return lambda row: row[name] or 0


def _word(name: str) -> Callable[[Row], Any]:
    return lambda row: str(row[name]).lower()


def _many(title: str, name: str, width: int = 6, least: int = 0) -> Column:
    return Column(title, width, _number(name), _by(name), right=True, least=least)


def _time(title: str, name: str, least: int = 0) -> Column:
    return Column(title, 7, _seconds(name), _by(name), right=True, least=least)


def _warns(name: str) -> Callable[[Row], str]:
    return lambda row: "bold red" if row[name] else ""


# ---------------------------------------------------------------- scopes


def _scopes(look: Look) -> list[Row]:
    return [
        {
            **scope,
            "key": (scope["worker"].pid, scope["database"], scope["number"]),
            "pid": scope["worker"].pid,
            "title": f"{scope['name']} #{scope['number']}",
        }
        for service in look.services
        for scope in service.scopes()
    ]


def _age_style(row: Row) -> str:
    age = row["age"] - row["waited"]
    return "bold red" if age > _TOO_LONG else "yellow" if age > _LONG else ""


def _title(row: Row, width: int) -> str:
    """Name and number; the number is what tells it from others."""
    number = f" #{row['number']}"
    name, room = words.clean(row["name"]), width - len(number)
    return (name if len(name) <= room else name[: max(1, room - 1)] + "…") + number


def _last(row: Row, _: int) -> str:
    return words.clean(row["last_statement"] or "", 500)


def _owner(row: Row, _: int) -> str:
    return words.clean(row["owner"]).removesuffix(" of thread 'MainThread'")


_SCOPES = (
    Column("PID", 7, _text("pid"), lambda row: row["pid"], right=True),
    Column("SCOPE", 18, _title, _word("title")),
    Column("PHASE", 9, _text("phase"), _word("phase"), lambda row: PHASES.get(row["phase"], "")),
    Column("AGE", 7, _seconds("age"), _by("age"), _age_style, right=True),
    _time("WAITED", "waited", least=100),
    _time("IDLE", "idle", least=120),
    _many("SENT", "statements", 4),
    _many("ROWS", "rows", 6, 130),
    _many("TRIPS", "round_trips", 5, 130),
    Column("RUN", 3, _text("attempt"), _by("attempt"), right=True, least=90),
    Column("OWNER", 20, _owner, _word("owner"), least=110),
    Column("LAST STATEMENT", 0, _last),
)

# ---------------------------------------------------------------- names


def _names(look: Look) -> list[Row]:
    return [
        {
            **each,
            "key": (service.name, each["name"]),
            "each": each["statements"] / each["count"] if each["count"] else 0.0,
            "rows": each["rows"] / each["count"] if each["count"] else 0.0,
            "trips": each["round_trips"] / each["count"] if each["count"] else 0.0,
            "wait": each["waited"] / each["count"] if each["count"] else 0.0,
        }
        for service in look.services
        for each in service.names()
    ]


_NAMES = (
    Column("SCOPE", 0, _text("name"), _word("name")),
    _many("COUNT", "count"),
    _time("TOTAL", "seconds"),
    _time("P50", "p50"),
    _time("P99", "p99"),
    _time("LONGEST", "longest"),
    _time("WAIT", "wait", least=90),
    _many("SENT", "each", 4),
    _many("ROWS", "rows", 6, 110),
    _many("TRIPS", "trips", 5, 110),
    _many("RETRIED", "retried", 7),
    Column("FAILED", 6, _number("failed"), _by("failed"), _warns("failed"), right=True),
    Column("UNKNOWN", 7, _number("unknown"), _by("unknown"), _warns("unknown"), True, 100),
)

# ---------------------------------------------------------------- pools


def _pool_row(service: Service, pool: Pool) -> Row:
    return {
        "key": (service.name, pool.database, pool.name),
        "name": pool.name,
        "service": service.name,
        "share": pool.lent / pool.limit if pool.limit else 0.0,
        "mean": pool.wait_seconds / pool.waited if pool.waited else 0.0,
        **{name: getattr(pool, name) for name in ("lent", "limit", "waiting", "admitted")},
        **{name: getattr(pool, name) for name in ("waited", "refused")},
    }


def _pools(look: Look) -> list[Row]:
    return [_pool_row(service, pool) for service in look.services for pool in service.pools()]


def share_style(row: Row) -> str:
    """How near a pool is to its limit."""
    if row["waiting"]:
        return "bold red"
    return "yellow" if row["limit"] > 1 and row["share"] >= 0.9 else "green"


_POOLS = (
    Column("POOL", 0, _text("name"), _word("name")),
    Column("SERVICE", 14, _text("service"), _word("service"), least=100),
    Column(
        "OUT", 10, lambda row, width: words.bar(row["lent"], row["limit"], width), None, share_style
    ),
    _many("LENT", "lent", 4),
    _many("OF", "limit", 4),
    Column("WAITING", 7, _number("waiting"), _by("waiting"), _warns("waiting"), right=True),
    _many("ADMITTED", "admitted", 8),
    _many("WAITED", "waited", 6),
    _time("MEAN", "mean"),
    Column("REFUSED", 7, _number("refused"), _by("refused"), _warns("refused"), right=True),
)

# ---------------------------------------------------------------- servers


def _servers(look: Look) -> list[Row]:
    return [
        {
            **server,
            "key": (worker.pid, database["id"], server["name"]),
            "pid": worker.pid,
            "database": database["name"],
        }
        for worker in look.workers
        for database in worker.databases
        for server in database["servers"]
    ]


def _server_style(row: Row) -> str:
    return {"up": "green", "lagging": "yellow", "ejected": "bold red"}.get(row["state"], "dim")


_SERVERS = (
    Column("PID", 7, _text("pid"), lambda row: row["pid"], right=True),
    Column("SERVER", 24, _text("name"), _word("name")),
    Column("ROLE", 8, _text("role"), _word("role")),
    Column("STATE", 9, _text("state"), _word("state"), _server_style),
    _time("LAG", "lag"),
    _many("SCOPES", "scopes"),
    Column("ERROR", 0, _text("error")),
)

# ---------------------------------------------------------------- findings


def _findings(look: Look) -> list[Row]:
    return [
        {**found, "key": found["id"], "ago": max(0.0, look.at - found["last"])}
        for service in look.services
        for found in service.findings()
    ]


_FINDINGS = (
    Column("FINDING", 19, _text("code"), _word("code"), lambda _: "bold"),
    _many("COUNT", "count", 5),
    Column("AGO", 7, _seconds("ago"), lambda row: -row["ago"], right=True),
    Column("SERVICE", 14, _text("service"), _word("service"), least=110),
    Column("PLACE", 0, lambda row, width: words.place(row["place"], width), _word("place")),
)

# ---------------------------------------------------------------- processes


def _processes(look: Look) -> list[Row]:
    return [
        {
            "key": worker.pid,
            "pid": worker.pid,
            "service": worker.service,
            "command": worker.command,
            "running": max(0.0, look.at - worker.since) if worker.since else None,
            "scopes": worker.open_scopes,
            "committed": worker.counter("committed"),
            "findings": sum(len(database["findings"]) for database in worker.databases),
            "problem": worker.problem,
            "what": worker.problem or ", ".join(worker.said.get("databases", ())),
        }
        for worker in look.workers
    ]


_PROCESSES = (
    Column("PID", 7, _text("pid"), lambda row: row["pid"], right=True),
    Column("SERVICE", 16, _text("service"), _word("service")),
    Column("COMMAND", 20, _text("command"), _word("command"), least=100),
    _time("RUNNING", "running"),
    _many("SCOPES", "scopes"),
    _many("COMMITTED", "committed", 9),
    Column("FINDINGS", 8, _number("findings"), _by("findings"), _warns("findings"), right=True),
    Column("DATABASES", 0, _text("what"), _word("what"), _warns("problem")),
)

PAGES: tuple[Page, ...] = (
    Page("scopes", _scopes, _SCOPES, "AGE", "No scope is open."),
    Page("names", _names, _NAMES, "TOTAL", "No scope has ended in the last hour.", history=True),
    Page("pools", _pools, _POOLS, "LENT", "No pool is in use yet."),
    Page("servers", _servers, _SERVERS, "SERVER", "No Database has replicas."),
    Page("findings", _findings, _FINDINGS, "AGO", "Nothing was found."),
    Page("processes", _processes, _PROCESSES, "PID", "There is no process."),
)


def fitting(page: Page, width: int) -> Iterator[tuple[Column, int]]:
    """The columns that a terminal has room for, each with its width."""
    shown = [column for column in page.columns if column.least <= width]
    taken = sum(column.width for column in shown) + len(shown) - 1
    for column in shown:
        yield column, column.width or max(8, width - taken)
