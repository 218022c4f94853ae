"""One run: the chosen works on the chosen stages, measured and judged."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from sqlalchemy import URL

from bench.contenders import HERMETIC
from bench.floors import Floors
from bench.measure import Series, measure, measure_async
from bench.plans import Plans
from bench.results import Result, judge
from bench.stages import STAGES, AsyncStage, SyncStage
from bench.works import WORKS, Kind, Work


class Measuring:
    """One run. ``skipped`` says what hermetic cannot do, ``failed`` which cases raised."""

    def __init__(self, plans: Plans, only: str) -> None:
        self.plans = plans
        self.floors = Floors()
        self.results: list[Result] = []
        self.skipped: list[str] = []
        self.failed: list[str] = []
        parts = {part for part in only.split("/") if part}
        names = {stage.name for stage in STAGES}
        unknown = sorted(parts - names - set(WORKS))
        if unknown:
            known = ", ".join((*sorted(names), *WORKS))
            raise SystemExit(f"--only {only}: {unknown[0]!r} is none of {known}")
        stages, works = parts & names or names, parts & set(WORKS) or set(WORKS)
        self.works = [work for name, work in WORKS.items() if name in works]
        self.stages = [
            stage for stage in STAGES if stage.name in stages and works & set(stage.works)
        ]

    @property
    def databases(self) -> set[str]:
        return {stage.database for stage in self.stages}

    def run(self, urls: dict[str, URL]) -> None:
        """Measure the stages of which there is a database."""
        for stage in self.stages:
            if stage.database not in urls:
                continue
            if isinstance(stage, SyncStage):
                self._run(stage, urls[stage.database])
            else:
                asyncio.run(self._run_async(stage, urls[stage.database]))

    def _run(self, stage: SyncStage, url: URL) -> None:
        with stage.open(url, self.plans.sizes) as contenders:
            for work in self.works:
                turns = self._turns(stage.name, work, contenders)
                with self._failures(stage.name, work):
                    if turns:
                        self._add(stage.name, work, self._found(stage.name, work, turns))

    async def _run_async(self, stage: AsyncStage, url: URL) -> None:
        async with stage.open(url, self.plans.sizes) as contenders:
            for work in self.works:
                turns = self._turns(stage.name, work, contenders)
                with self._failures(stage.name, work):
                    if turns:
                        self._add(stage.name, work, await self._found_async(stage, work, turns))

    def _found(self, stage: str, work: Work, turns: dict[str, Any]) -> dict[str, Series]:
        if work.kind is Kind.COUNT:
            return {name: Series(count=[count()]) for name, count in turns.items()}
        plan = self.plans.by_kind[work.kind]
        found = measure(turns, plan)
        if self._judge(stage, work, found).lost:
            _join(found, measure(turns, plan))
        return found

    async def _found_async(
        self, stage: AsyncStage, work: Work, turns: dict[str, Any]
    ) -> dict[str, Series]:
        if work.kind is Kind.COUNT:
            return {name: Series(count=[await count()]) for name, count in turns.items()}
        plan = self.plans.by_kind[work.kind]
        found = await measure_async(turns, plan)
        if self._judge(stage.name, work, found).lost:
            _join(found, await measure_async(turns, plan))
        return found

    @contextlib.contextmanager
    def _failures(self, stage: str, work: Work) -> Iterator[None]:
        """A contender that raises fails its case, and the run at its end, but no other case."""
        try:
            yield
        except Exception:
            traceback.print_exc()
            self.failed.append(f"{stage}/{work.name}")

    def _turns(self, stage: str, work: Work, contenders: dict[str, Any]) -> dict[str, Any]:
        """Everyone's turns at a work; none where it is not a work of this stage."""
        turns = {name: works[work.name] for name, works in contenders.items() if work.name in works}
        if turns and HERMETIC not in turns:
            self.skipped.append(f"{stage}/{work.name}: {work.needs}")
            return {}
        return turns

    def _judge(self, stage: str, work: Work, found: dict[str, Series]) -> Result:
        rows = work.rows(self.plans.sizes)
        scaled = {name: series.divided(rows) for name, series in found.items()}
        return judge(self.floors, stage, work.name, work.text, work.unit, scaled)

    def _add(self, stage: str, work: Work, found: dict[str, Series]) -> None:
        result = self._judge(stage, work, found)
        self.results.append(result)
        tell(result)


def tell(result: Result) -> None:
    """Say on stderr how far the run has come."""
    measured = next(iter(result.measures.values()))
    ratios = ", ".join(
        f"{name} {ratio.median:.2f}" for name, ratio in measured.slower.items() if name != HERMETIC
    )
    lost = "FLOOR LOST" if result.lost else ""
    print(f"{result.stage}/{result.work}: {ratios}", lost, file=sys.stderr, flush=True)


def _join(found: dict[str, Series], more: dict[str, Series]) -> None:
    for name, series in more.items():
        found[name].add(series)
