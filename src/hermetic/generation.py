"""Which connections of a server are of no use any more: those of an earlier generation.

A number goes up when a fault says that a connection's siblings are worth no more than it is: the
server shuts down, or is no primary any more. No clock is asked, so none can be wrong.
"""

from __future__ import annotations

import threading


class Generation:
    """The number of one server and role. One lock guards it; nothing is called under it."""

    __slots__ = ("_lock", "number")

    def __init__(self) -> None:
        self.number = 1
        # re-entrant: a signal handler may come here in the middle of it
        self._lock = threading.RLock()

    def end(self, number: int | None = None) -> bool:
        """Begin the next one.

        :param number: the one that is meant; when it is over already nothing happens, so that a
            hundred connections which report the same end count once. ``None`` for whichever it is.
        :return: whether a new one began.
        """
        with self._lock:
            if number is not None and number != self.number:
                return False
            self.number += 1
            return True

    def start_anew(self) -> None:
        """In a forked child: another thread may have held the lock."""
        self._lock = threading.RLock()
