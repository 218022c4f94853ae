"""Lazy loads of relationships, by what the first of their kind has shown.

SQLAlchemy builds a statement anew for every lazy load, looks up its compiled form, and prepares
its result. The first load of a relationship by a hermetic session is left to it, and looked at: if
it was of the plainest kind, the attribute's loader is put behind a ``QuickLoader``, which executes
the same compiled statement by the same connection, with everybody listening. It serves plain
attribute access in hermetic's sessions; every other call goes through to SQLAlchemy's loader.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.sql import visitors
from sqlalchemy.sql.operators import custom_op

from .counts import count
from .instances import EntityLoader
from .kinds import kind_of
from .lean import ASIDE, instance_of, prepared, rows_of
from .plan import EntityPlan, plan_of
from .plans import Entity, Processor
from .private import (
    EMPTY_DICT,
    INSTANCE_CELLS,
    PASSIVE_OFF,
    CursorResult,
    LazyLoader,
    QueryContext,
    cells_of,
    instance_code,
    load_for_state,
    new_runid,
    sessions,
)

# For how many dialects, which are as many engines, a relationship's plans are kept: they hold them.
_DIALECTS = 4
# what a statement may have in it that does no more than read: BEGIN may wait for another
_READS = frozenset(
    {
        *("binary", "bindparam", "clauselist", "column", "grouping", "label", "label_reference"),
        *("expression_clauselist", "null", "select", "table", "unary"),
    }
)
# the answer of a plan that leaves this one load to SQLAlchemy
_ASIDE: Any = object()


class LazyPlan:
    """How one relationship is loaded on one dialect."""

    __slots__ = (
        "binds", "cells", "compile_state", "compiled", "construct", "dialect", "entity", "fitting",
        "mapper", "plan", "sql", "statement",
    )  # fmt: skip

    def __init__(self, result: Any, cells: dict[str, Any], plan: EntityPlan) -> None:
        cursor, context = result.raw, result.context
        self.dialect = cursor.dialect
        self.compiled = cursor.context.compiled
        self.sql: str = self.compiled.string
        self.construct = self.compiled.statement
        self.binds = _binds(self.compiled, context.params or {})
        # the entity whose rows these are known to be
        self.fitting: Entity | None = None
        self.compile_state = context.compile_state
        self.statement = self.compile_state.select_statement
        self.entity = self.compile_state._entities[0]
        self.mapper = self.entity.mapper
        self.plan = plan
        # of no session: those of a load are put in for each
        self.cells = {
            name: cells[name] for name in ("identity_class", "identity_token", "load_path")
        }
        self.cells |= {
            "populators": {"new": ()},
            "post_load": None,
            "propagated_loader_options": (),
        }

    def run(self, session: Any, parameters: dict[str, Any], state: Any) -> Any:
        """The objects that are found, each once."""
        entity = self._described(session)
        if entity is not None and entity.raw is not None:
            rows = self._rows(session, entity, parameters)
            if rows is not ASIDE:
                count("lazy:fast")
                return self._plainly_made(session, entity, rows)
        if not _may_run(session, self.mapper):
            return _ASIDE
        if session.autoflush:
            session._autoflush()
        bind = session.get_bind(mapper=self.mapper, clause=self.statement)
        connection = session._connection_for_bind(bind)
        if connection.dialect is not self.dialect or _is_watched(connection):
            return _ASIDE
        load_options = QueryContext.default_load_options + {
            "_invoke_all_eagers": False,
            "_lazy_loaded_from": state,
        }
        options = EMPTY_DICT.merge_with(
            connection._execution_options,
            {"_result_disable_adapt_to_context": True, "_sa_orm_load_options": load_options},
        )
        cursor = connection._execute_context(
            self.dialect,
            self.dialect.execution_ctx_cls._init_compiled,
            self.compiled,
            [parameters],
            options,
            self.compiled,
            [parameters],
            self.statement,
            None,
            cache_hit=self.dialect.CACHE_HIT,
        )
        if entity is not None and entity.processors is None:
            entity.describe(self.dialect, cursor.context.cursor.description)
        # some drivers give a tuple of them
        rows = list(cursor._raw_all_tuples())
        count("lazy:fast")
        return self._made(session, cursor, rows, parameters, load_options, options)

    def _described(self, session: Any) -> Entity | None:
        """What the ways of small units of work know of the entity, where they can be taken."""
        side = None if self.binds is None else prepared(session)
        if side is None or side.dialect is not self.dialect:
            return None
        entity = side.entity(self.mapper.class_)
        if entity is None or not entity.current():
            return None
        if entity is not self.fitting:
            if not entity.fits(self.compiled):
                self.binds = None
                return None
            self.fitting = entity
        return entity

    def _rows(self, session: Any, entity: Entity, parameters: dict[str, Any]) -> Any:
        """All rows as the driver has them, without SQLAlchemy's result around them."""
        try:
            bound: Any = {
                name: parameters[key] if process is None else process(parameters[key])
                for name, key, process in self.binds or ()
            }
        except Exception:
            return ASIDE  # as for a key
        if self.compiled.positional:
            bound = tuple([bound[name] for name in self.compiled.positiontup])
        side: Any = prepared(session)
        return rows_of(session, side, entity, self, bound)

    def _plainly_made(self, session: Any, entity: Entity, rows: Any) -> list[Any]:
        runid = new_runid()
        identity_map = session.identity_map
        loader = self._loader(
            session, runid, lambda row: instance_of(identity_map, session, entity, row, runid)
        )
        if entity.raw:
            loader.take_raw(entity.raw, _as_they_are)
        return _each_once(loader.load([*map(tuple, rows)]))

    def _made(self, session: Any, cursor: Any, rows: Any, *of_context: Any) -> list[Any]:
        runid = new_runid()

        def by_sqlalchemy(row: Any) -> Any:
            return self._process(session, cursor, runid, *of_context)(row)

        return _each_once(self._loader(session, runid, by_sqlalchemy).load(rows))

    def _loader(self, session: Any, runid: int, others: Any) -> EntityLoader:
        cells = {
            **self.cells,
            "session_id": session.hash_key,
            "runid": runid,
            "session_identity_map": session.identity_map,
        }
        return EntityLoader(self.plan, cells, others)

    def _process(
        self,
        session: Any,
        cursor: Any,
        runid: int,
        parameters: dict[str, Any],
        load_options: Any,
        options: Any,
    ) -> Any:
        """SQLAlchemy's function for rows, for a row whose object is there already."""
        context: Any = QueryContext(
            self.compile_state,
            self.statement,
            self.statement,
            parameters,
            session,
            load_options,
            options,
            {"clause": self.statement, "mapper": self.mapper},
        )
        context.runid = runid
        context.post_load_paths = {}
        context.partials = {}
        return self.entity.row_processor(context, cursor)[0]


