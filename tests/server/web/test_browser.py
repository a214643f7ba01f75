"""The two pages in a real browser: everything works, and nothing foreign is asked for."""

from __future__ import annotations

import io
import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

import modelpack

pytestmark = pytest.mark.browser

Start = Callable[..., Any]


@modelpack.service
class Shown:
    """Everything that the page can show."""

    @modelpack.api(batch=True)
    def predict(self, x: modelpack.Tensor["float32", "batch", 4]) -> list[float]:
        """Add up each row."""
        return [float(v) for v in x.sum(axis=1)]

    @modelpack.api(batch=True)
    def double(
        self, x: modelpack.Tensor["int64", "batch", 2, 3]
    ) -> modelpack.Tensor["int64", "batch", 2, 3]:
        return x * 2

    @modelpack.api(batch=True)
    def halves(self, x: modelpack.Tensor["uint8", "batch", 64]) -> list[list[int]]:
        """How much ink is in the left and the right half of each picture."""
        pictures = x.reshape(-1, 8, 8).astype("int64")
        return [[int(p[:, :4].sum()), int(p[:, 4:].sum())] for p in pictures]

    @modelpack.api(example={"text": "it's <b>bold</b>"})
    def echo(self, text: str) -> dict[str, Any]:
        return {"text": text, "large": 2**60 + 1}

    @modelpack.api
    def mixed(
        self,
        count: int,
        word: Literal["a", "b"],
        is_on: bool,
        scale: float = 0.5,
        more: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        return {"count": count, "word": word, "is_on": is_on, "scale": scale, "more": more}

    @modelpack.api
    def count(self, n: int = 3) -> Iterator[int]:
        yield from range(n)

    @modelpack.api
    def mirror(self, picture: Image.Image, note: str = "none") -> Image.Image:
        return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    @modelpack.api
    def measure(self, file: bytes) -> int:
        return len(file)


@pytest.fixture(scope="module")
def server(start_once: Start) -> Any:
    return start_once(Shown)


@pytest.fixture
def page(open_page: Callable[[Any], Any], server: Any) -> Any:
    """The try-it page, loaded; afterwards the browser must have had nothing to complain of."""
    return open_page(server)


def test_the_page_is_filled_with_an_example_that_works(page: Any) -> None:
    assert page.text("name") == "shown 1"
    assert page.text("about") == "Everything that the page can show."
    assert page.text("api-doc") == "Add up each row."

    assert page.send() == "[0]"
    assert re.search(r"in [\d.]+ ms, request \S+$", page.text("outcome"))


def test_text_of_an_answer_is_never_markup_and_numbers_stay_exact(page: Any) -> None:
    page.choose("/echo")

    answer = page.send()

    assert "<b>bold</b>" in answer
    assert str(2**60 + 1) in answer
    assert page.all("#answer b") == []


def test_a_refusal_is_shown_with_its_reason(page: Any) -> None:
    page.turn("mode", "json")
    page.put("body", '{"x": [[1, 2')
    assert "Not valid JSON" in page.text("body-hint")

    assert "bad-json" in page.send("400 Bad Request")
    logs = page.browser.get_log("browser")
    assert all("status of 400" in entry["message"] for entry in logs)


def test_a_stream_is_shown(page: Any) -> None:
    page.choose("/count")
    assert page.send().split() == ["0", "1", "2"]

    page.run("const a = document.getElementById('accept'); a.selectedIndex = 1;")
    assert page.send().startswith("data: 0")


def test_each_kind_of_parameter_has_a_field(page: Any) -> None:
    page.choose("/mixed")
    page.put("field-count", str(2**60 + 1))
    page.find("field-word").send_keys("b")
    page.find("field-is_on").send_keys("false")
    page.put("field-more", '{"deep": [1, null]}')

    answer = page.send()

    assert f'"count": {2**60 + 1}' in answer.replace('":', '": ').replace(":  ", ": ")
    assert json.loads(answer) | {"count": 0} == {
        "count": 0,
        "word": "b",
        "is_on": False,
        "scale": 0.5,
        "more": {"deep": [1, None]},
    }


def test_what_is_left_empty_is_left_out_and_what_must_be_there_is_said(page: Any) -> None:
    page.choose("/mixed")
    page.find("field-scale").clear()
    assert json.loads(page.send())["scale"] == 0.5

    page.find("field-count").clear()
    page.find("send").click()
    assert page.text("outcome") == "Not sent: count is missing"
    page.find("field-count").send_keys("1")
    assert page.find("copy").is_enabled()
    page.find("field-count").send_keys("\b")
    assert not page.find("copy").is_enabled()


def test_an_array_is_a_table_that_grows_and_takes_cells_of_a_spreadsheet(page: Any) -> None:
    page.put("field-x", "1 2 3 4")
    assert page.text("shape-x") == "Shape 1 × 4"
    page.browser.find_element("css selector", "fieldset .table button").click()
    last = page.all("#fields td input")[-1]
    last.clear()
    last.send_keys("2.5")
    assert page.send() == "[10, 2.5]"

    page.run(
        "const data = new DataTransfer(); data.setData('text', '1\\t1\\t1\\t1\\n2\\t2\\t2\\t2');"
        "arguments[0].dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true}))",
        page.all("#fields td input")[0],
    )
    assert page.send() == "[4, 8]"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 2 3", "x: 3 values do not make up any × 4"),
        ("1 2\n3", "x: row 2 has 1 values, the first has 2"),
        ("1 2 3 four", "x: 'four' is not a number"),
    ],
)
def test_text_that_is_no_such_array_is_said_and_not_sent(page: Any, text: str, said: str) -> None:
    page.put("field-x", text)

    assert page.text("shape-x") == said
    page.find("send").click()
    assert page.text("outcome") == f"Not sent: {said}"


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("rows.npy", np.arange(12, dtype="<i8").reshape(2, 2, 3)),
        ("columns.npy", np.asfortranarray(np.arange(12, dtype=">i4").reshape(2, 2, 3))),
        ("flat.npy", np.arange(12, dtype="u1")),
        ("large.npy", np.full((1, 2, 3), 2**53 + 1)),
        ("rows.csv", np.arange(12).reshape(2, 6)),
    ],
)
def test_an_array_comes_out_of_a_file(
    page: Any, tmp_path: Path, name: str, array: np.ndarray[Any, Any]
) -> None:
    if name.endswith(".npy"):
        np.save(tmp_path / name, array)
    else:
        np.savetxt(tmp_path / name, array, fmt="%d", delimiter=",", header="a,b,c,d,e,f")
        (tmp_path / name).write_text((tmp_path / name).read_text().removeprefix("# "))
    page.choose("/double")
    page.find("file-x").send_keys(str(tmp_path / name))
    page.wait(lambda: page.text("shape-x") == f"Shape {array.size // 6} × 2 × 3")

    assert json.loads(page.send()) == (array.reshape(-1, 2, 3).astype("i8") * 2).tolist()


