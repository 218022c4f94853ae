"""A bank, worked by threads and by asyncio tasks at once on one ``hermetic.Database``.

    python examples/bank.py                       # on a SQLite file of its own
    python examples/bank.py postgresql://…        # or mysql://…, on a server
    python examples/bank.py --web                 # with the inspector's page, until Ctrl-C

Transfers run into each other and are retried; auditors sum all balances meanwhile; one unit fails
on purpose, tasks are cancelled. At the end the database is compared with what the workers saw. The
exit code is 0 if all checks pass, 1 if one fails, 2 if the bank could not be opened, 130 when it
was interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from banking.checks import Check, Found, Outside, checks
from banking.incidents import Incidents
from banking.ledger import Ledger
from banking.model import TablesExist, close_bank, open_bank
from banking.view import show, verdict
from banking.work import Bank, Orders
from rich.console import Console
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from hermetic import Database, HermeticError, Watch

# what can be spoilt after the work, each to make one check fail
SABOTAGE = ("money", "twice", "retries", "cancel", "leak")


# what is meant by no end: seconds, and transfers
_LONG, _MANY = 86_000.0, 1_000_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What the command line asks for."""

    url: str
    threads: int
    tasks: int
    transfers: int
    accounts: int
    seed: int
    seconds: float
    sabotage: str | None
    web: bool


class Run:
    """One opening of the bank, from its first order to its checks."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self.plan = plan
        self.console = console
        self.ledger = Ledger()
        self.application = f"hermetic-bank-{os.getpid()}"
        # retries are what is shown here: the budget that guards a real database would end them
        self.db = Database(
            plan.url,
            name="bank",
            application_name=self.application,
            # a busy machine is slow by itself
            watch=Watch(slow=10.0, held=20.0, idle=20.0, service="bank"),
            retries_per_second=10_000,
            retry_burst=10_000,
        )
        self.db.listen(self.ledger.listen)
        self.over = threading.Event()
        self.spoilt: Connection | None = None

    async def work(self, outside: Outside, engine: Engine) -> tuple[list[Check], float]:
        """Do the work, close the Database, and give the checks and the seconds it took."""
        plan = self.plan
        began = time.monotonic()
        with ThreadPoolExecutor(plan.threads + 2, thread_name_prefix="teller") as threads:
            await self._work(threads, began)
        seconds = time.monotonic() - began
        if plan.sabotage is not None:
            self._spoil(plan.sabotage, engine)
        last = self.db.snapshot()
        self.db.watch.look()
        seen = self.db.watch.findings()
        await self.db.aclose()
        found = Found.read(engine)
        left = await self._left(outside)
        if self.spoilt is not None:
            self.spoilt.close()
        return list(checks(self.ledger, found, last, left, seen)), seconds

    async def _work(self, threads: ThreadPoolExecutor, began: float) -> None:
        plan = self.plan
        loop = asyncio.get_running_loop()
        bank = Bank(self.db, self.ledger)
        incidents = Incidents(bank)
        orders = Orders(plan.accounts, plan.transfers, plan.seconds, plan.seed)
        onlookers = [
            loop.run_in_executor(threads, bank.audit, self.over),
            asyncio.create_task(bank.aaudit(self.over), name="auditor"),
        ]
        if plan.web:
            # whoever looks at the page says when it is enough; the checks are made all the same
            loop.add_signal_handler(signal.SIGINT, orders.stop)
        else:
            looking = show(self.console, self.db, lambda: self._progress(began), self.over)
            onlookers.append(asyncio.create_task(looking))
        workers = [
            *(loop.run_in_executor(threads, bank.work, orders) for _ in range(plan.threads)),
            *(
                asyncio.create_task(bank.awork(orders), name=f"clerk_{number}")
                for number in range(plan.tasks)
            ),
            loop.run_in_executor(threads, incidents.in_a_thread),
            asyncio.create_task(incidents.in_tasks(), name="trouble"),
        ]
        try:
            await asyncio.gather(*workers)
        finally:
            orders.stop()
            self.over.set()
            await asyncio.gather(*onlookers)

    def _progress(self, began: float) -> float:
        plan = self.plan
        return max(self.ledger.done / plan.transfers, (time.monotonic() - began) / plan.seconds)

    async def _left(self, outside: Outside) -> dict[str, int]:
        """A server notices the end of a connection a moment after its client closed it."""
        until = time.monotonic() + 2.0
        left = outside.left()
        while any(left.values()) and time.monotonic() < until:
            await asyncio.sleep(0.05)
            left = outside.left()
        return left

    def _spoil(self, kind: str, engine: Engine) -> None:
        if kind == "money":
            sql = "UPDATE hermetic_bank_accounts SET balance = balance - 1 WHERE id = 1"
        elif kind == "twice":
            sql = (
                "INSERT INTO hermetic_bank_tokens (token, source, target, amount) "
                "SELECT token, source, target, amount FROM hermetic_bank_tokens "
                "WHERE token LIKE 't%' ORDER BY id LIMIT 1"
            )
        elif kind == "cancel":
            sql = (
                "INSERT INTO hermetic_bank_tokens (token, source, target, amount) "
                "VALUES ('cancelled midway', 1, 2, 1)"
            )
        elif kind == "retries":
            self.ledger.run_begins(self.ledger.applied[0])
            return
        else:
            self.spoilt = self.db.engine.connect()
            self.spoilt.exec_driver_sql("SELECT 1")
            return
        with engine.begin() as connection:
            connection.execute(text(sql))


def _run(plan: Plan, console: Console) -> int:
    try:
        run = Run(plan, console)
        # a plain engine, which owes hermetic nothing, opens the bank, checks it and closes it
        engine = create_engine(run.db.engine.url, poolclass=NullPool)
        open_bank(engine, plan.accounts)
    except (HermeticError, SQLAlchemyError) as error:
        console.print(f"The bank cannot be opened: {error}", style="red", markup=False)
        return 2
    except TablesExist as error:
        console.print(
            f"The bank cannot be opened: there are tables {error} already, and they are left "
            "alone. Drop them if they are of a run that was killed.",
            style="red",
            markup=False,
        )
        return 2
    try:
        _introduce(run, console)
        with _page(run, console):
            found, seconds = asyncio.run(run.work(Outside(engine, run.application), engine))
    except KeyboardInterrupt:
        console.print("Interrupted: nothing was checked.", style="red")
        return 130
    finally:
        close_bank(engine)
        engine.dispose()
    return _conclude(run, found, seconds, console)


@contextmanager
def _page(run: Run, console: Console) -> Iterator[None]:
    """The inspector's page, where it was asked for."""
    if not run.plan.web:
        yield
        return
    from banking.web import page

    with page(run.db) as (url, token):
        ends = "Ctrl-C ends the work" if console.is_terminal else "the work ends by itself"
        console.print(f"Look at {url} with the token {token}; {ends}.\n", markup=False)
        yield


