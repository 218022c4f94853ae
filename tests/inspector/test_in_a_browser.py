"""The page in a browser, clicked through as a person does while scopes open, wait and end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from hermetic import Database, Watch
from tests.inspector.browser import Browser, Keys
from tests.inspector.conftest import Serve, served
from tests.inspector.quiet import QUIET
from tests.inspector.workload import Workload, watched
from tests.models import Base, User
from tests.worlds import PATIENCE

TOKEN = "a-token-of-more-than-sixteen"


@contextmanager
def held(db: Database) -> Iterator[None]:
    """Both of a Database's readers are held, a third scope waits in line; a finding was made."""
    Base.metadata.create_all(db.engine)
    with db.session(name="again and again", readonly=True) as session:
        for number in range(5):
            session.execute(select(User.id).where(User.id == number))
    over = threading.Event()
    opened = [threading.Event() for _ in range(2)]

    def hold(name: str, ready: threading.Event | None) -> None:
        with db.session(name=name, readonly=True) as session:
            session.execute("SELECT 'a secret' AS shown, 1")
            if ready is not None:
                ready.set()
                over.wait(4 * PATIENCE)

    threads = [
        threading.Thread(target=hold, args=("monthly report", opened[0]), name="reporting"),
        threading.Thread(target=hold, args=("export", opened[1]), name="exporting"),
        threading.Thread(target=hold, args=("in line", None), name="the one in line"),
    ]
    try:
        for thread, ready in zip(threads, [*opened, None], strict=True):
            thread.start()
            if ready is not None:
                assert ready.wait(PATIENCE)
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(PATIENCE)


def test_a_person_finds_who_holds_the_pool_while_work_goes_on(
    browser: Browser, db: Database, tmp_path: Path
) -> None:
    busy = watched(f"sqlite:///{tmp_path}/busy.db", name="busy")
    with busy, Workload(busy, readers=1, holders=1, waiting=1), held(db), ExitStack() as stack:
        url = stack.enter_context(served("asgi")(db, busy, mount="/inspector"))
        stack.enter_context(browser.looking(f"{url}/"))
        browser.wait_for_text("#pools", "shop reader", "2 of 2 lent, 1 waiting", "busy writer")
        browser.wait_for_text("#scopes", "monthly report", "export", "in line", "waiting", "idle")

        # one of several Databases
        browser.run(
            "const choice = document.getElementById('which'); choice.value = 'own/shop';"
            "choice.dispatchEvent(new Event('change'))"
        )
        assert browser.wait_for("document.querySelectorAll('#pools li.pool').length == 2")
        assert "busy" not in browser.text("#pools")

        # from its place in the pool to the scope
        words = "document.querySelector('#pools a[aria-label*=exporting]')?.ariaLabel"
        assert "holds a connection for" in browser.wait_for(words)
        browser.run("document.querySelector('#pools a[aria-label*=exporting]').focus()")
        browser.type(Keys.ENTER)
        detail = browser.wait_for_text("#detail", "export #", "thread 'exporting'", "1 statement")
        assert "SELECT '…' AS shown" in detail
        assert "a secret" not in detail
        assert "in hold" in browser.text("#detail .stack"), "where its owner is now"
        assert browser.wait_for("document.querySelectorAll('#detail .bar .piece').length") >= 1
        browser.type(Keys.ESCAPE)
        browser.wait_for("document.getElementById('detail').hidden")
        assert "exporting" in browser.focused("ariaLabel"), "the focus is where it was"

        # from a finding to its line and its scope
        browser.click("#tab-findings")
        assert browser.run("return scrollY") == 0, "an address is no place to scroll to"
        browser.wait_for_text(
            "#finding-list", "repeated-statement", "What to do", "session.execute("
        )
        browser.click("#finding-list a.button", "again and again")
        browser.wait_for_text("#detail", "again and again", "committed", "5 statements")
        browser.click("#detail .close")

        # figures, and all connections
        browser.click("#tab-history")
        browser.wait_for_text("#names", "again and again")
        browser.wait_for("document.querySelectorAll('#charts svg .bar').length")
        browser.wait_for_text("#ended", "again and again", "committed")
        browser.click("#tab-servers")
        browser.wait_for_text("#connections", "in transaction", "reporting")
        browser.wait_for_text("#databases", "sqlite:///", "watched")
        assert browser.run("return document.querySelector('.doings').children.length") == 0