def test_a_npy_file_can_be_the_whole_body_and_the_answer(
    page: Any, tmp_path: Path, downloads: Path
) -> None:
    np.save(tmp_path / "in.npy", np.arange(6).reshape(1, 2, 3))
    page.choose("/double")
    page.turn("mode", "raw")
    page.find("raw").send_keys(str(tmp_path / "in.npy"))
    page.find("accept").send_keys("application/x-npy")

    assert page.send() == f"{128 + 48} bytes of application/x-npy"
    (tmp_path / "out.npy").write_bytes(page.download("download", downloads))
    assert np.load(tmp_path / "out.npy").tolist() == [[[0, 2, 4], [6, 8, 10]]]


def test_a_picture_is_previewed_sent_and_shown(page: Any, tmp_path: Path) -> None:
    picture = tmp_path / "it's.png"
    Image.new("RGB", (30, 20), (10, 200, 10)).save(picture)
    page.choose("/mirror")
    page.find("field-picture").send_keys(str(picture))
    page.wait(lambda: page.run("return document.querySelector('.preview').naturalWidth") == 30)

    page.send()

    assert page.find("image").is_displayed()
    page.wait(lambda: page.run("return document.getElementById('image').naturalWidth") == 30)


def test_a_picture_can_be_drawn(page: Any) -> None:
    from selenium.webdriver import ActionChains

    page.choose("/mirror")
    page.browser.find_element("css selector", "#fields summary").click()
    canvas = page.browser.find_element("css selector", "canvas")
    page.run("arguments[0].scrollIntoView({block: 'center'})", canvas)
    left = ActionChains(page.browser).move_to_element_with_offset(canvas, -100, -100)
    left.click_and_hold().move_by_offset(0, 200).release().perform()
    page.browser.find_element("xpath", "//button[.='Use the drawing']").click()
    page.wait(lambda: page.run("return document.querySelector('.preview').naturalWidth") == 28)

    page.send()

    page.wait(lambda: page.run("return document.getElementById('image').naturalWidth") == 28)
    left_ink, right_ink = page.run(
        "const canvas = document.createElement('canvas'); canvas.width = canvas.height = 28;"
        "const pen = canvas.getContext('2d', {willReadFrequently: true}); pen.drawImage(document.getElementById('image'), 0, 0);"
        "const ink = (x) => [...pen.getImageData(x, 0, 14, 28).data].filter((v, i) => i % 4 === 0)"
        ".reduce((a, b) => a + b); return [ink(0), ink(14)]"
    )
    assert left_ink == 0  # it was mirrored
    assert right_ink > 1000


