"""The socket of this process: who has a watched Database may be asked what happens there.

It is opened by a thread of its own when the first scope is, so that nothing is done by importing,
by making a Database, or for a process that opens no scope. Whoever asks waits for that thread; the
scopes wait for nobody.
"""

from __future__ import annotations

import atexit
import os
import secrets
import select
import socket
import weakref
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from sys import is_finalizing
from threading import RLock, Thread
from typing import Any

from ..clock import monotonic
from ..events import logger
from . import folder, wire
from .identity import identity

# seconds for a question, which is sent at once, to come; and for an answer to be taken
_COMES, _TAKEN = 0.5, 2.0
# seconds until somebody is let in after there was no file left for that
_PAUSE = 0.5
# what says how everything is. An edge, which is known here by its name alone: the core imports none
_STATE = "hermetic.inspector.state"

Answer = Callable[[dict[str, Any], list[Any]], dict[str, Any]]


def answer(question: dict[str, Any], databases: list[Any]) -> dict[str, Any]:
    """What is said to whoever asks."""
    said = identity(databases)
    wanted = question.get("ask")
    if not databases or wanted not in ("state", "scope"):
        return said
    inspector = import_module(_STATE)
    if wanted == "state":
        history = question.get("history") is True
        said["state"] = inspector.state_of(*databases, steps=0, with_history=history)
    else:
        number, database = question.get("number"), question.get("database")
        said["scope"] = inspector.scope_of(number, *databases, database=database)
    return said


class Door:
    """The socket, with the Databases that may be seen through it.

    The lock is for opening and shutting, and of the thread's mostly.
    """

    def __init__(self, answer: Answer = answer) -> None:
        self._answer = answer
        self.start_anew()

    def start_anew(self) -> None:
        """In a forked child, too: the socket there is the parent's."""
        for name in ("_listener", "_client", "_wake", "_woken"):
            inherited = getattr(self, name, None)
            if inherited is not None:
                inherited.close()
        self._lock = RLock()
        self._databases: dict[int, weakref.ref[Any]] = getattr(self, "_databases", {})
        self._listener: socket.socket | None = None
        self._client: socket.socket | None = None
        # whoever sends on the one has the thread look, at the other
        self._wake: socket.socket | None = None
        self._woken: socket.socket | None = None
        self.path: Path | None = None
        # whether the thread was started; and whether that came to nothing
        self._asked = False
        self._refused = False

    # ------------------------------------------------------------ by the Databases

    def add(self, database: Any) -> None:
        """It may be seen from its first scope on."""
        number = id(database)
        self._databases[number] = weakref.ref(database, lambda _: self._gone(number))

    def leave(self, database: Any) -> None:
        """It may not any more: it is closed."""
        self._gone(id(database))

    def _gone(self, number: int) -> None:
        # the collector may come here in the middle of anything: no lock, and nothing that waits
        self._databases.pop(number, None)
        wake = self._wake
        if not self._databases and wake is not None:
            try:
                wake.send(b".")
            except OSError:
                pass  # somebody has sent before, or it is shut

    def open(self) -> None:
        """A scope was opened. From the second call on it does nothing."""
        if self._asked or self._refused:
            return
        if folder.switched_off() or not hasattr(socket, "AF_UNIX") or is_finalizing():
            self._refused = True
            return
        try:
            # an interrupt in between: the second thread sees that there is a first one
            Thread(target=self._run, name="hermetic-nearby", daemon=True).start()
        except RuntimeError as error:
            self._refuse(error)
        self._asked = True

    def databases(self) -> list[Any]:
        """Those that are open, in the order in which they were made."""
        found = (reference() for reference in list(self._databases.values()))
        return [each for each in found if each is not None]

    # ------------------------------------------------------------ by the thread

    def _run(self) -> None:
        with self._lock:
            if self._listener is not None:
                return
            try:
                listener, path = _listening()
                woken, wake = socket.socketpair()
            except OSError as error:
                self._refuse(error)
                return
            wake.setblocking(False)
            self._woken, self._wake = woken, wake
            self._listener, self.path = listener, path
            if not self._databases:
                wake.send(b".")  # it was closed meanwhile
        try:
            self._serve(listener, woken)
        finally:
            path.unlink(missing_ok=True)

    def at_exit(self) -> None:
        """Take the socket away: a thread that waits does nothing any more when a program ends."""
        path = self.path
        if path is not None:
            path.unlink(missing_ok=True)

    def _refuse(self, error: Exception) -> None:
        self._refused = True
        logger.warning(
            "hermetic top and list do not see this process: %s. HERMETIC_NEARBY=off has it not"
            " tried, and a folder in its place used.",
            error,
        )

    def _serve(self, listener: socket.socket, woken: socket.socket) -> None:
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        poll.register(woken, select.POLLIN)
        pause = select.poll()
        pause.register(woken, select.POLLIN)
        while True:
            ready = {number for number, _ in poll.poll()}
            if woken.fileno() in ready:
                woken.recv(64)
                if self._shut():
                    return
            if listener.fileno() in ready and not self._meet(listener):
                pause.poll(_PAUSE * 1000)  # who waits at the door is there still

    def _shut(self) -> bool:
        """Unless a Database has come meanwhile."""
        with self._lock:
            if self._databases:
                return False
            open_ones = (self._listener, self._wake, self._woken)
            self._listener = self._wake = self._woken = self.path = None
            self._asked = False
        for each in open_ones:
            if each is not None:
                each.close()
        return True

    def _meet(self, listener: socket.socket) -> bool:
        """``False`` where nobody can be let in, as there are no more files to be opened."""
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return True  # it has gone
        except OSError:
            return False
        self._client = client
        try:
            with client:
                self._talk(client)
        except OSError as error:
            logger.debug("somebody who asked this process has gone: %s", error)
        except Exception:
            logger.exception("this process cannot be told of")
        finally:
            self._client = None
        return True

    def _talk(self, client: socket.socket) -> None:
        if not wire.is_trusted(client):
            return
        question = wire.receive(client, wire.LONGEST_QUESTION, monotonic() + _COMES)
        said = self._answer(question, self.databases())
        wire.send(client, said, monotonic() + _TAKEN)


def _listening() -> tuple[socket.socket, Path]:
    """:raises OSError: it cannot be."""
    path = folder.own() / folder.name_for(os.getpid(), secrets.token_hex(4))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(16)
        # whoever connects may have gone before it is accepted
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener, path


door = Door()

atexit.register(door.at_exit)

os.register_at_fork(after_in_child=door.start_anew)
