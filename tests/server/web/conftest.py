"""A browser, and the try-it page of a service in it.

downloads    where it puts what is downloaded
browser      Chromium without a window; one for a module
open_page    loads the try-it page of a server; afterwards the browser must have had nothing to say
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

WAIT_S = 20


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the browser puts what is downloaded."""
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(downloads: Path) -> Iterator[Any]:
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.binary_location = str(shutil.which("chromium"))
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1200,900"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with Chrome(options, ChromeService(shutil.which("chromedriver"))) as driver:
        yield driver


@dataclass
class Page:
    """The try-it page, as a person uses it."""

    browser: Any
    url: str

    def find(self, name: str) -> Any:
        return self.browser.find_element("id", name)

    def text(self, name: str) -> str:
        found: str = self.find(name).text
        return found

    def all(self, selector: str) -> list[Any]:
        found: list[Any] = self.browser.find_elements("css selector", selector)
        return found

    def run(self, script: str, *arguments: object) -> Any:
        return self.browser.execute_script(script, *arguments)

    def wait(self, holds: Callable[[], Any]) -> Any:
        from selenium.webdriver.support.ui import WebDriverWait

        waiting = WebDriverWait(self.browser, WAIT_S, poll_frequency=0.05)
        return waiting.until(lambda _: holds())

    def choose(self, path: str) -> None:
        """Choose what is asked, such as ``/predict`` or ``GET /livez``."""
        from selenium.webdriver.support.ui import Select

        words = path if " " in path else f"POST {path}"
        Select(self.find("api")).select_by_visible_text(words)

    def turn(self, name: str, value: str) -> None:
        """Choose one of several buttons: ``mode`` and ``fields``."""
        self.browser.find_element("css selector", f"label[for='{name}-{value}']").click()

    def put(self, name: str, text: str) -> None:
        """Write into an empty field."""
        self.find(name).clear()
        self.find(name).send_keys(text)

    def send(self, expect: str = "200 OK") -> str:
        """Send, and return the answer as it is shown."""
        self.find("send").click()
        self.wait(lambda: re.match(r"(\d{3} .*|Not sent.*|.*after) ", self.text("outcome")))
        self.wait(lambda: self.text("outcome").startswith(expect + " in "))
        return self.text("answer")

    def download(self, name: str, folder: Path) -> bytes:
        """Follow a link to a file; returns what is in it."""
        found = folder / self.find(name).get_attribute("download")
        self.find(name).click()
        self.wait(found.exists)
        data = found.read_bytes()
        found.unlink()
        return data

    def snippet(self, language: str) -> str:
        self.turn("language", language)
        return self.text("snippet")


OpenPage = Callable[[Any], Page]


@pytest.fixture
def open_page(browser: Any) -> Iterator[OpenPage]:
    """Load the page of a server."""

    def load(server: Any) -> Page:
        page = Page(browser, server.url)
        browser.get(server.url + "/")
        page.wait(lambda: page.text("name") != "Service" and page.all("#api option"))
        return page

    yield load
    assert [entry["message"] for entry in browser.get_log("browser")] == []