def test_a_picture_that_an_array_is_can_be_drawn(page: Any) -> None:
    from selenium.webdriver import ActionChains

    page.choose("/halves")
    page.browser.find_element("css selector", "#fields summary").click()
    canvas = page.browser.find_element("css selector", "canvas")
    page.run("arguments[0].scrollIntoView({block: 'center'})", canvas)
    left = ActionChains(page.browser).move_to_element_with_offset(canvas, -90, -100)
    left.click_and_hold().move_by_offset(0, 200).release().perform()
    page.put("draw-peak-x", "16")
    page.browser.find_element("xpath", "//button[.='Use the drawing']").click()
    assert page.text("shape-x") == "Shape 1 × 64"

    ((left_ink, right_ink),) = json.loads(page.send())
    # A stroke 280 / 12 wide and about 200 + 280 / 12 long, in pixels of 280 / 8.
    assert left_ink == pytest.approx(16 * (280 / 12) * (200 + 280 / 12) / 35**2, rel=0.1)
    assert right_ink == 0


def test_an_array_that_is_no_picture_is_not_drawn(page: Any) -> None:
    for path in ("/predict", "/double"):
        page.choose(path)
        assert page.all("#fields canvas") == []


def test_a_file_that_is_missing_is_said_and_one_in_json_is_base64(page: Any) -> None:
    page.choose("/measure")
    page.find("send").click()
    assert page.text("outcome") == "Not sent: file: choose a file"

    page.turn("mode", "json")
    assert page.send() == "15"


