"""One engine as the fast paths see it: what they may do there, and the plans made for it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine

from ..dialects.family import Begin, Family
from ..options import DatabaseOptions
from ..pool import IdleStack
from .listening import Ear, is_logged
from .plans import Entity, entity_plan
from .switch import ON


def side_of(bind: Any) -> Side | None:
    """The side of any engine, made when it is first asked for."""
    if not isinstance(bind, Engine):
        return None
    known: Side | None = bind.__dict__.get("_hermetic_side")
    if known is None:
        known = Side(bind, Family(), "", DatabaseOptions(), reader=False)
    return known


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
        # whether its scopes have no BEGIN and no COMMIT
        self.apart = reader and family.reads_apart(options)
        self.begin = self._begin(options)
        # by mapped class; None for those that SQLAlchemy has to load
        self.entities: dict[type, Entity | None] = {}
        # by the key of a statement's shape; False for those that are SQLAlchemy's
        self.shapes: dict[Any, Any] = {}
        # the class of its sessions, and what they have in them to begin with
        self.session_class: Any = None
        self.session_dict: dict[str, Any] | None = None
        # and of asyncio: how its driver is spoken to, and what goes around those sessions
        self.asynchronous = asynchronous
        self.wire: Any = family.wire(driver) if asynchronous else None
        self.facade_class: Any = None
        self.facade_dict: dict[str, Any] | None = None
        # who listens to its statements, and to its pool, which an engine may get anew
        self._statements = Ear(
            self.dialect.dispatch,
            {"do_execute": 0, "do_execute_no_params": 0, "do_executemany": 0},
        )
        self._pool: Any = None
        self._lending: Ear | None = None
        self.idle: list[Any] = []
        self.admission: Any = None
        # whether the driver's own word for its state is all that a family asks before a COMMIT
        self.told_by_probe = family.told_by_probe
        # whether a commit is one call of C
        self.one_step = self.apart or family.commits_in_one_call(driver)
        self.options = options
        # whether the server has to be told of deadlines, and whether that can be done in hand;
        # SQLite's are a matter of this process
        self.limits = not family.embedded
        self.limits_ahead = family.embedded or family.limits_ahead(driver)
        engine.__dict__["_hermetic_side"] = self

    def _begin(self, options: DatabaseOptions) -> tuple[str, ...] | None:
        if not ON or options.engine_options or options.echo:
            return None
        if not isinstance(self.engine.pool, IdleStack) or options.reset_connections == "always":
            return None
        begin = Begin(readonly=self.reader, apart=self.apart)
        return self.family.lean_begin(self.driver, options, begin)

    def watched(self) -> bool:
        """Whether somebody listens to what a fast path would not tell: statements, connections."""
        engine: Any = self.engine
        if engine._has_events or is_logged(engine):
            return True
        if self._statements.hears():
            return True
        if self.begin is None:
            return False  # SQLAlchemy deals with its pool
        self.pool()
        return self._lending is None or self._lending.hears()

    def pool(self) -> Any:
        """The engine's pool, of those that ``begin`` is for; an engine may get another one."""
        pool: Any = self.engine.pool
        if pool is not self._pool:
            self.idle, self.admission = pool.idle, pool.admission
            self._lending = Ear(pool.dispatch, {"checkout": 1, "checkin": 1, "reset": 0})
            self._pool = pool
        return pool

    def met(self) -> bool:
        """Whether SQLAlchemy has made a connection, and knows its server: before that a dialect may
        be another one's than it will be. MySQL's becomes MariaDB's, which has other types.
        """
        return self.dialect.server_version_info is not None

    def entity(self, entity: Any) -> Entity | None:
        """The plan of a mapped class; ``None`` where it needs SQLAlchemy's own way."""
        try:
            return self.entities[entity]
        except KeyError:
            pass
        if not self.met():
            return None
        found = entity_plan(entity, self.dialect)
        self.entities[entity] = found
        return found
