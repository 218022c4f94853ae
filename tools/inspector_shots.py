"""Takes the pictures of docs/inspector.md, of the page itself with a workload behind it.

    python -m tools.inspector_shots [FOLDER]

Nobody waits for an hour: the charts have one that is made up before the work that is seen, and the
process and its files have the names of a shop. Everything else is as it is seen by anybody.
"""

from __future__ import annotations

import linecache
import math
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from hermetic.inspector.access import Access
from hermetic.inspector.mounted import wsgi_of
from hermetic.inspector.serving import Page
from hermetic.inspector.sources import OwnProcess
from tests.inspector import workload
from tests.inspector.browser import Browser, missing
from tests.inspector.serving import on_wsgiref

DOCS: Final = Path(__file__).parents[1] / "docs"
_FILE: Final = "/srv/shop/orders.py"
_SIZE: Final = (1240, 960)


def main(arguments: list[str]) -> int:
    problem = missing()
    if problem is not None:
        sys.stderr.write(f"{problem}\n")
        return 1
    folder = Path(arguments[0]) if arguments else DOCS
    work = _named_work()
    with tempfile.TemporaryDirectory() as scratch:
        db = work.watched(f"sqlite:///{scratch}/shop.db")
        app = wsgi_of(Page(Shop((db,), literals=False), Access()))
        with db, work.Workload(db, holders=4), on_wsgiref(app) as url:
            time.sleep(3)
            browser = Browser()
            try:
                _take(browser, url, folder, lambda: work.add_up(db))
            finally:
                browser.go("about:blank")
                browser.quit()
    return 0


def _named_work() -> Any:
    """The tests' workload, as a file of the shop's: places and lines of source are shown."""
    text = Path(str(workload.__file__)).read_text(encoding="utf-8")
    linecache.cache[_FILE] = (len(text), None, text.splitlines(keepends=True), _FILE)
    module = ModuleType("orders")
    sys.modules["orders"] = module
    exec(compile(text, _FILE, "exec"), module.__dict__)
    return module


class Shop(OwnProcess):
    """This process, under another name and with an hour behind it."""

    def live(self) -> dict[str, Any]:
        found: dict[str, Any] = {**super().live()}
        found["own"]["process"].update(program="gunicorn", host="web-1", pid=4711)
        return found

    def history(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {**super().history()}
        for each in found["own"].values():
            first = min((point["at"] for point in each["timeline"]), default=time.time())
            each["timeline"][:0] = [_point(first, back) for back in range(360, 0, -1)]
        return found


def _point(first: float, back: int) -> dict[str, Any]:
    chance = random.Random(back)
    number = int(320 + 120 * math.sin(back / 40) + chance.gauss(0, 18))
    half = 0.004 + 0.002 * chance.random()
    bad = int(number * 0.03 * chance.random())
    return {
        "at": first - 10.0 * back,
        "count": number,
        "committed": number - bad,
        "not_committed": bad,
        "unknown": 0,
        "failed": bad,
        "retried": chance.randint(0, 4),
        "statements": 3 * number,
        "seconds": number * half,
        "waited": 0.1,
        "p50": half,
        "p95": half * 4 * (1 + chance.random()),
        "p99": half * 9 * (1 + 2 * chance.random()),
        "longest": half * 40,
    }


def _take(browser: Browser, url: str, folder: Path, add_up: Callable[[], None]) -> None:
    browser.driver.set_window_size(*_SIZE)
    for scheme, view in (("light", "live"), ("dark", "history"), ("light", "findings")):
        browser.prefers(color_scheme=scheme)
        browser.go(f"{url}/#{view}")
        browser.wait_for_text("#link", "live")
        if view == "live":
            browser.wait_for("!document.getElementById('tiles').innerText.includes('\\u2013')")
            browser.wait_for("document.querySelectorAll('#scopes .row').length > 7")
        elif view == "history":
            browser.wait_for("document.querySelectorAll('#charts rect').length > 60")
        else:
            browser.wait_for_text("#finding-list", "repeated-statement", "count_orders")
        browser.picture(folder / f"inspector-{view}.png")
    browser.prefers(color_scheme="dark")
    browser.go(f"{url}/#live")
    browser.wait_for_text("#scopes", "monthly report")
    add_up()
    browser.run(f"location.hash = '#scope/own/shop/{_number(browser)}'")
    browser.wait_for_text("#detail", "nightly totals", "4 statements")
    browser.picture(folder / "inspector-scope.png")


def _number(browser: Browser) -> int:
    found = browser.wait_for(
        "fetch('api/history').then((answer) => answer.json()).then((told) =>"
        " told.own.shop.recent.concat(told.own.shop.slow)"
        ".find((each) => each.name === 'nightly totals')?.number)"
    )
    return int(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
