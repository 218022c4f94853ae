"""A test of somebody's has frozen time: deadlines go by the real clock."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.behaviour.aftermath import on
from tests.models import User
from tests.worlds import World

Freeze = Callable[[float], None]

on_each_family = on(lambda backend: backend.name in ("sqlite", "aiosqlite", "psycopg", "asyncmy"))


@pytest.fixture
def freeze(monkeypatch: pytest.MonkeyPatch) -> Freeze:
    """Puts its own clock in the place of the real one where a module has that, as freezegun does.

    What is compiled goes on by the real one. So does the standard library, without which no event
    loop would go on.
    """
    real = {time.monotonic: 1.0, time.monotonic_ns: 1e9}
    at = [0.0]

    def set_to(seconds: float) -> None:
        at[0] = seconds

    def frozen(factor: float) -> Callable[[], float]:
        return lambda: at[0] * factor

    fakes = [(clock, frozen(factor)) for clock, factor in real.items()]
    for name, module in list(sys.modules.items()):
        if not name.startswith("hermetic"):
            continue
        for attribute, value in list(vars(module).items()):
            for clock, fake in fakes:
                if value is clock:
                    monkeypatch.setattr(module, attribute, fake)
                if value is time:
                    monkeypatch.setattr(module, attribute, _Frozen(fakes))
    return set_to


class _Frozen:
    """The module ``time``, with other clocks."""

    def __init__(self, fakes: list[tuple[Any, Any]]) -> None:
        self._fakes = {clock.__name__: fake for clock, fake in fakes}

    def __getattr__(self, name: str) -> Any:
        return self._fakes.get(name) or getattr(time, name)


@on_each_family
async def test_a_deadline_goes_by_the_real_clock(world: World, freeze: Freeze) -> None:
    freeze(978_307_200.0)
    async with world.session(timeout=30.0) as session:
        session.add(User(username="ann"))
        await session.flush()
        freeze(978_400_000.0)
        assert await session.scalar("SELECT count(*) FROM users") == 1
    freeze(0.0)
    async with world.session(timeout=30.0) as session:
        assert await session.scalar("SELECT count(*) FROM users") == 1


def test_imported_while_time_is_frozen_it_goes_on_by_the_real_clock() -> None:
    script = """
import time
real = time.monotonic
time.monotonic, time.monotonic_ns = lambda: 0.0, lambda: 0
from hermetic import clock
print(real() <= clock.monotonic() <= clock.monotonic_ns() / 1e9 <= real())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert done.stdout == "True\n", done.stderr
