"""``modelpack call``, from words to what a shell sees, against a served project."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.conftest import PROGRAM
from tests.client.conftest import SERVICE, serving

ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)
Cli = Any


@pytest.fixture(scope="module")
def garden(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """URL of a server, and the home in which it is noted."""
    home = str(tmp_path_factory.mktemp("home"))
    folder = tmp_path_factory.mktemp("garden")
    (folder / "service.py").write_text(SERVICE)
    before = os.environ["MODELPACK_HOME"]
    os.environ["MODELPACK_HOME"] = home
    try:
        with serving(folder) as url:
            yield url, home
    finally:
        os.environ["MODELPACK_HOME"] = before


@pytest.fixture
def url(garden: tuple[str, str]) -> str:
    return garden[0]


@pytest.fixture
def at_home(garden: tuple[str, str]) -> dict[str, str]:
    """The environment in which the server is known."""
    return {"MODELPACK_HOME": garden[1]}


# --- input --------------------------------------------------------------------------------------


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.json", b'{"x": [[0, 1, 2, 3], [4, 5, 6, 7]]}'),
        ("a.json", b"[[0, 1, 2, 3], [4, 5, 6, 7]]"),
        ("a.jsonl", b"[0, 1, 2, 3]\n\n[4, 5, 6, 7]\n"),
        ("a.csv", b"0,1,2,3\n4,5,6,7\n"),
        ("a.csv", b"\xef\xbb\xbfa,b,c,d\r\n0,1,2,3\r\n4,5,6,7\r\n"),
        ("a.tsv", b"0\t1\t2\t3\n4\t5\t6\t7"),
        ("a.npy", npy(ROWS)),
        ("a.npy", npy(ROWS.astype("float64"))),
        ("a.npz", npz(x=ROWS)),
        ("unnamed", b'{"x": [[0, 1, 2, 3], [4, 5, 6, 7]]}'),
        ("unnamed", b"0,1,2,3\n4,5,6,7\n"),
        ("unnamed", npy(ROWS)),
        ("unnamed", npz(x=ROWS)),
    ],
)
def test_an_array_is_read_from_any_of_these(
    inside: Cli, url: str, tmp_path: Path, name: str, data: bytes
) -> None:
    (tmp_path / name).write_bytes(data)

    done = inside("call", url, "predict", "--input", name)

    assert (done.status, done.out) == (0, "6.0\n22.0\n")


def test_a_file_may_be_called_what_it_is_not(inside: Cli, url: str, tmp_path: Path) -> None:
    (tmp_path / "rows.dat").write_text("0,1,2,3\n")

    assert inside("call", url, "predict", "-i", "rows.dat", "--as", "csv").out == "6.0\n"
    assert inside("call", url, "predict", "-i", "rows.dat", "--as", "xml").status == 2


def test_standard_input_is_guessed_by_its_bytes(cli: Cli, url: str) -> None:
    assert cli("call", url, "predict", "--input", "-", text="0,1,2,3\n").out == "6.0\n"
    assert cli("call", url, "predict", "-i", "-", text='{"x": [[1,1,1,1]]}').out == "4.0\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("predict", "--set", "x=[[1,2,3,4]]"), "10.0\n"),
        (("predict", "--set", "x=[[1,2,3,4]]", "--set", "scale=2"), "20.0\n"),
        (("flower", "--set", 'flower={"kind": "rose"}', "--set", "colour=blue"),
         '{"kind":"rose","petals":3,"colour":"blue"}\n'),
        (("parts", "--set", "n=2"), "2\n[0,1]\nnull\n"),
        (("nan",), "1.0\nnull\n"),
    ],
)  # fmt: skip
def test_parameters_are_set_by_name(inside: Cli, url: str, words: Any, said: str) -> None:
    assert inside("call", url, *words).out == said


def test_a_parameter_may_be_a_file(inside: Cli, url: str, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(npy(ROWS))
    (tmp_path / "photo.png").write_bytes(b"\x89PNG" + b"\0" * 96)
    (tmp_path / "numbers.csv").write_text("a,b\n1,0.5\n2,0.25\n")

    assert (
        inside("call", url, "predict", "--set", "x=@a.npy", "--set", "scale=2").out
        == "12.0\n44.0\n"
    )
    assert inside("call", url, "size", "--input", "photo.png").out == "100\n"
    assert inside("call", url, "size", "--set", "file=@photo.png", "--set", "unit=50").out == "2\n"
    assert inside("call", url, "pair", "--input", "numbers.csv").out == "1.5\n2.25\n"


def test_the_example_of_the_server_can_be_sent(inside: Cli, url: str) -> None:
    done = inside("call", url, "predict", "--example", "--set", "scale=3")

    assert (done.status, done.out) == (0, "0.0\n")


# --- output -------------------------------------------------------------------------------------


def test_the_answer_as_json_is_one_line(inside: Cli, url: str) -> None:
    done = inside("call", url, "predict", "--set", "x=[[1,2,3,4],[1,1,1,1]]", "-o", "json")

    assert done.out == "[10.0,4.0]\n"


def test_the_answer_as_npy_is_an_array(url: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [PROGRAM, "call", url, "predict", "--set", "x=[[1,2,3,4]]", "-o", "npy"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    array = np.load(io.BytesIO(done.stdout))

    assert array.dtype == np.float32
    assert array.tolist() == [10.0]


def test_what_is_no_array_has_no_npy(inside: Cli, url: str) -> None:
    inside("call", url, "flower", "--set", 'flower={"kind":"a"}', "-o", "npy").failed_well(
        2, "usage"
    )


def test_a_file_comes_out_as_it_is(url: str, tmp_path: Path) -> None:
    data = bytes(range(256))
    done = subprocess.run(
        [PROGRAM, "call", url, "copy", "-i", "-"],
        input=data,
        capture_output=True,
        check=True,
        timeout=60,
    )

    assert done.stdout == data


def test_the_words_of_a_stream_stand_behind_each_other(inside: Cli, url: str) -> None:
    words = ("call", url, "count", "--set", "word=a", "--set", "times=2")

    assert inside(*words).out == "a 0a 1\n"
    assert inside(*words, "-o", "json").out == '"a 0"\n"a 1"\n'


def test_a_stream_is_shown_as_it_comes(url: str) -> None:
    """Its first words are there long before its end, which is not waited for."""
    words = [PROGRAM, "call", url, "count", "--set", "word=a", "--set", "times=100000000"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.read(7) == b"a 0a 1a"
        process.terminate()


def test_a_stream_that_fails_ends_with_an_error(inside: Cli, url: str) -> None:
    done = inside("call", url, "count", "--set", "word=a", "--set", "fails=true")

    assert done.status == 1
    assert done.out.startswith("a 0a 1a 2")
    assert "error[model-error]: the model failed" in done.err


def test_info_says_how_long_it_took(inside: Cli, url: str) -> None:
    done = inside("call", url, "predict", "--set", "x=[[1,2,3,4]]", "--info")

    assert done.out == "10.0\n"
    assert done.err.startswith("status 200 in ")


def test_an_answer_does_not_steer_the_terminal(url: str) -> None:
    here, there = pty.openpty()
    words = [PROGRAM, "call", url, "words", "--set", 'x=["\\u001b[2jb"]', "-o", "text"]
    with subprocess.Popen(words, stdout=there, stderr=subprocess.DEVNULL) as process:
        assert process.wait(60) == 0
        os.close(there)
        shown = os.read(here, 100)
    os.close(here)

    assert b"\x1b[2J" not in shown
    assert b"\\x1b[2JB" in shown


# --- where --------------------------------------------------------------------------------------


def test_without_a_url_the_server_that_runs_here_is_called(
    inside: Cli, at_home: dict[str, str], url: str
) -> None:
    x = ("--set", "x=[[1,2,3,4]]")

    assert inside("call", "predict", *x, env=at_home).out == "10.0\n"
    assert inside("call", "garden", "predict", *x, env=at_home).out == "10.0\n"
    assert inside("call", url.rpartition(":")[2], "/predict", *x, env=at_home).out == "10.0\n"
    assert inside("call", url.removeprefix("http://"), "predict", *x).out == "10.0\n"


def test_without_a_server_it_says_what_to_do(inside: Cli) -> None:
    done = inside("call", "predict")

    done.failed_well(3, "not-found")
    assert "modelpack serve" in done.err


# --- what is wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "ended", "said"),
    [
        (("predict", "--set", "x=[[1,2]]"), (2, "bad-input"), "shape [1, 2]"),
        (("parts", "--set", "n=10"), (2, "refused-input"), "from 0 to 9"),
        (("parts", "--set", "n=ten"), (2, "usage"), "'n': 'ten' is no whole number"),
        (("predit",), (3, "not-found"), "did you mean 'predict'?"),
        (("predict",), (2, "usage"), "'x' is missing"),
        (("predict", "--set", "y=1"), (2, "usage"), "no parameter 'y'"),
        (("predict", "--set", "x"), (2, "usage"), "NAME=VALUE"),
        (("predict", "--input", "nothing.npy"), (3, "not-found"), "no file 'nothing.npy'"),
        (("predict", "--input", "."), (2, "usage"), "is a folder"),
        (("predict", "--timeout", "soon"), (2, "usage"), "must be a time"),
        (("predict", "--header", "nonsense"), (2, "usage"), "NAME:VALUE"),
        (("broken",), (1, "model-error"), "the server's log has it under"),
        (("wait", "--set", "seconds=3", "--timeout", "200ms"), (1, "timeout"), ""),
        ((), (2, "usage"), "12 apis"),
    ],
)
def test_what_is_wrong_is_said_in_few_lines(
    inside: Cli, url: str, words: Any, ended: tuple[int, str], said: str
) -> None:
    done = inside("call", url, *words)

    done.failed_well(*ended)
    assert said in done.err


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (("a.csv", b"0,1,2,3\n4,five,6,7\n"), "a.csv:2:2: 'five' is no number"),
        (("a.png", b"\x89PNG\r\n\x1a\n\0"), "'predict' takes no file, and 'a.png' is one"),
        (("a.dat", b"1,2,3,4\n\xff\xff\xff\xff"), "'predict' takes no file"),
        (("a.csv", b"0,1,2,3\n4,5\n"), "a.csv:2: 4 cells are needed, there are 2"),
        (("a.csv", b""), "'a.csv' is empty"),
        (("a.csv", b"\xff\xfe"), "no text in UTF-8"),
        (("a.json", b"{"), "'a.json' is not JSON"),
        (("a.jsonl", b"1\n{\n"), "'a.jsonl:2' is not JSON"),
        (("a.npy", b"no"), "no .npy file"),
        (("a.npz", b"no"), "no .npz file"),
        (("a.txt", b"no"), "takes no text"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    inside: Cli, url: str, tmp_path: Path, file: tuple[str, bytes], said: str
) -> None:
    name, data = file
    (tmp_path / name).write_bytes(data)

    done = inside("call", url, "predict", "--input", name)

    done.failed_well(2, "usage")
    assert said in done.err


def test_a_pickle_is_not_opened(inside: Cli, url: str, tmp_path: Path) -> None:
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "a.npy").write_bytes(file.getvalue())

    done = inside("call", url, "predict", "--input", "a.npy")

    done.failed_well(2, "usage")
    assert "'a.npy' is no .npy file of numbers: it holds objects of Python" in done.err


def test_a_server_that_is_not_there_is_said(inside: Cli) -> None:
    began = time.monotonic()

    done = inside("call", "http://127.0.0.1:1", "predict", "--attempts", "2")

    done.failed_well(1, "unreachable")
    assert time.monotonic() - began < 10


def test_a_url_of_something_else_is_said(inside: Cli, url: str) -> None:
    done = inside("call", f"{url}/predict", "--set", "x=[[1,2,3,4]]")

    done.failed_well(3, "not-found")
    assert "does the URL name a server of modelpack, and nothing behind it?" in done.err


def test_columns_named_as_parameters_are_those(inside: Cli, url: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("word,times\nhello,1\n")

    assert inside("call", url, "count", "-i", "a.csv", "-o", "json").out == '"hello 0"\n'
    (tmp_path / "a.csv").write_text("word,times\nhello,1\nyou,2\n")
    done = inside("call", url, "count", "-i", "a.csv")
    done.failed_well(2, "usage")
    assert "modelpack batch" in done.err


def test_json_gets_the_same_answer_as_bytes(inside: Cli, url: str, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(npy(ROWS))

    answers = {
        json.dumps(inside("call", url, "predict", "-i", "a.npy", *more).out)
        for more in ((), ("--json",))
    }
    assert len(answers) == 1
