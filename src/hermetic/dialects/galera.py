"""Galera: nodes of MariaDB's of which each takes writes, and which one may not be of the others.

What differs from one server: a COMMIT can lose a conflict (1213), a node that is cut off from the
others answers all that needs no table as ever, and each shows what the others have written a moment
later. Measured on MariaDB 10.11 with Galera 26.4.
"""

from __future__ import annotations

from typing import Any

from .positions import Positions, Sight

# what SQLAlchemy's dialect, of one server, is given to remember
_KNOWN = "_hermetic_galera"

_IS_NODE = "SHOW GLOBAL VARIABLES LIKE 'wsrep_on'"
# The number of the last transaction that this node shows, which is the same on each; with GTIDs
# switched off, too. The table that is none has a node that is cut off refuse it (1047)
_QUESTION = "SELECT 'm', WSREP_LAST_SEEN_GTID() FROM (SELECT 1) AS one"
# where the node has to have come as far as all others had, before it reads (bit 1)
CAUSAL = "SET SESSION wsrep_sync_wait = 1"


def is_node(cursor: Any, dialect: Any) -> bool:
    """Whether a server is a node; it is asked once."""
    known: bool | None = dialect.__dict__.get(_KNOWN)
    if known is None:
        known = dialect.__dict__[_KNOWN] = _says(cursor, _IS_NODE)
    return known


def check_ready(cursor: Any) -> None:
    """It raises 1047 where a node is not of its cluster: has not most of the nodes with it, or not
    all data.
    """
    cursor.execute(_QUESTION)
    cursor.fetchone()


def sight(cursor: Any, positions: Positions) -> Sight:
    """How far a node has come; where it is not of its cluster, that raises 1047."""
    cursor.execute(_QUESTION)
    return positions.sight(cursor.fetchone())


def _says(cursor: Any, question: str) -> bool:
    cursor.execute(question)
    row = cursor.fetchone()
    return row is not None and str(row[1]).upper() == "ON"
