"""The ways by which many rows go to a server: the driver's ``executemany``, COPY, SQLAlchemy's own.

On the first two hermetic's guards stand as before every statement: they pass the dialect's
``do_execute`` and ``do_executemany``. An error leaves through SQLAlchemy's Connection, as of its
class and hermetic's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import itemgetter, length_hint
from typing import Any

from ..dialects.refusals import hide_rows
from ..dialects.writing import goes_one_by_one, survives_refusal
from ..execution import known
from ..fast.over import Sending, why_not_connection
from ..fast.private_flush import shortened, why_not_compiled
from ..fast.switch import FLUSH_OFF, ON
from ..touched import note
from .columns import in_order, is_straight
from .copying import Copying
from .given import Run
from .refused import by_halves, is_of_a_row, named_by_server, tell
from .target import Target


class Said:
    """A statement as it is sent by its text."""

    __slots__ = ("compiled", "construct", "sql")

    def __init__(self, sql: str, compiled: Any = None, construct: Any = None) -> None:
        self.sql = sql
        self.compiled = compiled
        self.construct = construct


def positional(compiled: Any) -> tuple[str, list[str]] | None:
    """A statement's text for rows that are tuples, and the names of their values; ``None`` where
    it is more than its text and one value for each name.
    """
    if why_not_compiled(compiled):
        return None
    if compiled.positional:
        return compiled.string, list(compiled.positiontup)
    if compiled.dialect.paramstyle != "pyformat":
        return None
    # the driver takes marks without names too; what is no mark has its "%" doubled
    names = _NAMED.findall(compiled.string)
    if sorted(names) != sorted(compiled.bind_names.values()):
        return None
    return _NAMED.sub("%s", compiled.string), names


_NAMED = re.compile(r"(?<!%)%\((\w+)\)s")


class Sender:
    """Sends the rows of one call, on the session's own connection.

    :ivar aside: why SQLAlchemy has to send them; ``None`` where it need not.
    :ivar database: the family's name, or SQLAlchemy's.
    """

    def __init__(self, session: Any, target: Target, what: str) -> None:
        self.session = session
        self.what = what
        self.connection = session.connection(bind_arguments=target.bind_arguments())
        self.dialect = self.connection.dialect
        record = known(self.connection)
        self.database: str = self.dialect.name if record is None else record.family.name
        self.driver: str = self.dialect.driver
        self.aside = _why_aside(session, self.connection)
        note(session, target.table)

    def whole(self) -> Any:
        """A block whose statements are undone together if it fails; what came before stays."""
        connection = self.connection
        foreign = known(connection) is None and goes_one_by_one(self.driver)
        if foreign and not connection.connection.driver_connection.in_transaction:
            # SQLite's first savepoint would be the transaction, and its release the commit
            connection.exec_driver_sql("BEGIN")
        return connection.begin_nested()

    # ------------------------------------------------------------ ways

    def core(self, construct: Any, parameters: Any, run: Run, names: Any = ()) -> Any:
        """By SQLAlchemy.

        :param names: the columns that the run's values are of, where the server may name some.
        :return: its result.
        """

        def send(start: int, end: int) -> Any:
            part = parameters if isinstance(parameters, dict) else parameters[start:end]
            return self.execute(construct, part)

        divisible = not isinstance(parameters, dict)
        return self._looked_after(send, run, names, divisible=divisible)

    def parts(self, send: Callable[[int, int], Any], run: Run, *, whole: bool = False) -> Any:
        """By a function that sends the rows from one up to another.

        :param whole: it does so in one statement, of which nothing is left where it is refused.
        """
        return self._looked_after(send, run, (), whole=whole)

    def execute(self, construct: Any, parameters: Any) -> Any:
        """One statement, by SQLAlchemy."""
        options = _options_of(self.session)
        return self.connection.execute(construct, parameters, execution_options=options)

    def one(self, said: Said, parameters: Any) -> int:
        """One statement, by the driver; the number of rows that it tells of."""
        cursor = self._sent(said, parameters)
        count: int = cursor.rowcount
        self.connection._safe_close_cursor(cursor)
        return count

    def asked(self, said: Said, parameters: Any) -> Any:
        """One statement, by the driver; the rows that it gives back, which are there with it."""
        cursor = self._sent(said, parameters)
        rows = cursor.fetchall()
        self.connection._safe_close_cursor(cursor)
        return rows

    def _sent(self, said: Said, parameters: Any) -> Any:
        connection = self.connection
        sending = Sending(connection, said, said.sql, parameters, False)
        cursor: Any = None
        try:
            cursor = sending.cursor = connection._dbapi_connection.cursor()
            self.dialect.do_execute(cursor, said.sql, parameters, sending)
        except BaseException as error:
            shown = shortened(said.sql)
            connection._handle_dbapi_exception(error, shown, parameters, cursor, sending)
        return cursor

    def many(self, said: Said, rows: list[Any], order: list[int], run: Run) -> int:
        """By the driver's ``executemany``; the number of rows that it tells of.

        :param order: the one in which the statement has the values of a row.
        """
        if goes_one_by_one(self.driver):
            remaining = iter(rows)
            # each is put in order when its turn has come: all of them at once are many objects
            given = remaining if is_straight(order) else map(itemgetter(*order), remaining)
            try:
                return self._many(said, rows, given)
            except Exception as error:
                if is_of_a_row(error):
                    tell(error, run, len(rows) - length_hint(remaining) - 1, self.what)
                raise
        ordered = in_order(rows, order)

        def send(start: int, end: int) -> int:
            part = ordered[start:end]
            return self._many(said, part, part)

        answer: int = self._looked_after(send, run, ())
        return answer

    def one_by_one(
        self, said: Said, rows: list[Any], run: Run, asks: str | None
    ) -> list[Any] | None:
        """Row by row, on a cursor that knows the number of the last one.

        :param asks: the question for the key of the row with a number.
        :return: the keys; ``None`` if they are no row numbers: nothing is written then.
        """
        around = self.connection.begin_nested()
        try:
            keys, last = self._one_by_one(said, rows, run, asks)
        except BaseException:
            around.rollback()
            raise
        if last is None or last[0] != keys[-1]:
            around.rollback()
            return None
        around.commit()
        return [(key,) for key in keys]

    def _one_by_one(self, said: Said, rows: list[Any], run: Run, asks: str | None) -> Any:
        """The numbers of the rows, and the key of the last one."""
        connection = self.connection
        sending = Sending(connection, said, said.sql, rows[0], False)
        cursor: Any = None
        keys: list[Any] = []
        try:
            cursor = sending.cursor = connection._dbapi_connection.cursor()
            self.dialect.do_execute(cursor, said.sql, rows[0], sending)
            keys.append(cursor.lastrowid)
            for row in rows[1:]:
                cursor.execute(said.sql, row)
                keys.append(cursor.lastrowid)
            cursor.execute(asks, (keys[-1],))
            told = cursor.fetchone()
        except BaseException as error:
            try:
                shown = shortened(said.sql)
                connection._handle_dbapi_exception(error, shown, rows, cursor, sending)
            except Exception as raised:
                if is_of_a_row(raised):
                    tell(raised, run, len(keys), self.what)
                raise
        connection._safe_close_cursor(cursor)
        return keys, told

    def copy(self, said: Said, rows: list[Any], run: Run, names: Any, copying: Copying) -> None:
        """By COPY."""
        sending = Sending(self.connection, said, said.sql, None, True)
        copier = copying.copier(self.connection._dbapi_connection.dbapi_connection, rows)
        try:
            self.dialect.do_execute(copier, said.sql, None, sending)
        except BaseException as error:
            if self.connection.engine.hide_parameters:
                hide_rows(error)
            try:
                self.connection._handle_dbapi_exception(error, said.sql, None, copier, sending)
            except Exception as raised:
                if is_of_a_row(raised):
                    number = named_by_server(raised, names, run.rows)
                    tell(raised, run, copier.at() if number is None else number, self.what)
                raise

    # ------------------------------------------------------------ errors

    def _many(self, said: Said, rows: list[Any], given: Any) -> int:
        connection = self.connection
        sending = Sending(connection, said, said.sql, rows, True)
        cursor: Any = None
        try:
            cursor = sending.cursor = connection._dbapi_connection.cursor()
            self.dialect.do_executemany(cursor, said.sql, given, sending)
        except BaseException as error:
            shown = shortened(said.sql)
            connection._handle_dbapi_exception(error, shown, rows, cursor, sending)
        count: int = cursor.rowcount if sending._rowcount is None else sending._rowcount
        connection._safe_close_cursor(cursor)
        return count

    def _looked_after(
        self,
        send: Callable[[int, int], Any],
        run: Run,
        names: Any,
        *,
        divisible: bool = True,
        whole: bool = False,
    ) -> Any:
        """Send all rows of a run; if one is refused, the error says which."""
        count = len(run)
        searches = divisible and count > 1 and survives_refusal(self.database)
        # what came before the row that is refused is undone, for the rows to be sent again
        around = self.connection.begin_nested() if searches and not whole else None
        try:
            answer = send(0, count)
        except BaseException as error:
            if isinstance(error, Exception) and is_of_a_row(error):
                number = 0 if count == 1 else named_by_server(error, names, run.rows)
                if around is not None:
                    around.rollback()
                if searches:
                    number = self._sought(send, count)
                tell(error, run, number, self.what)
            elif around is not None and around.is_active:
                around.rollback()
            raise
        if around is not None:
            around.commit()
        return answer

    def _sought(self, send: Callable[[int, int], Any], count: int) -> int | None:
        def takes(start: int, end: int) -> bool:
            attempt = self.connection.begin_nested()
            try:
                send(start, end)
            except Exception as error:
                attempt.rollback()
                if not is_of_a_row(error):
                    raise
                return False
            attempt.commit()
            return True

        try:
            return by_halves(count, takes)
        except Exception:
            return None  # time is over, or the connection is lost: which row it was, nobody says


def _why_aside(session: Any, connection: Any) -> str | None:
    if not ON or FLUSH_OFF is not None:
        return "off"
    if _options_of(session):
        return "execution options"
    return why_not_connection(connection)


def _options_of(session: Any) -> Any:
    """Execution options of all its statements, which sessions have from SQLAlchemy 2.1 on."""
    return getattr(session, "execution_options", {})