def test_a_file_can_be_the_whole_body(page: Any, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(bytes(range(256)))
    page.choose("/measure")
    page.turn("mode", "raw")
    page.find("raw").send_keys(str(tmp_path / "data.bin"))

    assert page.send() == "256"


def test_fields_and_json_are_the_same_request(page: Any) -> None:
    page.choose("/echo")
    page.put("field-text", "seen")
    page.turn("mode", "json")
    assert json.loads(page.find("body").get_property("value")) == {"text": "seen"}

    page.put("body", '{"text": "changed"}')
    page.turn("mode", "fields")
    assert page.find("field-text").get_property("value") == "changed"


def test_probes_can_be_asked_too(page: Any) -> None:
    page.choose("GET /livez")
    assert json.loads(page.send()) == {"status": "alive"}

    page.choose("GET /metrics")
    assert "modelpack_requests_total" in page.send()


def test_the_contracts_that_are_on_are_listed_and_can_be_tried(page: Any) -> None:
    summary = page.browser.find_element("css selector", "#contract-oip summary")
    assert summary.text == "Open Inference Protocol v2, with Triton's extensions oip"
    summary.click()
    line = page.browser.find_element(
        "xpath", "//li[code[.='POST /v2/models/shown/infer']]/button[.='Try']"
    )
    line.click()

    assert page.run("return document.activeElement.id") == "api"
    answer = json.loads(page.send())
    assert answer["model_name"] == "shown"
    assert answer["outputs"][0]["data"] == [0]


def test_without_contracts_there_is_no_list_of_them(
    open_page: Callable[[Any], Any], start: Start
) -> None:
    page = open_page(start(Shown, faces="none"))

    assert not page.find("contracts").is_displayed()


def test_grpc_is_shown_with_its_port(open_page: Callable[[Any], Any], start: Start) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    page = open_page(start(Shown, faces="none", grpc_port=port))

    summary = page.browser.find_element("css selector", "#contract-grpc summary")
    assert summary.text == f"gRPC port {port}"
    summary.click()
    assert "inference.GRPCInferenceService" in page.text("contract-grpc")


def test_the_keyboard_is_enough(page: Any) -> None:
    """From the first element on, Tab reaches everything, and the arrows choose among buttons."""
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    def press(*keys: str) -> str:
        ActionChains(page.browser).send_keys(*keys).perform()
        found: str = page.run("return document.activeElement.id")
        return found

    page.find("api").send_keys("POST /ec")
    reached = [press(Keys.TAB)]
    assert reached == ["mode-fields"]
    while "copy" not in reached:
        reached.append(press(Keys.TAB))
        assert len(reached) < 20
    assert {"field-text", "send", "answer", "language-curl", "snippet", "copy"} <= set(reached)

    page.find("language-curl").send_keys(Keys.ARROW_RIGHT)
    assert page.text("snippet").startswith("import json")
    page.find("field-text").send_keys(" and more", Keys.CONTROL, Keys.ENTER)
    page.wait(lambda: page.text("outcome").startswith("200 OK in "))
    assert "bold</b> and more" in page.text("answer")


def test_the_request_is_sent_from_anywhere_on_the_page(page: Any) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    page.find("snippet").click()
    keys = ActionChains(page.browser)
    keys.key_down(Keys.CONTROL).send_keys(Keys.ENTER).key_up(Keys.CONTROL).perform()

    page.wait(lambda: page.text("outcome").startswith("200 OK in "))


@pytest.mark.parametrize("path", ["/predict", "/mixed", "/mirror"])
def test_a_screen_reader_has_a_name_for_everything(page: Any, path: str) -> None:
    page.choose(path)

    nodes = page.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = {"textbox", "combobox", "button", "radio", "link", "spinbutton", "checkbox", "img"}
    unnamed = [
        node["role"]["value"]
        for node in nodes
        if not node["ignored"]
        and node["role"]["value"] in named
        and not node.get("name", {}).get("value")
    ]
    assert len(nodes) > 50
    assert unnamed == []
    levels = page.run("return [...document.querySelectorAll('h1,h2,h3')].map((h) => h.tagName)")
    assert levels[0] == "H1"
    assert levels.count("H1") == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast_in_both_schemes(page: Any, scheme: str) -> None:
    """WCAG 2.2 AA: 4.5 to 1 for text."""
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    colours = page.run(
        "const style = (one) => getComputedStyle(document.querySelector(one));"
        "return [[style('body').color, style('body').backgroundColor],"
        "[style('.hint').color, style('body').backgroundColor],"
        "[style('a').color, style('body').backgroundColor],"
        "[style('#send').color, style('#send').backgroundColor],"
        "[style('textarea').color, style('textarea').backgroundColor]]"
    )
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    for front, back in colours:
        assert contrast(front, back) >= 4.5, (front, back)


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(n) / 255 for n in re.findall(r"\d+", colour)[:3]]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_is_wider_than_the_window(page: Any, width: int) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for path in ("/predict", "/double", "/mirror"):
            page.choose(path)
            root = "document.documentElement"
            assert page.run(f"return {root}.scrollWidth <= {root}.clientWidth"), path
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_pages_ask_nobody_else(page: Any, server: Any) -> None:
    page.browser.get_log("performance")
    page.browser.get(server.url + "/")
    page.wait(lambda: page.all("#api option"))
    page.choose("/predict")
    page.send()
    page.browser.get(server.url + "/docs")
    page.wait(lambda: page.all(".opblock"))
    page.browser.find_element("css selector", "#operations-apis-predict button").click()
    page.wait(lambda: page.all("button.execute"))
    page.browser.find_element("css selector", "button.execute").click()
    page.wait(lambda: page.all(".live-responses-table .response"))

    status = page.all(".live-responses-table tbody .response-col_status")[0].text
    assert status.startswith("200")
    log = page.browser.get_log("performance")
    events = [json.loads(entry["message"])["message"] for entry in log]
    asked = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}  # fmt: skip
    assert f"{server.url}/predict" in asked
    assert all(url.startswith((server.url, "data:", "blob:")) for url in asked)


