"""SQLAlchemy's private parts that the fast paths use, imported in one place.

Read for SQLAlchemy 2.1.7 to 2.1.9.
"""

from __future__ import annotations

from typing import Any
from weakref import KeyedRef

from sqlalchemy.engine.interfaces import BindTyping
from sqlalchemy.event.attr import _EmptyListener as EmptyListener
from sqlalchemy.orm.identity import _WeakInstanceDict as WeakInstanceDict
from sqlalchemy.orm.loading import _new_runid as new_runid
from sqlalchemy.orm.session import _new_sessionid as new_sessionid
from sqlalchemy.orm.session import _sessions
from sqlalchemy.orm.strategies import _ColumnLoader as ColumnLoader
from sqlalchemy.orm.strategies import _DeferredColumnLoader as DeferredColumnLoader
from sqlalchemy.orm.strategies import _LazyLoader as LazyLoader

# a WeakValueDictionary, whose insides are used too
sessions: Any = _sessions

__all__ = [
    "BindTyping",
    "ColumnLoader",
    "DeferredColumnLoader",
    "EmptyListener",
    "KeyedRef",
    "LazyLoader",
    "WeakInstanceDict",
    "new_runid",
    "new_sessionid",
    "sessions",
]
