"""A headless Chromium, driven by selenium, as a person would use it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.worlds import PATIENCE

__all__ = ["Browser", "Keys", "missing"]

# beside what a browser does for a person: no questions to anybody outside
_FLAGS: Final = (
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--window-size=1400,1000",
    "--force-device-scale-factor=1",
    "--lang=en",
    # containers and administrators have no other way
    "--no-sandbox",
)
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome")


def _program(*names: str) -> str | None:
    return next((found for name in names if (found := shutil.which(name))), None)


def missing() -> str | None:
    """What keeps a browser from being started, in words."""
    if _program(*_NAMES) is None:
        return "chromium is MISSING: scripts/install-servers installs it"
    if _program("chromedriver") is None:
        return "chromedriver is MISSING: scripts/install-servers installs chromium-driver"
    return None


class Browser:
    """One window."""

    def __init__(self) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = _program(*_NAMES) or ""
        for flag in _FLAGS:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(
            options=options, service=webdriver.ChromeService(_program("chromedriver"))
        )

    def quit(self) -> None:
        """End it."""
        self.driver.quit()

    def start_anew(self) -> None:
        """Forget cookies, what was complained of, and the size of the window."""
        self.driver.delete_all_cookies()
        self.driver.set_window_size(1400, 1000)
        self.complaints()

    def complaints(self) -> list[str]:
        """What it has to say of the page since it was last asked: errors, refused scripts."""
        return [
            f"{each['level']}: {each['message']}"
            for each in self.driver.get_log("browser")  # type: ignore[no-untyped-call]
            if each["level"] != "INFO"
        ]

    def go(self, url: str) -> None:
        """Open a page."""
        self.driver.get(url)

    @contextmanager
    def looking(self, url: str) -> Iterator[None]:
        """Open a page, and leave it at the end: before its server ends, which it would ask."""
        self.go(url)
        try:
            yield
        finally:
            self.go("about:blank")

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script in the page gives."""
        return self.driver.execute_script(script, *arguments)

    def wait_for(self, script: str, *arguments: Any) -> Any:
        """An expression's first value that is true."""
        wait = WebDriverWait(self.driver, PATIENCE, poll_frequency=0.05)
        try:
            return wait.until(lambda _: self.run(f"return {script}", *arguments))
        except Exception as error:
            raise AssertionError(f"never true: {script}; the page says:\n{self.text()}") from error

    def text(self, selector: str = "body") -> str:
        """What is read there; nothing where there is no such place."""
        found = self.run("return document.querySelector(arguments[0])?.innerText", selector)
        return str(found or "")

    def wait_for_text(self, selector: str, *wanted: str) -> str:
        """What is read there, once it has all of this."""
        script = """((place, wanted) => {
            const text = document.querySelector(place)?.innerText ?? "";
            return wanted.every((each) => text.includes(each)) && text;
        })(arguments[0], arguments[1])"""
        return str(self.wait_for(script, selector, list(wanted)))

    def click(self, selector: str, text: str = "") -> None:
        """Click what is there, at its middle; the page may be changing all the time."""
        script = """((place, text) => {
            const found = [...document.querySelectorAll(place)]
                .find((each) => each.checkVisibility() && each.innerText.includes(text));
            found?.scrollIntoView({ block: "center" });
            found?.click();
            return Boolean(found);
        })(arguments[0], arguments[1])"""
        self.wait_for(script, selector, text)

    def type(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def element(self, selector: str) -> Any:
        """An element that stays where it is."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def focused(self, of: str = "innerText") -> str:
        """What has the focus, by one of its properties."""
        return str(self.run(f"return document.activeElement.{of} ?? ''"))

    def picture(self, path: Path) -> None:
        """What is seen, as a PNG."""
        self.driver.save_screenshot(str(path))

    def prefers(self, **features: str) -> None:
        """What the person's settings say: ``color_scheme="dark"``."""
        listed = [
            {"name": f"prefers-{name.replace('_', '-')}", "value": value}
            for name, value in features.items()
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": listed})