def test_all_of_it_is_done_by_the_keyboard(browser: Browser, db: Database, serve: Serve) -> None:
    with serve(db) as url, held(db), browser.looking(f"{url}/"):
        browser.wait_for_text("#scopes", "monthly report", "in line")
        browser.type(Keys.TAB)
        assert browser.focused() == "Skip to the content"
        browser.element("#tab-live").send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
        assert browser.focused("id") == "tab-findings"
        assert browser.run("return document.getElementById('view-live').hidden")
        browser.type(Keys.HOME)
        assert browser.focused("id") == "tab-live"

        # rows: one is reached by the tabulator, the others by arrows
        tabbed = browser.run(
            "return document.querySelectorAll('#scopes .row[tabindex=\"0\"]').length"
        )
        assert tabbed == 1
        browser.run("document.querySelector('#scopes .row[tabindex=\"0\"]').focus()")
        first = browser.focused()
        browser.type(Keys.ARROW_DOWN)
        assert browser.focused() != first
        browser.type(Keys.ENTER)
        name = browser.wait_for_text("#detail", "#").splitlines()[0]
        assert browser.focused("id") == "detail-title"
        browser.type(Keys.ESCAPE)
        assert browser.focused().startswith(name.partition(" #")[0])

        # columns say how they are ordered
        browser.click("#scopes [role=columnheader] button", "Scope")
        assert browser.run("return document.querySelector('#scopes [role=columnheader]').ariaSort")
        # charts are read point by point
        browser.click("#tab-history")
        browser.run("document.querySelector('#charts svg').focus()")
        last = browser.focused("ariaValueText")
        browser.type(Keys.ARROW_LEFT)
        assert browser.focused("ariaValueText") != last


def test_what_is_shown_is_never_taken_for_markup(browser: Browser, tmp_path: Path) -> None:
    evil = '<img src=x onerror="struck=1"><script>struck=2</script>'
    watch = Watch(**QUIET, repeats=2)
    with (
        Database(f"sqlite:///{tmp_path}/own.db", name=evil, watch=watch) as db,
        ExitStack() as stack,
    ):
        url = stack.enter_context(served("asgi")(db))
        thread = threading.current_thread()
        stack.callback(setattr, thread, "name", thread.name)
        thread.name = evil
        session = stack.enter_context(db.session(name=evil))
        for _ in range(4):
            session.execute(f"SELECT 1 AS `{evil}`")
        stack.enter_context(browser.looking(f"{url}/"))
        browser.wait_for_text("#scopes", "<img src=x")
        browser.click("#scopes .row")
        browser.wait_for_text("#detail", "<img src=x", "<script>")
        browser.click("#detail .close")
        for view in ("findings", "history", "servers"):
            browser.click(f"#tab-{view}")
        browser.wait_for_text("#finding-list", "repeated-statement")
        assert browser.run("return document.querySelectorAll('img, script:not([src])').length") == 0
        assert browser.run("return window.struck ?? null") is None
        # and if a script of the page were to try
        tried = "try { document.body.innerHTML = '<p>x</p>' } catch (error) { return error.name }"
        assert browser.run(tried) == "TypeError"
        browser.complaints()


async def _many(db: Database, number: int, told: Callable[[], Any]) -> None:
    over, everybody = asyncio.Event(), asyncio.Event()

    async def one(name: str) -> None:
        async with db.session(name=name, readonly=True):
            if len(db.registry.scopes) == number:
                everybody.set()
            await over.wait()

    tasks = [asyncio.create_task(one(f"scope {each}")) for each in range(number)]
    try:
        async with asyncio.timeout(PATIENCE):
            await everybody.wait()
        await asyncio.to_thread(told)
    finally:
        over.set()
        await asyncio.gather(*tasks)


