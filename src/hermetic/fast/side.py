"""One engine as the fast paths see it: what they may do there, and the plans made for it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine

from ..dialects.family import Begin, Family
from ..options import DatabaseOptions
from ..pool import IdleStack
from .listening import is_alone, is_logged, is_silent
from .plans import Entity, entity_plan


class Side:
    """What is fixed for the life of an engine, found once.

    :param begin: the statements of a scope that asks for nothing special, or ``None`` where it
        cannot be begun without SQLAlchemy.
    """

    def __init__(
        self,
        engine: Engine,
        family: Family,
        driver: str,
        options: DatabaseOptions,
        *,
        reader: bool,
        asynchronous: bool = False,
    ) -> None:
        self.engine = engine
        self.dialect: Any = engine.dialect
        self.family = family
        self.driver = driver
        self.reader = reader
        self.ping_after = options.ping_after
        self.begin = self._begin(options)
        # by mapped class; None for those that SQLAlchemy has to load
        self.entities: dict[type, Entity | None] = {}
        # the class of its sessions, and what they have in them to begin with
        self.session_class: Any = None
        self.session_dict: dict[str, Any] | None = None
        # and of asyncio: how its driver is spoken to, and what goes around those sessions
        self.asynchronous = asynchronous
        self.wire: Any = family.wire(driver) if asynchronous else None
        self.facade_class: Any = None
        self.facade_dict: dict[str, Any] | None = None
        # whether the server has to be told of deadlines; SQLite's are a matter of this process
        # whether a commit is one call of C
        self.one_step = driver == "pysqlite"
        self.limits = not family.embedded

    def _begin(self, options: DatabaseOptions) -> tuple[str, ...] | None:
        if options.engine_options or options.echo or not isinstance(self.engine.pool, IdleStack):
            return None
        return self.family.lean_begin(self.driver, options, Begin(readonly=self.reader))

    def watched(self) -> bool:
        """Whether somebody listens to what a fast path would not tell: statements, connections."""
        engine: Any = self.engine
        if engine._has_events or is_logged(engine):
            return True
        dispatch = self.dialect.dispatch
        pool = engine.pool.dispatch
        return not (
            is_silent(dispatch.do_execute)
            and is_silent(dispatch.do_execute_no_params)
            and is_silent(dispatch.do_executemany)
            and is_alone(pool.checkout)
            and is_alone(pool.checkin)
            and is_silent(pool.reset)
        )

    def entity(self, entity: Any) -> Entity | None:
        """The plan of a mapped class; ``None`` where it needs SQLAlchemy's own way."""
        try:
            return self.entities[entity]
        except KeyError:
            pass
        found = entity_plan(entity, self.dialect)
        self.entities[entity] = found
        return found
