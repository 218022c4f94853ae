"""The same program run on SQLAlchemy's session and on hermetic's, and what each leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, Row, event, inspect, orm

import hermetic
from hermetic.fast.counts import counts

Program = Callable[[orm.Session], Any]


def described(thing: Any, seen: dict[int, int] | None = None) -> Any:
    """A value, a row, a list or an object with all that is known of it, in comparable words."""
    seen = {} if seen is None else seen
    if isinstance(thing, (list, tuple, Row)):
        return [described(item, seen) for item in thing]
    if isinstance(thing, dict):
        return {key: described(value, seen) for key, value in thing.items()}
    state = inspect(thing, raiseerr=False) if hasattr(thing, "_sa_instance_state") else None
    if state is None:
        return repr(thing)
    if id(thing) in seen:
        return f"object {seen[id(thing)]}"
    seen[id(thing)] = len(seen)
    values = {key: value for key, value in vars(thing).items() if key != "_sa_instance_state"}
    return {
        "class": type(thing).__name__,
        "values": {key: described(values[key], seen) for key in sorted(values)},
        "state": _state(state),
        "history": {
            name: repr(attribute.history)
            for name, attribute in state.attrs.items()
            if name in values and name in state.mapper.column_attrs
        },
    }


def _state(state: Any) -> dict[str, Any]:
    own = vars(state)
    return {
        # without what it has only to find it faster again
        "own": sorted(set(own) - {"attrs", "mapper"}),
        "key": (state.key[0].__name__, *state.key[1:]) if state.key else None,
        "in session": state.session is not None and state.obj() in state.session,
        "mapped": state._instance_dict() is state.session.identity_map,
        "session": state.session.hash_key == state.session_id,
        "options": len(state.load_options),
        "path": str(state.load_path),
        "expired": sorted(state.expired_attributes),
        "unloaded": sorted(state.unloaded),
        "committed": sorted(state.committed_state),
        "callables": sorted(state.callables),
        "flags": (state.modified, state.expired, state.persistent, state.deleted),
        "class": (state.class_.__name__, state.manager.class_ is state.class_),
        "alive": state.obj() is not None,
    }


def outcome(
    session_class: Callable[..., orm.Session],
    engine: Engine,
    program: Program,
    *,
    listening: bool = True,
) -> Any:
    """What a program gave, or how it failed, the statements it sent, and what the session holds.

    :param listening: for statements, which keeps the ways from being taken that tell nobody.
    """
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    if listening:
        event.listen(engine, "before_cursor_execute", note)
    try:
        with session_class(engine) as session:
            try:
                result = program(session)
                found = described(result)
            except Exception as error:
                result = None
                found = [type(error).__name__, str(error).split("0x")[0]]
            keys = list(session.identity_map.keys())
            held = sorted(str((key[0].__name__, *key[1:])) for key in keys)
            return {"found": found, "statements": statements, "held": held}
    finally:
        if listening:
            event.remove(engine, "before_cursor_execute", note)


def compare(engine: Engine, program: Program, *, listening: bool = True) -> dict[str, int]:
    """Run a program on both; they end alike. What was counted on the way."""
    expected = outcome(orm.Session, engine, program, listening=listening)
    before = dict(counts)
    actual = outcome(hermetic.Session, engine, program, listening=listening)

    assert actual == expected
    return {
        name: number - before.get(name, 0)
        for name, number in counts.items()
        if number != before.get(name, 0)
    }