def _introduce(run: Run, console: Console) -> None:
    plan, db = run.plan, run.db
    drivers = f"{db.driver()} and {db.driver(asynchronous=True)}"
    if db.family.name == "sqlite":
        conflicts = "versions that changed since they were looked at (RetryRequested)"
    else:
        conflicts = "what the server refuses at SERIALIZABLE"
    much = f"up to {plan.transfers} transfers in up to {plan.seconds:g} s"
    if plan.web:
        much = "as many transfers as there is time for"
    console.print(
        f"{plan.threads} threads and {plan.tasks} tasks on {db!r}, by {drivers}.\n"
        f"{plan.accounts} accounts, {much}. "
        f"Conflicts are {conflicts}.\n",
        markup=False,
        highlight=False,
    )


def _conclude(run: Run, found: list[Check], seconds: float, console: Console) -> int:
    ledger = run.ledger
    console.print(verdict(found))
    rate = len(ledger.applied) / seconds
    console.print(
        f"{len(ledger.applied)} transfers in {seconds:.1f} s, {rate:.0f} per second; "
        f"{ledger.reruns} retries, {len(ledger.not_covered)} not covered."
    )
    failed = [check.name for check in found if not check.passed]
    if failed:
        console.print(f"FAILED: {', '.join(failed)}", style="bold red")
        return 1
    console.print(f"All {len(found)} checks passed.", style="green")
    return 0


def _count(least: int) -> Callable[[str], int]:
    def whole(given: str) -> int:
        number = int(given)
        if number < least:
            raise argparse.ArgumentTypeError(f"must be {least} or more")
        return number

    return whole


def _seconds(given: str) -> float:
    seconds = float(given)
    if not 0 < seconds < 86_400:
        raise argparse.ArgumentTypeError("must be above 0, and less than a day")
    return seconds


def _arguments() -> Plan:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("url", nargs="?", default="", help="of a database; default: a SQLite file of its own")
    add("--threads", type=_count(1), default=4, help="tellers (default %(default)s)")
    add("--tasks", type=_count(1), default=4, help="clerks (default %(default)s)")
    add("--transfers", type=_count(1), default=3000, help="at most (default %(default)s)")
    add("--accounts", type=_count(2), default=24, help="fewer collide more (default %(default)s)")
    add("--seconds", type=_seconds, default=6.0, help="at most (default %(default)s)")
    add("--seed", type=int, default=1, help="of the random orders (default %(default)s)")
    add("--web", action="store_true", help="offer the inspector's page, and work until Ctrl-C")
    add("--sabotage", choices=SABOTAGE, help=argparse.SUPPRESS)
    plan = Plan(**vars(parser.parse_args()))
    if plan.web:
        # without a terminal nobody presses Ctrl-C
        seconds = _LONG if sys.stdout.isatty() else plan.seconds
        plan = replace(plan, transfers=_MANY, seconds=seconds)
    return plan


def main() -> int:
    """Run the bank; returns the exit code."""
    plan = _arguments()
    # psycopg warns of every batch that a conflict ended; the conflict itself is raised and counted
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    # plain text is read in files and pipes, where nobody tells how wide they are
    console = Console() if sys.stdout.isatty() else Console(width=120)
    if plan.url:
        return _run(plan, console)
    with tempfile.TemporaryDirectory(prefix="hermetic-bank-") as folder:
        own = f"sqlite:///{Path(folder) / 'bank.db'}"
        return _run(replace(plan, url=own), console)


if __name__ == "__main__":
    sys.exit(main())
