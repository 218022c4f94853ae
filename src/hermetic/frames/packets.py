# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Rows as MariaDB and MySQL send them, in packets of text, cut into fields.

Told in MariaDB's documentation of the protocol ("Result Set Packets", "Resultset row"); read in
10.11.
"""

from __future__ import annotations

from typing import Any

try:
    import cython  # type: ignore[import-untyped]
except ImportError:
    from ..fast import shadow as cython  # noqa: F401 - Cython looks for the name

# why `cut` has stopped: there is no more, at the last packet, at an error, at one in several parts
MORE, LAST, ERROR, PARTS = 0, 1, 2, 3

_WHOLE = 0xFFFFFF


def cut(
    data: Any, at: int, end: int, width: int, starts: Any, lengths: Any, room: int
) -> tuple[int, int, int]:
    """Where each field of each whole row begins, column by column, and how long it is.

    :param room: how many rows there is room for in ``starts`` and ``lengths``.
    :return: how many rows there are, where the next packet begins, and why it has stopped.
    """
    rows = 0
    while rows < room and at + 5 <= end:
        size = data[at] | data[at + 1] << 8 | data[at + 2] << 16
        stop = at + 4 + size
        if size == _WHOLE:
            return rows, at, 3
        if stop > end:
            break
        first = data[at + 4]
        if first == 0xFE and size < 9:
            return rows, at, 1
        if first == 0xFF:
            return rows, at, 2
        place = at + 4
        for column in range(width):
            first = data[place]
            place += 1
            length = first
            if first == 0xFB:
                length = -1
            elif first == 0xFC:
                length = data[place] | data[place + 1] << 8
                place += 2
            elif first == 0xFD:
                length = data[place] | data[place + 1] << 8 | data[place + 2] << 16
                place += 3
            elif first == 0xFE:
                # a packet has fewer than 16 MB, so that four of the eight bytes say it
                length = data[place] | data[place + 1] << 8 | data[place + 2] << 16
                place += 8
            starts[column * room + rows] = place
            lengths[column * room + rows] = length
            if length > 0:
                place += length
        rows += 1
        at = stop
    return rows, at, 0
