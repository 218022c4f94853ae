"""The newsletter's tasks.

A letter, and a message for each of its readers, are written in one transaction: either all of them
hear of it or nobody does. A relay sends the messages as tasks, each of which is done once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from celery import Celery
from sqlalchemy import select, update

from hermetic import Database
from hermetic.integrations.celery import Sessions, retried, to_celery
from hermetic.outbox import Inbox, Outbox, Relay

from .model import Base, Delivery, Letter, Subscriber


@dataclass(frozen=True)
class Newsletter:
    """All that a process needs of it."""

    db: Database
    app: Celery
    outbox: Outbox
    relay: Relay

    def create_tables(self) -> None:
        Base.metadata.create_all(self.db.engine)


def create(url: str, broker: str, **settings: Any) -> Newsletter:
    """The application, with a Database of its own.

    :param settings: Celery's.
    """
    db = Database(url)
    outbox = Outbox(db)
    inbox = Inbox(db)
    sessions = Sessions(db, once=inbox, timeout=30.0)
    app = Celery("newsletter", broker=broker, set_as_current=False)
    app.conf.update(task_ignore_result=True, **settings)
    sessions.install(app)
    _add_tasks(app, db, outbox)
    made = Newsletter(db, app, outbox, outbox.relay(to_celery(app)))
    made.create_tables()
    outbox.create()
    inbox.create()
    return made


def _add_tasks(app: Celery, db: Database, outbox: Outbox) -> None:
    @app.task(name="subscribe", shared=False)
    def subscribe(address: str) -> None:
        # an address that is there already fails for good, at the commit
        db.current.add(Subscriber(address=address))

    @app.task(name="publish", shared=False)
    def publish(subject: str, text: str) -> None:
        session = db.current
        letter = Letter(subject=subject, text=text)
        session.add(letter)
        session.flush()
        for address in session.scalars(select(Subscriber.address)):
            outbox.put(session, "deliver", {"letter": letter.id, "address": address})

    @app.task(name="deliver", shared=False)
    @retried(5)  # many count on one row
    def deliver(letter: int, address: str) -> None:
        session = db.current
        session.add(Delivery(letter_id=letter, address=address))
        session.execute(update(Letter).filter_by(id=letter).values(sent=Letter.sent + 1))
        # a mail that is sent is sent: it waits for the commit
        post.delay_on_commit(address, letter)

    @app.task(name="post", shared=False)
    def post(address: str, letter: int) -> None:
        subject = db.current.scalar(select(Letter.subject).filter_by(id=letter))
        print(f"to {address}: {subject}")
