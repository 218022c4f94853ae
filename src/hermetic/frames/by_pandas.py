"""What pandas reads by itself: in chunks, with options of its own, columns of no one type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from ..errors import HermeticError
from .asking import connection_for, statement_of
from .forms import library


def read_by_pandas(
    session: Any, what: Any, params: Mapping[str, Any] | None, options: Mapping[str, Any]
) -> Any:
    pandas = library("pandas")
    statement = statement_of(what)
    connection = connection_for(session, what)
    given = {"coerce_float": False, **options}
    try:
        return pandas.read_sql_query(statement, connection, params=params, **given)
    except pandas.errors.DatabaseError as error:
        # pandas wraps whatever SQLAlchemy raised; the same fault shall have the same class here
        if isinstance(error.__cause__, (HermeticError, SQLAlchemyError)):
            raise error.__cause__ from None
        raise
