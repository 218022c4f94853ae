"""The oldest releases: pyproject.toml has them, and what else names them says the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from hermetic.dialects import drivers
from hermetic.dialects.drivers import numbers, oldest_sound
from hermetic.dialects.family import Driver

_ROOT = Path(__file__).parents[1]
_BOUND = re.compile(r"([\w.-]+)(?:\[\w+\])?>=([\d.]+)")


def bounds() -> dict[str, str]:
    """By the name of a package, the least version that an application may have of it."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours = {"dev", "tests", "bench", "package", "docs"}
    wanted = list(project["dependencies"])
    for extra, named in project["optional-dependencies"].items():
        wanted += [] if extra in ours else named
    matches = [found for each in wanted if (found := _BOUND.match(each))]
    return {found[1]: found[2] for found in matches}


@pytest.mark.parametrize(
    "driver",
    {
        driver.module: driver
        for family in drivers.FAMILIES
        for driver in (*family.sync_drivers, *family.async_drivers)
        if driver.minimum
    }.values(),
    ids=lambda driver: driver.module,
)
def test_a_driver_that_is_warned_of_could_not_be_installed_with_its_extra(driver: Driver) -> None:
    by_name = {name.lower(): bound for name, bound in bounds().items()}
    least = (*numbers(by_name[driver.module.lower()]), 0, 0)

    assert least[:3] >= driver.minimum


def test_the_page_of_versions_has_the_bounds() -> None:
    page = (_ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^\| (\w+) \| ([\d.]+) or later \|", page, re.MULTILINE))

    assert len(shown) == 6
    assert shown == {name: bound for name, bound in bounds().items() if name in shown}


def test_an_old_sqlalchemy_cannot_be_installed() -> None:
    text = (_ROOT / "pyproject.toml").read_text(encoding="utf-8")
    refused = set(re.findall(r"!=(2\.1\.\d+)", text))

    assert numbers(bounds()["sqlalchemy"]) == oldest_sound((2, 0, 0))
    assert refused == {f"2.1.{patch}" for patch in range(oldest_sound((2, 1, 0))[2])}
