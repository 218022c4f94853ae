"""Many rows whose keys the server makes, inserted with the keys given back in the rows' order."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm.exc import FlushError

from .lane import Lane
from .write_plan import Plan, Statement


def insert_with_keys(
    lane: Lane, plan: Plan, statement: Statement, states: list[Any], defaults: Any
) -> None:
    """Through SQLAlchemy's "insertmanyvalues", which keeps rows and keys together."""
    names, props, sources = statement.names, statement.props, statement.sources
    parameters = []
    for number, state in enumerate(states):
        values = state.obj().__dict__
        parameters.append(
            {
                name: values.get(prop) if source < 0 else defaults[number][source]
                for name, prop, source in zip(names, props, sources, strict=True)
            }
        )
    result = lane.full().execute(statement.construct, parameters)
    rows = result.inserted_primary_key_rows
    returned = result.returned_defaults_rows or ()
    if len(rows) < len(states):
        raise FlushError(
            f"Multi-row INSERT statement for {plan.mapper} did not produce the correct number of "
            "INSERTed rows for RETURNING.  Ensure there are no triggers or special driver issues "
            "preventing INSERT from functioning properly."
        )
    extra = [(index, prop) for index, (prop, is_key) in enumerate(statement.returned) if not is_key]
    for number, state in enumerate(states):
        values = state.obj().__dict__
        for prop, value in zip(plan.pk_props, rows[number], strict=True):
            if values.get(prop) is None:
                values[prop] = value
        for index, prop in extra:
            values[prop] = returned[number][index]
