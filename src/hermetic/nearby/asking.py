"""Looking for processes of this host, and asking them."""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..clock import monotonic
from . import folder, wire

# seconds that a process has for its answer
PATIENCE = 2.0
_AT_ONCE = 16

WHO: dict[str, Any] = {"ask": "who"}


@dataclass(frozen=True, slots=True)
class Process:
    """A process that may be asked: its socket, and whose it has to be."""

    path: Path
    owner: int

    @property
    def number(self) -> int:
        """Its number, by the name of its socket."""
        digits = self.path.name.partition("-")[0]
        return int(digits) if digits.isdecimal() and len(digits) < 20 else 0


@dataclass(frozen=True, slots=True)
class Answered:
    """What a process has said; ``problem`` where it did not.

    One that is stopped, or at work in code that gives no other thread a turn, does not answer.
    """

    process: Process
    said: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None

    @property
    def pid(self) -> int:
        """Its number."""
        found = self.said.get("pid")
        return found if isinstance(found, int) else self.process.number


def processes(where: Path | None = None) -> tuple[list[Process], list[str]]:
    """Every process that has a socket.

    :param where: a folder. Default: those in which processes of this user are.
    :return: them, and the folders that were left out, with the reason.
    :raises OSError: the folder that was named is not there, or not one user's alone (NotPrivate).
    """
    if where is not None:
        # the administrator may look at what is anybody's
        owner = where.lstat().st_uid if os.geteuid() == 0 else os.geteuid()
        folder.check(where, owner)
        return [Process(path, owner) for path in folder.sockets(where)], []
    found: list[Process] = []
    left_out = []
    for place in folder.candidates():
        try:
            folder.check(place, os.geteuid())
            found += [Process(path, os.geteuid()) for path in folder.sockets(place)]
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            left_out.append(str(error))
    return found, left_out


def ask_all(
    asked: list[Process], question: dict[str, Any], patience: float = PATIENCE
) -> list[Answered]:
    """Ask them side by side, and remove the sockets of those that are no more.

    :param question: ``ask`` is ``who``, ``state`` (with ``steps`` and ``history``), or ``scope``
        (with ``number`` and ``database``).
    :param patience: seconds for each.
    """
    if not asked:
        return []
    with ThreadPoolExecutor(min(_AT_ONCE, len(asked)), thread_name_prefix="asking") as threads:
        found = threads.map(lambda process: ask(process, question, patience), asked)
        return [each for each in found if each is not None]


def ask(process: Process, question: dict[str, Any], patience: float = PATIENCE) -> Answered | None:
    """Ask one.

    :return: ``None`` where there is no such process any more.
    """
    until = monotonic() + patience
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(patience)
        try:
            connection.connect(str(process.path))
            if not wire.is_trusted(connection, process.owner):
                return Answered(process, problem="it is somebody else's")
            wire.send(connection, question, until)
            return Answered(process, wire.receive(connection, wire.LONGEST_ANSWER, until))
        except (ConnectionRefusedError, FileNotFoundError):
            folder.clear(process.path)
            return None
        except (TimeoutError, BlockingIOError):
            return Answered(process, problem=f"it did not answer within {patience:g} s")
        except OSError as error:
            return Answered(process, problem=str(error))