def test_of_two_thousand_scopes_those_in_sight_are_drawn(browser: Browser, tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/many.db", name="many")

    def look() -> None:
        with served("wsgi")(db) as url, browser.looking(f"{url}/"):
            browser.wait_for_text("#scope-count", "2,000")
            assert (
                browser.run("return document.querySelector('#scopes [role=grid]').ariaRowCount")
                == "2001"
            )
            assert browser.run("return document.querySelectorAll('#scopes .row').length") < 60
            browser.run("document.querySelector('#scopes .row').focus()")
            browser.type(Keys.END)
            browser.wait_for("document.activeElement.ariaRowIndex == 2001")
            browser.element("#filter").send_keys("scope 1999")
            browser.wait_for_text("#scope-count", "1 of 2,000")
            assert "scope 1999" in browser.text("#scopes .row")

    async def work() -> None:
        async with db:
            await _many(db, 2000, look)

    asyncio.run(work())


def test_a_token_is_asked_for_and_remembered(browser: Browser, db: Database) -> None:
    with served("wsgi")(db, token=TOKEN) as url, browser.looking(f"{url}/"):
        browser.wait_for_text("main", "Token")
        browser.type("something else", Keys.ENTER)
        browser.wait_for_text("main", "That is not the token.")
        browser.type(TOKEN, Keys.ENTER)
        browser.wait_for_text("#pools", "shop")
        browser.go(f"{url}/#connections")
        browser.wait_for_text("#link", "live")
        assert browser.run("return document.cookie") == "", "no script sees the cookie"
        assert TOKEN not in browser.driver.current_url
        # it has said that it was refused, twice
        browser.complaints()


def test_a_process_that_is_gone_is_missed(browser: Browser, db: Database) -> None:
    with served("wsgi")(db) as url:
        browser.go(f"{url}/")
        browser.wait_for_text("#link", "live")
    browser.wait_for_text("#link", "does not answer")
    browser.wait_for_text("#said", "does not answer")
    browser.complaints()


CONTRASTS = """
const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const luminance = (rgb) => {
  const [r, g, b] = rgb.map((v) => linear(v / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
const ground = (node) => {
  for (let each = node; each; each = each.parentElement) {
    const [r, g, b, a = 1] = parse(getComputedStyle(each).backgroundColor);
    if (a > 0.99) return [r, g, b];
  }
  return [255, 255, 255];
};
const found = new Map();
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
let seen = 0;
while (walker.nextNode()) {
  const node = walker.currentNode.parentElement;
  const words = walker.currentNode.data.trim();
  if (!words || !node.checkVisibility({ visibilityProperty: true })) continue;
  seen += 1;
  const style = getComputedStyle(node);
  const text = parse(node instanceof SVGElement ? style.fill : style.color).slice(0, 3);
  const [high, low] = [luminance(text), luminance(ground(node))].sort((a, b) => b - a);
  const ratio = (high + 0.05) / (low + 0.05);
  if (ratio < 4.5) found.set(`${node.tagName}.${node.className}: ${words}`, ratio.toFixed(2));
}
return [seen, [...found].map((each) => each.join(" "))];
"""


NAMELESS = """
const wanted = "button, a, input, select, [role=img], [role=grid], [role=slider]";
return [...document.querySelectorAll(wanted)]
  .filter((each) => each.checkVisibility())
  .filter((each) => !each.ariaLabel && !each.innerText?.trim() && !each.labels?.length)
  .map((each) => each.outerHTML);
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read(browser: Browser, db: Database, scheme: str) -> None:
    with served("wsgi")(db) as url, held(db), ExitStack() as stack:
        browser.prefers(color_scheme=scheme, reduced_motion="reduce")
        stack.enter_context(browser.looking(f"{url}/"))
        browser.wait_for_text("#scopes", "monthly report", "in line")
        ground = browser.run("return getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(15, 19, 24)") is (scheme == "dark")
        for view in ("live", "history", "findings", "servers", "scope"):
            if view == "scope":
                browser.click("#tab-live")
                browser.click("#scopes .row", "export")
                browser.wait_for_text("#detail", "1 statement")
            else:
                browser.click(f"#tab-{view}")
            seen, faint = browser.run(CONTRASTS)
            assert seen > 20
            assert faint == [], view
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth"), (
            "no sideways"
        )
        # where there is an image, it has words; where there is a field, it has a name
        nameless = browser.run(NAMELESS)
        assert nameless == []
        browser.prefers(color_scheme="", reduced_motion="")


def test_it_fits_on_a_telephone(browser: Browser, db: Database) -> None:
    browser.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True},
    )
    try:
        with served("wsgi")(db) as url, held(db), browser.looking(f"{url}/"):
            browser.wait_for_text("#scopes", "monthly report")
            for view in ("live", "history", "findings", "servers"):
                browser.click(f"#tab-{view}")
                wide = browser.run("return document.documentElement.scrollWidth")
                assert wide <= 390, view
    finally:
        browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
