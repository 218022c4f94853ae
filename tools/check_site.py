"""Looks at every page of the built documentation in a browser: no link of it leads nowhere.

    make docs && .venv/bin/python -m tools.check_site [FOLDER]

Links to other pages and to places in them, pictures, and what the browser complains of.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from selenium.webdriver.support.ui import WebDriverWait

from tests.inspector.browser import Browser, missing

BUILT: Final = Path("docs/_build/html")
# everything at once: a page is asked one question
_ASKED: Final = """
return {
  ids: [...document.querySelectorAll('[id]')].map(e => e.id),
  links: [...document.querySelectorAll('a[href]')].map(e => e.href),
  pictures: [...document.images].filter(e => !e.naturalWidth && e.loading != 'lazy').map(e => e.src)
}
"""


def broken(folder: Path) -> Iterator[str]:
    """What leads nowhere, and on which page."""
    pages: dict[str, Any] = {}
    browser = Browser()
    driver: Any = browser.driver
    try:
        for path in sorted(folder.resolve().rglob("*.html")):
            driver.get(path.as_uri())
            _wait_for(driver)
            pages[path.as_uri()] = driver.execute_script(_ASKED)
            for entry in driver.get_log("browser"):
                yield f"{path.name}: {entry['message']}"
    finally:
        browser.quit()
    for page, found in pages.items():
        name = page.rpartition("/")[2]
        yield from (f"{name}: no picture {each}" for each in found["pictures"])
        for link in sorted(set(found["links"])):
            target, _, place = link.partition("#")
            if not target.startswith("file:"):
                continue
            if target not in pages:
                if not Path(unquote(target.removeprefix("file://"))).is_file():
                    yield f"{name}: no page {target}"
            elif place and unquote(place) not in pages[target]["ids"]:
                yield f"{name}: no place #{place} in {target.rpartition('/')[2]}"


def _wait_for(driver: Any) -> None:
    """A page that is still being read has not all of its places."""
    WebDriverWait(driver, 60).until(
        lambda _: driver.execute_script("return document.readyState") == "complete"
    )


def main(folder: Path) -> int:
    """Print what is broken; the number of pages, where nothing is."""
    why = missing()
    if why is not None:
        print(why)  # noqa: T201
        return 2
    found = list(broken(folder))
    count = len(list(folder.rglob("*.html")))
    print("\n".join(found) or f"{count} pages, and every link leads somewhere")  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else BUILT))
