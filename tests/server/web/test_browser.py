"""The two pages in a real browser: everything works, and nothing foreign is asked for."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import modelpack

pytestmark = pytest.mark.browser

Start = Callable[..., Any]
WAIT_S = 20


@modelpack.service
class Shown:
    """Everything that the page can show."""

    @modelpack.api(batch=True)
    def predict(self, x: modelpack.Tensor["float32", "batch", 4]) -> list[float]:
        """Add up each row."""
        return [float(v) for v in x.sum(axis=1)]

    @modelpack.api(example={"text": "it's <b>bold</b>"})
    def echo(self, text: str) -> dict[str, Any]:
        return {"text": text, "large": 2**60 + 1}

    @modelpack.api
    def count(self, n: int = 3) -> Iterator[int]:
        yield from range(n)

    @modelpack.api
    def mirror(self, picture: Image.Image, note: str = "none") -> Image.Image:
        return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


@pytest.fixture(scope="module")
def server(start_once: Start) -> Any:
    return start_once(Shown)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1200,900"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with Chrome(options, ChromeService(shutil.which("chromedriver"))) as driver:
        yield driver


@pytest.fixture
def page(browser: Any, server: Any) -> Iterator[Any]:
    """The try-it page, loaded; afterwards the browser must have had nothing to complain of."""
    browser.get(server.url + "/")
    wait(browser, lambda: text(browser, "name") != "Service")
    yield browser
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def wait(browser: Any, holds: Callable[[], Any]) -> Any:
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, WAIT_S, poll_frequency=0.05).until(lambda _: holds())


def by_id(browser: Any, name: str) -> Any:
    return browser.find_element("id", name)


def text(browser: Any, name: str) -> str:
    found: str = by_id(browser, name).text
    return found


def choose(browser: Any, path: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(by_id(browser, "api")).select_by_visible_text(f"POST {path}")


def send(browser: Any, expect: str) -> None:
    by_id(browser, "send").click()
    wait(browser, lambda: text(browser, "outcome").startswith(expect + " in "))


def test_the_page_is_filled_with_an_example_that_works(page: Any) -> None:
    assert text(page, "name") == "shown 1"
    assert text(page, "about") == "Everything that the page can show."
    assert text(page, "api-doc") == "Add up each row."

    send(page, "200 OK")

    assert text(page, "answer") == "[0]"
    assert "request " in text(page, "outcome")


def test_the_curl_line_does_the_same(page: Any, server: Any) -> None:
    import subprocess

    for path, answer in (("/predict", "[0.0]"), ("/echo", '{"text":"it\'s <b>bold</b>"')):
        choose(page, path)
        line = text(page, "curl")
        done = subprocess.run(
            ["sh", "-c", f"{line} -s"], capture_output=True, text=True, timeout=20
        )
        assert done.stdout.startswith(answer)


def test_text_of_an_answer_is_never_markup_and_numbers_stay_exact(page: Any) -> None:
    choose(page, "/echo")

    send(page, "200 OK")

    assert "<b>bold</b>" in text(page, "answer")
    assert str(2**60 + 1) in text(page, "answer")
    assert page.find_elements("css selector", "#answer b") == []


def test_a_refusal_is_shown_with_its_reason(page: Any) -> None:
    body = by_id(page, "body")
    body.clear()
    body.send_keys('{"x": [[1, 2')
    assert "Not valid JSON" in text(page, "body-hint")

    by_id(page, "send").click()
    wait(page, lambda: text(page, "outcome").startswith("400 Bad Request in "))

    assert "bad-json" in text(page, "answer")
    logs = page.get_log("browser")
    assert all("status of 400" in entry["message"] for entry in logs)


def test_a_stream_is_shown(page: Any) -> None:
    choose(page, "/count")

    send(page, "200 OK")

    assert text(page, "answer").split() == ["0", "1", "2"]


def test_a_picture_is_sent_and_shown(page: Any, tmp_path: Path) -> None:
    picture = tmp_path / "it's.png"
    Image.new("RGB", (30, 20), (10, 200, 10)).save(picture)
    choose(page, "/mirror")
    by_id(page, "field-picture").send_keys(str(picture))

    send(page, "200 OK")

    assert by_id(page, "image").is_displayed()
    wait(page, lambda: page.execute_script("return document.images[0].naturalWidth") == 30)


def test_the_keyboard_is_enough(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    by_id(page, "body").send_keys(Keys.CONTROL, Keys.ENTER)

    wait(page, lambda: text(page, "outcome").startswith("200 OK in "))


def test_every_input_has_a_label(page: Any) -> None:
    choose(page, "/mirror")

    unlabelled = page.execute_script(
        "return [...document.querySelectorAll('input, select, textarea')]"
        ".filter((one) => one.labels.length === 0).map((one) => one.id)"
    )

    assert unlabelled == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast_in_both_schemes(page: Any, scheme: str) -> None:
    """WCAG 2.2 AA: 4.5 to 1 for text."""
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    colours = page.execute_script(
        "const style = (one) => getComputedStyle(document.querySelector(one));"
        "return [[style('body').color, style('body').backgroundColor],"
        "[style('.hint').color, style('body').backgroundColor],"
        "[style('a').color, style('body').backgroundColor],"
        "[style('#send').color, style('#send').backgroundColor],"
        "[style('textarea').color, style('textarea').backgroundColor]]"
    )
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    for front, back in colours:
        assert contrast(front, back) >= 4.5, (front, back)


def contrast(one: str, other: str) -> float:
    import re

    def luminance(colour: str) -> float:
        parts = [int(n) / 255 for n in re.findall(r"\d+", colour)[:3]]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_the_documentation_works_and_asks_nobody_else(browser: Any, server: Any) -> None:
    import json

    browser.get_log("performance")
    browser.get(server.url + "/docs")
    wait(browser, lambda: browser.find_elements("css selector", ".opblock"))
    browser.find_element("css selector", "#operations-apis-predict button").click()
    wait(browser, lambda: browser.find_elements("css selector", "button.execute"))
    browser.find_element("css selector", "button.execute").click()
    wait(browser, lambda: browser.find_elements("css selector", ".live-responses-table .response"))

    status = browser.find_element(
        "css selector", ".live-responses-table tbody .response-col_status"
    ).text
    assert status.startswith("200")
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}  # fmt: skip
    assert asked
    assert all(url.startswith((server.url, "data:", "blob:")) for url in asked)
