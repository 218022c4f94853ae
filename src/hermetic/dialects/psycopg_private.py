"""Whether psycopg's private parts, on which ``psycopg_ahead`` stands, are as they were read.

They were read for psycopg 3.3.8 and 3.3.9. Where they are not, psycopg sends BEGIN by itself, one
round trip earlier.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from functools import cache
from typing import Any

# methods, with the parameters that are given to them
_CURSOR = {
    "_execute_gen": "query params prepare binary",
    "_reset": "",
    "_convert_query": "query params",
    "_get_prepared": "pgq prepare",
    "_execute_send": "query force_extended binary",
    "_send_query_prepared": "name pgq binary",
    "_send_prepare": "name query",
    "_raise_for_result": "result",
    "_check_results": "results",
    "_set_results": "results",
    "_executemany_gen_pipeline": "query params_seq returning",
    "_executemany_gen_no_pipeline": "query params_seq returning",
}
_CONNECTION = {
    "_get_tx_start_command": "",
    "_exec_command": "command",
    "_start_query": "",
    "_check_connection_ok": "",
}
_PREPARED = {
    "maybe_add_to_cache": "query prep name",
    "validate": "key prep name results",
    "maintain_gen": "conn",
}
# what their instances have
_CURSOR_SLOTS = ("_conn", "_pgconn", "_tx", "_last_query", "_closed")
_CONNECTION_ATTRIBUTES = ("_autocommit", "_pipeline", "_prepared")


def _taken(owner: Any, methods: dict[str, str]) -> str | None:
    for name, expected in methods.items():
        parameters = list(inspect.signature(getattr(owner, name)).parameters)[1:]
        if parameters[: len(expected.split())] != expected.split():
            return f"{owner.__name__}.{name} takes {', '.join(parameters)}"
    return None


def _differs() -> str | None:
    import psycopg

    preparing = importlib.import_module("psycopg._preparing")
    pipeline = importlib.import_module("psycopg._pipeline")
    importlib.import_module("hermetic.dialects.psycopg_ahead")
    for cursor in (psycopg.Cursor, psycopg.AsyncCursor):
        for slot in _CURSOR_SLOTS:
            getattr(cursor, slot)
        if found := _taken(cursor, _CURSOR):
            return found
    for connection in (psycopg.Connection, psycopg.AsyncConnection):
        made = {name for base in connection.__mro__ for name in _set_by(base)}
        for name in _CONNECTION_ATTRIBUTES:
            if name not in made:
                return f"{connection.__name__}.{name} is gone"
        if found := _taken(connection, _CONNECTION):
            return found
    if [int(preparing.Prepare.NO), int(preparing.Prepare.SHOULD)] != [1, 3]:
        return "Prepare has other numbers"
    return _taken(preparing.PrepareManager, _PREPARED) or _taken(
        pipeline.BasePipeline, {"_communicate_gen": ""}
    )


def _set_by(base: type) -> tuple[str, ...]:
    code = getattr(vars(base).get("__init__"), "__code__", None)
    return () if code is None else code.co_names


@cache
def is_as_it_was_read() -> bool:
    """Found once; what is not so is said once, too."""
    try:
        problem = _differs()
    except (ImportError, AttributeError, TypeError, ValueError) as gone:
        problem = str(gone)
    if problem is not None:
        warnings.warn(
            f"BEGIN does not travel with the first statement: psycopg is not what hermetic was made"
            f" for ({problem}). Everything works, with one round trip more.",
            RuntimeWarning,
            stacklevel=2,
        )
    return problem is None