NPY = [
    np.array([1.5, -2.25, 65504, 6e-8], "float16"),
    np.array([0.1, 1e-45, 3.4028235e38, -0.0], "float32"),
    np.array([0.1, 5e-324, 1.7976931348623157e308], ">f8"),
    np.array([[-(2**63), 2**63 - 1]], "int64"),
    np.array([2**64 - 1], ">u8"),
    np.array([-128, 127], "int8"),
    np.array([True, False]),
    np.asfortranarray(np.arange(24, dtype=">i2").reshape(2, 3, 4)),
    np.zeros((2, 0), "float32"),
    np.array(7, "int32"),
]


def test_npy_files_of_every_dtype_are_read_exactly(page: Any) -> None:
    for array in NPY:
        file = io.BytesIO()
        np.save(file, array)
        text = read_npy(page, file.getvalue())

        again = np.array(json.loads(text), array.dtype).reshape(array.shape)
        assert again.tobytes() == array.tobytes(), array.dtype


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x93NUMPY\x01\x00", "this is no .npy file"),
        (b"PK" + b"\0" * 40, "this is no .npy file"),
        (np.array([1.0, np.nan]), "NaN and infinities have no form in JSON"),
        (np.array(["a"]), "only .npy files of plain numbers"),
        (np.array([{}], object), "only .npy files of plain numbers"),
        (np.arange(99.0), "cut short"),
    ],
    ids=["head", "zip", "nan", "texts", "objects", "cut"],
)
def test_what_is_no_such_file_is_said(page: Any, data: Any, said: str) -> None:
    if isinstance(data, np.ndarray):
        file = io.BytesIO()
        np.save(file, data)
        data = file.getvalue()[: -8 if said == "cut short" else None]

    assert said in read_npy(page, data)


def read_npy(page: Any, data: bytes) -> str:
    """Return what the page makes of a file: JSON, or what is wrong with it."""
    found: str = page.browser.execute_async_script(
        "const [bytes, done] = arguments;"
        "import('/static/try-arrays.js').then((m) => m.readNpy(new Uint8Array(bytes).buffer).json)"
        ".then(done, (error) => done(error.message))",
        list(data),
    )
    return found
