"""Releases of servers that nobody mends any more, and those with a bug that matters here.

As of 2026-11-27. An end of support is the day of the last release, by the projects' own pages:
https://www.postgresql.org/support/versioning/, https://mariadb.org/about/#maintenance-policy,
https://www.oracle.com/us/support/library/lifetime-support-technology-069183.pdf (MySQL). A series
that is missing here is not known, and nothing is said of it.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

Version = tuple[int, ...]

AS_OF = datetime.date(2026, 11, 27)

# the first part of a version, or two: the longest that fits counts
ENDS: dict[str, dict[Version, datetime.date]] = {
    "PostgreSQL": {
        (9,): datetime.date(2021, 11, 11),
        (10,): datetime.date(2022, 11, 10),
        (11,): datetime.date(2023, 11, 9),
        (12,): datetime.date(2024, 11, 21),
        (13,): datetime.date(2025, 11, 13),
        (14,): datetime.date(2026, 11, 12),
        (15,): datetime.date(2027, 11, 11),
        (16,): datetime.date(2028, 11, 9),
        (17,): datetime.date(2029, 11, 8),
        (18,): datetime.date(2030, 11, 14),
    },
    "MariaDB": {
        (10, 3): datetime.date(2023, 5, 25),
        (10, 4): datetime.date(2024, 6, 18),
        (10, 5): datetime.date(2025, 6, 24),
        (10, 6): datetime.date(2026, 7, 6),
        (10, 7): datetime.date(2023, 2, 9),
        (10, 8): datetime.date(2023, 5, 20),
        (10, 9): datetime.date(2023, 8, 22),
        (10, 10): datetime.date(2023, 11, 17),
        (10, 11): datetime.date(2028, 2, 16),
        (11, 0): datetime.date(2024, 6, 6),
        (11, 1): datetime.date(2024, 8, 21),
        (11, 2): datetime.date(2024, 11, 21),
        (11, 3): datetime.date(2024, 5, 29),
        (11, 4): datetime.date(2029, 5, 29),
        (11, 5): datetime.date(2024, 11, 21),
        (11, 6): datetime.date(2025, 2, 13),
        (11, 7): datetime.date(2025, 5, 12),
        (11, 8): datetime.date(2028, 6, 4),
        (12, 0): datetime.date(2025, 11, 18),
        (12, 1): datetime.date(2026, 2, 13),
        (12, 2): datetime.date(2026, 5, 13),
        (12, 3): datetime.date(2029, 6, 30),
    },
    "MySQL": {
        (5,): datetime.date(2023, 10, 31),
        (8, 0): datetime.date(2026, 4, 30),
        (8, 4): datetime.date(2032, 4, 30),
    },
}


@dataclass(frozen=True, slots=True)
class Bug:
    """What is wrong with the releases from ``first`` to before ``mended``, of one series."""

    product: str
    first: Version
    mended: Version
    what: str
    source: str


BUGS: tuple[Bug, ...] = (
    Bug(
        "PostgreSQL",
        (14, 0),
        (14, 4),
        "CREATE INDEX CONCURRENTLY and REINDEX CONCURRENTLY may leave rows out of the index",
        "https://www.postgresql.org/docs/14/release-14-4.html",
    ),
    *(
        Bug(
            "PostgreSQL",
            (major, minor),
            (major, minor + 1),
            "ALTER ROLE … SET role and ALTER DATABASE … SET role have no effect",
            f"https://www.postgresql.org/docs/{major}/release-{major}-{minor + 1}.html",
        )
        for major, minor in ((13, 17), (14, 14), (15, 9), (16, 5), (17, 1))
    ),
    Bug(
        "MariaDB",
        (10, 6, 9),
        (10, 6, 10),
        "recovery after a crash may fail or leave corrupted pages (MDEV-29374, MDEV-29383)",
        "https://mariadb.org/regressions-in-recent-mariadb-server-releases/",
    ),
)


def ended(product: str, version: Version, today: datetime.date) -> datetime.date | None:
    """When the support of a server's series has ended, if it has."""
    known = ENDS.get(product, {})
    for length in (2, 1):
        end = known.get(version[:length])
        if end is not None:
            return end if end < today else None
    return None


def bugs(product: str, version: Version) -> Iterator[Bug]:
    """Those that a server has."""
    for bug in BUGS:
        if bug.product == product and bug.first <= version < bug.mended:
            yield bug


def shown(version: Version) -> str:
    return ".".join(map(str, version))