def _as_they_are(rows: list[Any]) -> list[Any]:
    return rows


def _each_once(found: list[Any]) -> list[Any]:
    """What SQLAlchemy's ``unique()`` leaves."""
    return found if len(found) < 2 else list({id(each): each for each in found}.values())


def _binds(
    compiled: Any, parameters: dict[str, Any]
) -> list[tuple[str, str, Processor | None]] | None:
    """Of each parameter its name, its key among those of a load, and its processor; ``None`` where
    these and the text are not all that is sent, or it may do more than read.
    """
    if (
        compiled.post_compile_params
        or compiled.literal_execute_params
        or compiled._render_postcompile
        or compiled.escaped_bind_names
        or any(bind.key not in parameters for bind in compiled.bind_names)
        or not all(map(_reads, visitors.iterate(compiled.statement)))
    ):
        return None
    return [
        (name, bind.key, compiled._bind_processors.get(name))
        for bind, name in compiled.bind_names.items()
    ]


def _reads(element: Any) -> bool:
    own = isinstance(getattr(element, "operator", None), custom_op)
    return element.__visit_name__ in _READS and not own


class QuickLoader:
    """The loader of one relationship's attribute, in front of SQLAlchemy's."""

    __slots__ = ("columns", "key", "original", "plans", "strategy", "uselist")

    def __init__(self, original: Any) -> None:
        self.original = original
        self.strategy = original.__self__
        self.key: str = self.strategy.key
        self.uselist = bool(self.strategy.uselist)
        self.columns = _columns(self.strategy)
        self.plans: dict[Any, LazyPlan] = {}

    def __call__(self, state: Any, passive: Any = PASSIVE_OFF) -> Any:
        if passive is PASSIVE_OFF and self.columns is not None:
            found = self._quickly(state)
            if found is not _ASIDE:
                return found
        return self.original(state, passive)

    def _quickly(self, state: Any) -> Any:
        session = sessions.get(state.session_id)
        execute = getattr(session, "_execute_plan", None)
        if execute is None or state.key is None or state.load_options:
            return _ASIDE
        if session.dispatch.do_orm_execute:
            return _ASIDE
        parameters = self._parameters(state)
        if parameters is None:
            return _ASIDE
        if not self.uselist:
            present = self._present(session, tuple(parameters.values()))
            if present is not None:
                return present
        plan = self.plans.get(getattr(session.bind, "dialect", None))
        if plan is None:
            return _ASIDE
        found = execute(plan, parameters, state)
        if found is _ASIDE or self.uselist:
            return found
        return found[0] if found else None

    def _parameters(self, state: Any) -> dict[str, Any] | None:
        """The statement's parameters, if the state has them."""
        values = state.dict
        if self.key in values:
            return None
        found = {}
        for name, attribute, constant in self.columns or ():
            value = constant if attribute is None else values.get(attribute)
            if value is None:
                return None
            found[name] = value
        return found

    def _present(self, session: Any, key: tuple[Any, ...]) -> Any:
        """The object of a key, if the session has it as it is."""
        mapper = self.strategy.mapper
        try:
            state = session.identity_map._dict.get((mapper._identity_class, key, None))
        except TypeError:
            return None
        if state is None:
            return None
        if state.expired or mapper.inherits or state.mapper is not mapper:
            return _ASIDE  # SQLAlchemy refreshes it, or says that it is something else
        return state.obj()


