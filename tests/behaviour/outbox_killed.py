"""Processes that put messages and relay them, killed with -9; and what arrived.

Run as a program it kills as often as it is told, and prints what it has found::

    python -m tests.behaviour.outbox_killed URL FOLDER --kills 1000 --seed 1
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from hermetic import Database, HermeticError
from hermetic.outbox import Message, Outbox
from tests.models import User

KEYS: Final = ("a", "b", "c")
_PUTTERS, _RELAYS = 2, 2
# seconds: that a killed relay's messages wait
_LEASE: Final = 1.0
# seconds that a process lives at the most, once it has begun
_LONGEST: Final = 0.3
_PATIENCE: Final = 60.0


@dataclass
class Found:
    """What came of it. ``lost``, ``invented`` and ``disordered`` have to be 0."""

    kills: int = 0
    acknowledged: int = 0
    arrived: int = 0
    again: int = 0
    lost: int = 0
    invented: int = 0
    disordered: int = 0


class Book:
    """A file that several processes append to, a line at a time; a line is there or it is not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def note(self, *words: object) -> None:
        os.write(self._file, (json.dumps(words) + "\n").encode())

    def lines(self) -> list[list[str]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]


def put(url: str, number: int, book: Book) -> None:
    """Put messages for ever, in scopes of which some are rolled back."""
    box = Outbox(Database(url, pool_size=1))
    chance = random.Random(number)
    for count in range(1_000_000):
        tokens: list[str] = []
        rolled_back = chance.random() < 0.2
        payload = f"{number}-{count}"
        try:
            for attempt in box.db.attempts(retry=10):
                with attempt as session:
                    session.add(User(username=payload))
                    keys = chance.sample(KEYS, 2)
                    tokens = [box.put(session, "turn", payload, key=key) for key in keys]
                    if rolled_back:
                        session.rollback_only()
        except HermeticError as error:
            book.note("failed", str(error))
        else:
            book.note("rolled back" if rolled_back else "committed", *tokens)
        if not count:
            # also where the first one has failed: whoever waits for it waits for a process at work
            book.note("began", os.getpid())


def relay(url: str, number: int, book: Book) -> None:
    """Send messages for ever, to a book."""
    box = Outbox(Database(url, pool_size=1))

    def send(message: Message) -> None:
        book.note("sent", message.token, message.key, message.sequence)

    book.note("began", os.getpid())
    box.relay(send, lease=_LEASE, poll=0.02, batch=20).run()


class Child:
    def __init__(self, work: Callable[[str, int, Book], None], url: str, number: int, book: Book):
        self.work = work
        self.pid = os.fork()
        if self.pid == 0:
            try:
                work(url, number, book)
            finally:
                os._exit(1)

    def has_begun(self, book: Book) -> bool:
        return ["began", self.pid] in book.lines()

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def experiment(url: str, folder: Path, kills: int, seed: int) -> Found:
    """Kill some at random, start others; in the end send what is left, and compare."""
    chance, book = random.Random(seed), Book(folder / "book")
    children: list[Child] = []
    number = 0
    try:
        for _ in range(kills):
            while len(children) < _PUTTERS + _RELAYS:
                putters = sum(each.work is put for each in children)
                children.append(Child(put if putters < _PUTTERS else relay, url, number, book))
                number += 1
            victim = children.pop(chance.randrange(len(children)))
            _wait_for(lambda victim=victim: victim.has_begun(book))  # type: ignore[misc]
            time.sleep(chance.uniform(0.0, _LONGEST))
            victim.kill()
    finally:
        for each in children:
            each.kill()
    send_the_rest(url, book)
    return compared(book, kills)


def send_the_rest(url: str, book: Book) -> None:
    db = Database(url, pool_size=1)
    box = Outbox(db)

    def send(message: Message) -> None:
        book.note("sent", message.token, message.key, message.sequence)

    def is_empty() -> bool:
        box.relay(send, poll=0.02).drain()
        return not box.waiting().messages

    _wait_for(is_empty)
    db.close()


def compared(book: Book, kills: int) -> Found:
    lines = book.lines()
    committed = {token for what, *tokens in lines if what == "committed" for token in tokens}
    rolled_back = {token for what, *tokens in lines if what == "rolled back" for token in tokens}
    seen: set[str] = set()
    order: dict[str, list[int]] = defaultdict(list)
    sent = [line[1:] for line in lines if line[0] == "sent"]
    for token, key, sequence in sent:
        if token not in seen:
            seen.add(token)
            order[key].append(int(sequence))
    return Found(
        kills=kills,
        acknowledged=len(committed),
        arrived=len(seen),
        again=len(sent) - len(seen),
        lost=len(committed - seen),
        invented=len(rolled_back & seen),
        disordered=sum(got != list(range(1, len(got) + 1)) for got in order.values()),
    )


def _wait_for(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + _PATIENCE
    while not holds():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.01)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    found = experiment(given.url, given.folder, given.kills, given.seed)
    sys.stdout.write(json.dumps(asdict(found)) + "\n")
    return int(bool(found.lost or found.invented or found.disordered or not found.acknowledged))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
