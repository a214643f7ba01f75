"""Bodies come from the example or from a file, in every form that is promised."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelpack.bench.apis import Api
from modelpack.bench.inputs import Input, read_bodies
from modelpack.errors import ModelpackError, NotFoundError, UsageError

API = Api(
    "predict",
    "/predict",
    example={"x": [[1, 2], [3, 4]]},
    properties={"x": {"x-dtype": "float32"}},
)


def given(file: Path | str | None = None, **more: Any) -> Input:
    return Input(file=None if file is None else str(file), **more)


def test_example_is_sent_when_nothing_is_given() -> None:
    (body,) = read_bodies(given(), API)
    assert json.loads(body.data) == API.example
    assert body.content_type == "application/json"


def test_without_an_api_nothing_is_sent() -> None:
    assert read_bodies(given(), None) == []


def test_json_file_is_one_body(tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    file.write_text('{"x":\n [[5, 6]]}')
    (body,) = read_bodies(given(file), API)
    assert body.data == b'{"x":[[5,6]]}'


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.NDJSON"])
def test_lines_are_bodies_in_turns(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"x": 1}\n\n{"x": 2}\n')
    bodies = read_bodies(given(tmp_path / name), API)
    assert [json.loads(one.data)["x"] for one in bodies] == [1, 2]


def test_npy_is_sent_as_a_tensor(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(6, dtype=">i4").reshape(2, 3))
    (body,) = read_bodies(given(tmp_path / "x.npy"), API)
    assert dict(body.headers) == {"modelpack-dtype": "int32", "modelpack-shape": "2,3"}
    assert np.frombuffer(body.data, "<i4").tolist() == list(range(6))


def test_binary_sends_the_bytes_of_the_tensor() -> None:
    (body,) = read_bodies(given(binary=True), API)
    assert body.content_type == "application/octet-stream"
    assert dict(body.headers) == {"modelpack-dtype": "float32", "modelpack-shape": "2,2"}
    assert np.frombuffer(body.data, "<f4").tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("binary", [False, True])
def test_rows_repeats_the_rows(rows: int, binary: bool) -> None:
    (body,) = read_bodies(given(binary=binary, rows=rows), API)
    if binary:
        assert dict(body.headers)["modelpack-shape"] == f"{rows},2"
        assert len(body.data) == rows * 8
    else:
        assert json.loads(body.data)["x"] == ([[1, 2], [3, 4]] * 3)[:rows]


def test_rows_of_a_npy_are_repeated(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.eye(2, dtype="float64"))
    (body,) = read_bodies(given(tmp_path / "x.npy", rows=3), API)
    assert dict(body.headers)["modelpack-shape"] == "3,2"


def test_other_file_is_sent_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(b"\x89PNG")
    (body,) = read_bodies(given(tmp_path / "cat.png", content_type="image/png"), None)
    assert (body.data, body.content_type) == (b"\x89PNG", "image/png")


@pytest.mark.parametrize("word", ["@-", "-"])
def test_standard_input_is_read(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO(b'{"x": 7}')

    monkeypatch.setattr("sys.stdin", Stdin)
    (body,) = read_bodies(given(word), API)
    assert json.loads(body.data) == {"x": 7}


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("x.json", b"{", "is not JSON"),
        ("x.png", b"\x89PNG", "is not JSON"),
        ("x.jsonl", b'{}\n{"a":\n', "x.jsonl:2' is not JSON"),
        ("x.jsonl", b"\n", "is empty"),
        ("x.npy", b"no", "is no .npy file"),
        ("x.npy", npy(np.array([{}], dtype=object)), "is no .npy file"),
    ],
)
def test_file_that_cannot_be_used_is_said(
    tmp_path: Path, name: str, data: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError, match=says):
        read_bodies(given(tmp_path / name), API)


@pytest.mark.parametrize(
    ("api", "more", "says"),
    [
        (Api("a", "/a"), {}, "shows no example of 'a'"),
        (Api("a", "/a", {"x": 1, "y": 2}), {"binary": True}, "one tensor"),
        (Api("a", "/a", {"x": "text"}), {"binary": True}, "no tensor of numbers"),
        (Api("a", "/a", {"x": 1}), {"rows": 2}, "no rows"),
        (
            Api("a", "/a", {"x": [[1], [2, 3]]}, {"x": {"x-dtype": "float32"}}),
            {"binary": True},
            "no float32 tensor",
        ),
    ],
)
def test_example_that_cannot_be_used_is_said(api: Api, more: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read_bodies(given(**more), api)


def test_missing_file_and_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no file"):
        read_bodies(given(tmp_path / "no.json"), API)
    with pytest.raises(ModelpackError, match="is a folder"):
        read_bodies(given(tmp_path), API)
