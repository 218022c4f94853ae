"""Whether the inspector's page keeps up with two thousand open scopes, and the process with it.

    python bench/inspector.py [--scopes 2000] [--rounds 30]

In a headless Chromium: how long an update takes, from the text of a state to the page as it is laid
out. In the process: how long a state takes, and for how long the event loop is kept from going on
while the page is looked at. More than 200 ms for one in twenty updates fails the run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from hermetic import Database
from hermetic.inspector import asgi, state_of
from tests.inspector.browser import Browser, missing
from tests.inspector.serving import on_uvicorn

# seconds for an update in the browser
LIMIT = 0.2

_UPDATES = """
const text = await (await fetch("api/live", { cache: "no-store" })).text();
const took = [];
for (let round = 0; round < rounds; round += 1) {
  // every figure of every row is another one
  const began = performance.now();
  const state = JSON.parse(text);
  for (const each of state.states.own.databases) {
    for (const scope of each.scopes) {
      scope.age += 1 + round * Math.random();
      scope.statements += round;
    }
  }
  state.states.own.at += round + 1;
  window.hermeticShow(state);
  document.body.offsetHeight;
  took.push((performance.now() - began) / 1000);
  await new Promise((resolve) => requestAnimationFrame(resolve));
}
return [took, text.length];
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scopes", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    problem = missing()
    if problem is not None:
        print(f"not measured: {problem}")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measure(Path(folder), given.scopes, given.rounds))


async def _measure(folder: Path, scopes: int, rounds: int) -> int:
    over, everybody = asyncio.Event(), asyncio.Event()
    url = f"sqlite:///{folder}/many.db"
    async with Database(url, name="many", watch=True, pool_timeout=600, max_waiting=None) as db:

        async def one(number: int) -> None:
            async with db.session(name=f"scope {number}", readonly=True) as session:
                # half of them wait in line behind the few who have a connection
                if number % 2:
                    if number == 1:
                        everybody.set()
                    await session.execute("SELECT 1")
                await over.wait()

        tasks = [asyncio.create_task(one(number)) for number in range(scopes)]
        await everybody.wait()
        await asyncio.sleep(1.0)
        try:
            return await _report(db, rounds)
        finally:
            over.set()
            await asyncio.gather(*tasks)


async def _report(db: Database, rounds: int) -> int:
    states = []
    for _ in range(10):
        began = time.perf_counter()
        text = json.dumps(state_of(db, with_history=False))
        states.append(time.perf_counter() - began)
    print(f"{len(db.snapshot().scopes)} open scopes, {len(text) / 1e6:.1f} MB of JSON")
    print(_line("a state, in the process", states))
    late = asyncio.create_task(_late())
    updates = await asyncio.to_thread(_in_a_browser, db, rounds)
    late.cancel()
    print(_line("the event loop was late", _LATE))
    print(_line("an update, in the browser", updates))
    if sorted(updates)[int(0.95 * (len(updates) - 1))] > LIMIT:
        print(f"FAILED: updates took more than {LIMIT * 1000:.0f} ms")
        return 1
    return 0


_LATE: list[float] = []


async def _late() -> None:
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.01)
        _LATE.append(time.perf_counter() - began - 0.01)


def _in_a_browser(db: Database, rounds: int) -> list[float]:
    browser = Browser()
    try:
        with on_uvicorn(asgi(db)) as url:
            browser.go(f"{url}/")
            browser.wait_for_text("#scopes", "scope")
            browser.run("document.getElementById('pause').click()")
            found: Any = browser.run(
                f"return (async (rounds) => {{{_UPDATES}}})(arguments[0])", rounds
            )
            return list(found[0])
    finally:
        browser.quit()


def _line(what: str, seconds: list[float]) -> str:
    ordered = sorted(seconds)
    far = ordered[int(0.99 * (len(ordered) - 1))]
    return (
        f"{what:28} median {statistics.median(ordered) * 1000:7.1f} ms, "
        f"99 % {far * 1000:7.1f} ms, longest {ordered[-1] * 1000:7.1f} ms"
    )


if __name__ == "__main__":
    sys.exit(main())