def learn(result: Any, load_options: Any, process: Any) -> None:
    """Look at a lazy load that SQLAlchemy has done.

    :param process: its function for the rows of the one entity.
    """
    state = load_options._lazy_loaded_from
    path = result.context.compile_state.current_path
    prop = path.path[-1] if len(path) == 2 else None
    strategy = getattr(prop, "strategy", None)
    if type(strategy) is not LazyLoader or prop is not strategy.parent_property:
        return
    impl = state.manager[prop.key].impl
    loader = impl.callable_
    if type(loader) is not QuickLoader:
        if getattr(loader, "__func__", None) is not load_for_state or (
            loader.__self__ is not strategy
        ):
            return
        loader = QuickLoader(loader)
    plan = _plan(result, state, strategy, process)
    if plan is not None and loader.columns is not None:
        if len(loader.plans) >= _DIALECTS:
            loader.plans.clear()
        loader.plans[plan.dialect] = plan
        impl.callable_ = loader


def _plan(result: Any, state: Any, strategy: Any, process: Any) -> LazyPlan | None:
    statement = result.context.user_passed_query
    compiled = result.raw.context.compiled
    criterion = (
        strategy.mapper._get_clause[0] if strategy.use_get else strategy._simple_lazy_clause[0]
    )
    if (
        statement._with_options
        or state.load_options
        or len(statement._where_criteria) != 1
        or statement._where_criteria[0] is not criterion
        or statement._execution_options
        or compiled.cache_key is None
        or compiled.schema_translate_map
        or type(result.raw) is not CursorResult
        or process.__code__ is not instance_code
    ):
        return None
    cells = cells_of(process, INSTANCE_CELLS)
    populators = cells["populators"]
    if cells["post_load"] or populators["new"] or populators["existing"] or populators["eager"]:
        return None
    plan = plan_of(cells)
    return None if isinstance(plan, str) else LazyPlan(result, cells, plan)


def _columns(strategy: Any) -> tuple[tuple[str, str | None, Any], ...] | None:
    """The parameters of a relationship's statement: the name of each, with the attribute whose
    value it has, or a value.
    """
    prop = strategy.parent_property
    if (
        strategy._raise_always
        or strategy._raise_on_sql
        or strategy.is_aliased_class
        # since 2.1.9
        or getattr(prop, "_target_correlates_to_parent", False)
        or not (strategy.use_get or strategy.uselist)
    ):
        return None
    attributes = prop.parent._columntoproperty
    if strategy.use_get:
        names = strategy.mapper._get_clause[1]
        wanted = [
            (names[column].key, strategy._equated_columns[column], None)
            for column in strategy.mapper.primary_key
        ]
    else:
        wanted = strategy._simple_lazy_clause[1]
    if any(column is not None and column not in attributes for _, column, _ in wanted):
        return None
    return tuple(
        (name, None if column is None else attributes[column].key, constant)
        for name, column, constant in wanted
    )


def _may_run(session: Any, mapper: Any) -> bool:
    """Whether nobody listens who would miss something, and nobody changes what is executed."""
    events = mapper.class_manager.dispatch
    return not (
        session.dispatch.do_orm_execute
        or session.dispatch.loaded_as_persistent
        or session.execution_options
        or events.load
        or events.refresh
        or mapper.always_refresh
        or not kind_of(type(session)).reads
    )


def _is_watched(connection: Any) -> bool:
    options = connection._execution_options
    return bool(
        connection.dispatch.before_execute
        or connection.dispatch.after_execute
        or "schema_translate_map" in options
        or "compiled_cache" in options
        or connection._echo
    )
