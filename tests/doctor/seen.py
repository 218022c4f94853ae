"""What tests of the doctor ask of a report."""

from __future__ import annotations

from typing import Any

from hermetic import Database
from hermetic.doctor import Report, Severity, examine
from hermetic.release import IS_2_0
from tests.doctor.planted import RECOMMENDED
from tests.wire import Messages, runs


def codes(report: Report, least: Severity = Severity.HINT, server: str | None = None) -> set[str]:
    """What was found, of one server where it is named, but for what is said of SQLAlchemy 2.0."""
    found = {
        each.code for each in report.at_least(least) if server is None or each.server == server
    }
    return found - ({"fast-paths-off"} if IS_2_0 else set())


def examined(url: str, *, limit: float = 10.0, workers: int = 1, **options: Any) -> Report:
    """The report on a Database with the recommended options, and these.

    :param limit: seconds for all of it.
    """
    database = Database(url, **{**RECOMMENDED, **options})
    try:
        return examine(database, workers=workers, timeout=limit)
    finally:
        database.close()


def one(report: Report, code: str) -> Any:
    """The only finding of a code."""
    (found,) = (each for each in report.findings if each.code == code)
    return found


def sent_by(data: bytes, *, mysql: bool) -> list[str]:
    """The statements in what one client has sent."""
    messages = Messages(mysql=mysql).feed(data)
    return [each.text.decode().strip() for each in messages if runs(each, mysql=mysql)]
