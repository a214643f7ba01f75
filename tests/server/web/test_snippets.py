"""What the try-it page shows in other languages does the same when it is pasted there."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import modelpack

pytestmark = pytest.mark.browser

Start = Callable[..., Any]

PROGRAMS = {
    "curl": "curl",
    "python": sys.executable,
    "javascript": "node",
    "go": "go",
    "modelpack": sys.executable,
}
HARD = 'it\'s "quoted" $HOME `id` \\n é 😀 %s {x} </script>'


@modelpack.service
class Called:
    @modelpack.api(batch=True)
    def predict(self, x: modelpack.Tensor["float64", "batch", "n"]) -> list[float]:
        return [float(v) for v in x.sum(axis=1)]

    @modelpack.api(batch=True)
    def double(self, x: modelpack.Tensor["int64", "batch"]) -> modelpack.Tensor["int64", "batch"]:
        return x * 2

    @modelpack.api(example={"text": HARD})
    def echo(
        self, text: str, number: int = 2**60 + 1, nothing: str | None = None, is_on: bool = True
    ) -> dict[str, Any]:
        return {"text": text, "number": number, "nothing": nothing, "is_on": is_on}

    @modelpack.api
    def count(self, n: int = 3) -> Iterator[dict[str, int]]:
        for i in range(n):
            yield {"i": i}

    @modelpack.api
    def mirror(self, picture: Image.Image, note: str = HARD) -> Image.Image:
        assert note == HARD
        return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    @modelpack.api
    def measure(self, file: bytes) -> int:
        return len(file)


@pytest.fixture(scope="module")
def server(start_once: Start) -> Any:
    return start_once(Called)


@pytest.fixture
def page(open_page: Callable[[Any], Any], server: Any) -> Any:
    return open_page(server)


@pytest.fixture(params=list(PROGRAMS))
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Any], str]:
    """Paste what the page shows in a language; returns what is printed."""
    language = request.param
    if shutil.which(PROGRAMS[language]) is None:
        pytest.skip(f"'{PROGRAMS[language]}' is not installed")

    def paste(page: Any) -> str:
        text = page.snippet(language)
        (tmp_path / "main.go").write_text(text)
        argv = {
            "curl": ["sh", "-c", f"{text}"],
            "python": [sys.executable, "-I", "-c", text],
            "modelpack": [sys.executable, "-c", text],
            "javascript": ["node", "--input-type=module", "-e", text],
            "go": ["go", "run", "main.go"],
        }[language]
        variables = {"GO111MODULE": "off", "GOPROXY": "off", "HOME": str(Path.home())}
        done = subprocess.run(
            argv,
            cwd=tmp_path,
            capture_output=True,
            timeout=120,
            env={**os.environ, **variables},
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stderr.decode()}"
        return done.stdout.decode()

    paste.language = language  # type: ignore[attr-defined]
    return paste


def value_of(printed: str, run: Any) -> Any:
    is_python = run.language in ("python", "modelpack")
    return ast.literal_eval(printed) if is_python else json.loads(printed)


def test_arrays(page: Any, run: Any) -> None:
    page.put("field-x", "1 2.5\n3 4")

    assert value_of(run(page), run) == [3.5, 7.0]


def test_texts_with_signs_that_languages_stumble_over(page: Any, run: Any) -> None:
    """Numbers that JavaScript would round are among them."""
    page.choose("/echo")

    assert value_of(run(page), run) == {
        "text": HARD,
        "number": 2**60 + 1,
        "nothing": None,
        "is_on": True,
    }


def test_a_body_that_is_no_json_is_refused_there_as_here(page: Any, run: Any) -> None:
    page.turn("mode", "json")
    page.put("body", '{"x": [[1')
    if run.language == "python":
        with pytest.raises(AssertionError, match="HTTP Error 400"):
            run(page)
    elif run.language == "modelpack":
        assert page.snippet("modelpack") == "the body is no object of arguments"
    else:
        assert json.loads(run(page))["code"] == "bad-json"


def test_streams(page: Any, run: Any) -> None:
    page.choose("/count")

    lines = [line for line in run(page).splitlines() if line]

    # A piece that Python prints is spelled as JSON is, but for its quotes.
    assert [json.loads(line.replace("'", '"')) for line in lines] == [{"i": 0}, {"i": 1}, {"i": 2}]


@pytest.mark.parametrize("name", ["plain.png", 'it\'s; "odd",.png'])
def test_pictures_in_and_out(page: Any, run: Any, name: str, tmp_path: Path) -> None:
    picture = Image.new("RGB", (3, 2))
    picture.putpixel((0, 0), (9, 8, 7))
    picture.save(tmp_path / name)
    page.choose("/mirror")
    page.find("field-picture").send_keys(str(tmp_path / name))

    assert run(page) == ""

    with Image.open(tmp_path / "answer.png") as answer:
        assert answer.getpixel((2, 0)) == (9, 8, 7)


def test_a_file_as_it_is(page: Any, run: Any, tmp_path: Path) -> None:
    (tmp_path / "some data.bin").write_bytes(bytes(range(256)) + b"\r\n")
    page.choose("/measure")
    page.turn("mode", "raw")
    page.find("raw").send_keys(str(tmp_path / "some data.bin"))

    assert value_of(run(page), run) == 258


def test_an_answer_that_is_a_file(page: Any, run: Any, tmp_path: Path) -> None:
    page.choose("/double")
    page.put("field-x", "[1, 2, 3]")
    page.find("accept").send_keys("application/x-npy")
    if run.language == "modelpack":
        assert run(page) == "[2 4 6]\n"  # it gives an array, whatever travels
        return

    assert run(page) == ""

    assert np.load(tmp_path / "answer.npy").tolist() == [2, 4, 6]


def test_a_long_body_comes_from_a_file_that_the_page_gives(
    page: Any, run: Any, tmp_path: Path, downloads: Path
) -> None:
    np.savetxt(tmp_path / "long.csv", np.ones((3, 5000)), fmt="%d", delimiter=",")
    page.find("file-x").send_keys(str(tmp_path / "long.csv"))
    page.wait(lambda: page.find("save").is_displayed())
    (tmp_path / "body.json").write_bytes(page.download("save-link", downloads))

    assert value_of(run(page), run) == [5000, 5000, 5000]


def test_a_file_of_numpy_as_it_is(page: Any, run: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", np.arange(3))
    page.choose("/double")
    page.turn("mode", "raw")
    page.find("raw").send_keys(str(tmp_path / "in.npy"))

    printed = run(page)
    assert re.findall(r"\d+", printed) == ["0", "2", "4"]


def test_a_call_of_another_contract(page: Any, run: Any) -> None:
    page.choose("/v2/models/called/infer")
    if run.language == "modelpack":
        assert "choose another language" in page.snippet("modelpack")
        return

    answer = value_of(run(page), run)

    assert answer["model_name"] == "called"
    assert answer["outputs"][0]["data"] == [0.0]


def test_a_probe(page: Any, run: Any) -> None:
    page.choose("GET /livez")
    if run.language == "modelpack":
        return

    assert value_of(run(page), run) == {"status": "alive"}
