"""The newsletter of examples/newsletter, on every database, with workers of Celery's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery.contrib.testing.worker import start_worker
from newsletter.model import Delivery, Letter
from newsletter.tasks import Newsletter, create
from sqlalchemy import func, select

from hermetic import Database
from tests.databases import FamilyUrl
from tests.servers.process import wait_until
from tests.worlds import PATIENCE

_ROOT = Path(__file__).parents[2]


@contextmanager
def opened(url: str) -> Iterator[Newsletter]:
    """The application, and a worker of it in a thread."""
    made = create(url, "memory://", task_default_queue=uuid4().hex, worker_hijack_root_logger=False)
    try:
        with start_worker(
            made.app, pool="solo", perform_ping_check=False, shutdown_timeout=PATIENCE
        ):
            yield made
    finally:
        made.app.close()
        made.db.close()


def seen(db: Database) -> tuple[list[str], int | None]:
    """Whom the letter has gone to, and to how many by its own count."""
    with db.session(readonly=True) as session:
        addresses = session.scalars(select(Delivery.address).order_by(Delivery.address)).all()
        return list(addresses), session.scalar(select(func.max(Letter.sent)))


def test_everybody_gets_a_letter_once(family: str, family_url: FamilyUrl) -> None:
    with opened(family_url(family)) as made:
        for address in ("ann", "bob", "ann"):
            made.app.send_task("subscribe", [address])
        made.app.send_task("publish", ["News", "There are some."])
        assert wait_until(lambda: made.outbox.waiting().messages == 2, PATIENCE)
        # two relays that know nothing of each other's end send it twice
        tokens: list[Any] = []
        made.outbox.relay(lambda message: tokens.append((message.payload, message.token))).drain()
        for payload, token in tokens * 2:
            made.app.send_task("deliver", kwargs=payload, task_id=token)
        assert wait_until(lambda: seen(made.db) == (["ann", "bob"], 2), PATIENCE)
        made.app.send_task("publish", ["Last", "The end."])
        assert wait_until(lambda: made.outbox.waiting().messages == 2, PATIENCE)
        assert made.relay.drain() == 2
        assert wait_until(lambda: len(seen(made.db)[0]) == 4, PATIENCE)
        # as often as before: what was sent twice was done once
        assert seen(made.db) == (["ann", "ann", "bob", "bob"], 2)


@pytest.mark.slow
def test_it_runs_as_it_says(tmp_path: Path) -> None:
    path = os.pathsep.join(str(_ROOT / folder) for folder in ("examples", "src"))
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-m", "celery", "-A", "newsletter.app"]

    def call(*arguments: str) -> None:
        subprocess.run(
            [*command, "call", *arguments],
            cwd=tmp_path,
            env=environment,
            check=True,
            capture_output=True,
        )

    call("subscribe", "--args", '["ann"]')
    worker = subprocess.Popen(
        [*command, "worker", "--concurrency=1", "--without-gossip", "--without-mingle"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    db = Database(f"sqlite:///{tmp_path / 'newsletter.db'}")
    try:
        assert wait_until(lambda: _count(db) == 1, 4 * PATIENCE)
    finally:
        db.close()
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def _count(db: Database) -> int:
    with db.session(readonly=True) as session:
        return int(session.scalar("SELECT count(*) FROM subscribers"))
