"""One run: the chosen works on the chosen stages, measured and judged."""

from __future__ import annotations

import asyncio
import sys
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
    """One run. ``skipped`` says what of it hermetic cannot do, each in a line."""

    def __init__(self, plans: Plans, only: str) -> None:
        self.plans = plans
        self.floors = Floors()
        self.results: list[Result] = []
        self.skipped: list[str] = []
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
                if not turns:
                    continue
                if work.kind is Kind.COUNT:
                    counted = {name: Series(count=[count()]) for name, count in turns.items()}
                    self._add(stage.name, work, counted)
                    continue
                plan = self.plans.by_kind[work.kind]
                found = measure(turns, plan)
                if self._judge(stage.name, work, found).lost:
                    _join(found, measure(turns, plan))
                self._add(stage.name, work, found)

    async def _run_async(self, stage: AsyncStage, url: URL) -> None:
        async with stage.open(url, self.plans.sizes) as contenders:
            for work in self.works:
                turns = self._turns(stage.name, work, contenders)
                if not turns:
                    continue
                if work.kind is Kind.COUNT:
                    counted = {n: Series(count=[await count()]) for n, count in turns.items()}
                    self._add(stage.name, work, counted)
                    continue
                plan = self.plans.by_kind[work.kind]
                found = await measure_async(turns, plan)
                if self._judge(stage.name, work, found).lost:
                    _join(found, await measure_async(turns, plan))
                self._add(stage.name, work, found)

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
