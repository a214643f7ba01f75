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


Paste = Callable[..., Iterator[tuple[str, str]]]


@pytest.fixture
def paste(page: Any, tmp_path: Path) -> Paste:
    """Paste what the page shows in each language that is here; yields it with what was printed."""

    def each(*, but: str = "") -> Iterator[tuple[str, str]]:
        for language, program in PROGRAMS.items():
            if language != but and shutil.which(program) is not None:
                yield language, run(language, page.snippet(language), tmp_path)

    return each


def run(language: str, text: str, folder: Path, *, status: int = 0) -> str:
    (folder / "main.go").write_text(text)
    argv = {
        "curl": ["sh", "-c", text],
        "python": [sys.executable, "-I", "-c", text],
        "modelpack": [sys.executable, "-c", text],
        "javascript": ["node", "--input-type=module", "-e", text],
        "go": ["go", "run", "main.go"],
    }[language]
    more = {"GO111MODULE": "off", "GOPROXY": "off", "HOME": str(Path.home())}
    done = subprocess.run(
        argv, cwd=folder, capture_output=True, timeout=120, env={**os.environ, **more}, check=False
    )
    assert done.returncode == status, f"{text}\n{done.stderr.decode()}"
    return (done.stderr if status else done.stdout).decode()


def value_of(printed: str, language: str) -> Any:
    is_python = language in ("python", "modelpack")
    return ast.literal_eval(printed) if is_python else json.loads(printed)


@pytest.mark.parametrize("language", PROGRAMS)
def test_each_language_is_tried(page: Any, language: str, tmp_path: Path) -> None:
    """Those that are not installed here are skipped, and said; the other tests leave them out."""
    if shutil.which(PROGRAMS[language]) is None:
        pytest.skip(f"'{PROGRAMS[language]}' is not installed")

    assert value_of(run(language, page.snippet(language), tmp_path), language) == [0.0]


def test_arrays(page: Any, paste: Paste) -> None:
    page.put("field-x", "1 2.5\n3 4")

    for language, printed in paste():
        assert value_of(printed, language) == [3.5, 7.0], language


def test_texts_with_signs_that_languages_stumble_over(page: Any, paste: Paste) -> None:
    """Numbers that JavaScript would round are among them."""
    page.choose("/echo")

    for language, printed in paste():
        assert value_of(printed, language) == {
            "text": HARD,
            "number": 2**60 + 1,
            "nothing": None,
            "is_on": True,
        }, language


def test_a_body_that_is_no_json_is_refused_there_as_here(page: Any, tmp_path: Path) -> None:
    page.turn("mode", "json")
    page.put("body", '{"x": [[1')

    assert page.snippet("modelpack") == "the body is no object of arguments"
    assert "HTTP Error 400" in run("python", page.snippet("python"), tmp_path, status=1)
    for language in ("curl", "javascript", "go"):
        if shutil.which(PROGRAMS[language]) is not None:
            printed = run(language, page.snippet(language), tmp_path)
            assert json.loads(printed)["code"] == "bad-json", language


def test_streams(page: Any, paste: Paste) -> None:
    page.choose("/count")

    for language, printed in paste():
        # A piece that Python prints is spelled as JSON is, but for its quotes.
        lines = [line.replace("'", '"') for line in printed.splitlines() if line]
        assert [json.loads(line) for line in lines] == [{"i": 0}, {"i": 1}, {"i": 2}], language


@pytest.mark.parametrize("name", ["plain.png", 'it\'s; "odd",.png'])
def test_pictures_in_and_out(page: Any, paste: Paste, name: str, tmp_path: Path) -> None:
    picture = Image.new("RGB", (3, 2))
    picture.putpixel((0, 0), (9, 8, 7))
    picture.save(tmp_path / name)
    page.choose("/mirror")
    page.find("field-picture").send_keys(str(tmp_path / name))

    for language, printed in paste():
        assert printed == "", language
        with Image.open(tmp_path / "answer.png") as answer:
            assert answer.getpixel((2, 0)) == (9, 8, 7), language
        (tmp_path / "answer.png").unlink()


def test_a_file_as_it_is(page: Any, paste: Paste, tmp_path: Path) -> None:
    (tmp_path / "some data.bin").write_bytes(bytes(range(256)) + b"\r\n")
    page.choose("/measure")
    page.turn("mode", "raw")
    page.find("raw").send_keys(str(tmp_path / "some data.bin"))

    for language, printed in paste():
        assert value_of(printed, language) == 258, language


def test_a_file_of_numpy_as_it_is(page: Any, paste: Paste, tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", np.arange(3))
    page.choose("/double")
    page.turn("mode", "raw")
    page.find("raw").send_keys(str(tmp_path / "in.npy"))

    for language, printed in paste():
        assert re.findall(r"\d+", printed) == ["0", "2", "4"], language


def test_an_answer_that_is_a_file(page: Any, paste: Paste, tmp_path: Path) -> None:
    page.choose("/double")
    page.put("field-x", "[1, 2, 3]")
    page.find("accept").send_keys("application/x-npy")

    for language, printed in paste(but="modelpack"):
        assert printed == "", language
        assert np.load(tmp_path / "answer.npy").tolist() == [2, 4, 6], language
        (tmp_path / "answer.npy").unlink()
    # It gives an array, whatever travels.
    assert run("modelpack", page.snippet("modelpack"), tmp_path) == "[2 4 6]\n"


def test_a_long_body_comes_from_a_file_that_the_page_gives(
    page: Any, paste: Paste, tmp_path: Path, downloads: Path
) -> None:
    np.savetxt(tmp_path / "long.csv", np.ones((3, 5000)), fmt="%d", delimiter=",")
    page.find("file-x").send_keys(str(tmp_path / "long.csv"))
    page.wait(lambda: page.find("save").is_displayed())
    (tmp_path / "body.json").write_bytes(page.download("save-link", downloads))

    for language, printed in paste():
        assert value_of(printed, language) == [5000, 5000, 5000], language


def test_a_call_of_another_contract(page: Any, paste: Paste) -> None:
    page.choose("/v2/models/called/infer")

    assert "choose another language" in page.snippet("modelpack")
    for language, printed in paste(but="modelpack"):
        answer = value_of(printed, language)
        assert answer["model_name"] == "called", language
        assert answer["outputs"][0]["data"] == [0.0], language


def test_a_probe(page: Any, paste: Paste) -> None:
    page.choose("GET /livez")

    for language, printed in paste(but="modelpack"):
        assert value_of(printed, language) == {"status": "alive"}, language
