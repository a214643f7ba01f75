"""Bodies that are no JSON: forms, raw files, and what is refused unread."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import modelpack
from modelpack.errors import InputError
from modelpack.server.bodies.forms import MAX_PARTS, parse_form

Start = Callable[..., Any]


@modelpack.service
class Files:
    @modelpack.api
    def size(self, file: bytes, factor: float = 1.0) -> float:
        return len(file) * factor

    @modelpack.api
    def describe(
        self, file: bytes, name: str, tags: list[str], kind: Literal["a", "1"] = "a"
    ) -> dict[str, Any]:
        return {"size": len(file), "name": name, "tags": tags, "kind": kind}

    @modelpack.api
    def two(self, one: bytes, other: bytes) -> list[int]:
        return [len(one), len(other)]

    @modelpack.api
    def area(self, picture: Image.Image) -> int:
        return picture.width * picture.height

    @modelpack.api
    def mirror(self, picture: Image.Image) -> Image.Image:
        return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    @modelpack.api
    def raw(self, text: str) -> bytes:
        return text.encode()

    @modelpack.api
    def plain(self, text: str) -> str:
        return text


@pytest.fixture(scope="module")
def server(start_once: Start) -> Any:
    return start_once(Files, max_body_bytes=200_000)


def png(width: int = 3, height: int = 2) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 10, 10)).save(file, "PNG")
    return file.getvalue()


def post(server: Any, path: str, content: bytes, kind: str) -> Any:
    return server.client.post(path, content=content, headers={"content-type": kind})


def test_a_file_comes_as_a_form_raw_or_in_base64(server: Any) -> None:
    data = bytes(range(256)) * 4
    encoded = base64.b64encode(data).decode()

    answers = [
        server.client.post("/size", files={"file": ("f.bin", data)}),
        post(server, "/size", data, "application/octet-stream"),
        server.post("/size", {"file": encoded}),
    ]

    assert [answer.json() for answer in answers] == [1024.0] * 3


def test_an_empty_file_is_a_file(server: Any) -> None:
    assert post(server, "/size", b"", "application/octet-stream").json() == 0.0
    assert server.client.post("/size", files={"file": ("f", b"")}).json() == 0.0


def test_the_other_parts_of_a_form_are_json_or_plain_text(server: Any) -> None:
    answer = server.client.post(
        "/describe",
        files={"file": ("f", b"abc")},
        data={"name": "[not json", "tags": '["x", "ü"]', "kind": "1"},
    )

    assert answer.json() == {"size": 3, "name": "[not json", "tags": ["x", "ü"], "kind": "1"}


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg", "application/octet-stream"])
def test_a_picture_comes_raw_under_any_image_type(server: Any, kind: str) -> None:
    assert post(server, "/area", png(), kind).json() == 6


def test_a_picture_goes_out_as_a_picture(server: Any) -> None:
    answer = post(server, "/mirror", png(5, 4), "image/png")

    assert answer.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(answer.content)).size == (5, 4)


def test_bytes_go_out_as_they_are(server: Any) -> None:
    answer = server.post("/raw", {"text": "grüße"})

    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.content == "grüße".encode()


def test_what_is_no_picture_is_refused(server: Any) -> None:
    answer = post(server, "/area", b"GIF89a, but no", "image/gif")

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == "/picture"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/plain", "multipart/form-data; boundary=b"),
        ("/plain", "application/octet-stream"),
        ("/plain", "image/png"),
        ("/size", "image/png"),
        ("/two", "application/octet-stream"),
        ("/describe", "application/octet-stream"),
        ("/size", "application/x-www-form-urlencoded"),
        ("/size", "application/python-pickle"),
        ("/size", "application/vnd.bentoml+pickle"),
        ("/size", "application/x-pickle"),
        ("/size", "multipart/mixed; boundary=b"),
        ("/size", "multipart/form-data"),
        ("/size", "multipart/form-data; boundary=" + "b" * 71),
        ("/size", "text/plain"),
    ],
)
def test_other_types_are_refused_unread(server: Any, path: str, kind: str) -> None:
    answer = post(server, path, b"\x80\x04K\x01.", kind)

    assert answer.status_code == 415
    assert answer.json()["code"] == "unsupported-media-type"
    assert re.search("expected (application/json|multipart)", answer.json()["detail"])


def form(*parts: tuple[str, bytes], boundary: str = "b") -> bytes:
    pieces = [
        b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
        % (boundary.encode(), name.encode(), data)
        for name, data in parts
    ]
    return b"".join(pieces) + f"--{boundary}--\r\n".encode()


BAD_FORMS = {
    "empty": b"",
    "no boundary": b"hello",
    "cut short": form(("file", b"abc"))[:-8],
    "other boundary": form(("file", b"abc"), boundary="c"),
    "a part twice": form(("file", b"abc"), ("file", b"def")),
    "no name": form(("", b"abc")),
    "no disposition": b"--b\r\nX: y\r\n\r\nabc\r\n--b--\r\n",
    "too many parts": form(*((f"p{n}", b"") for n in range(MAX_PARTS + 1))),
    "long part header": b'--b\r\nContent-Disposition: form-data; name="f"; x="' + b"y" * 9000
    + b'"\r\n\r\nabc\r\n--b--\r\n',
    "many part headers": b"--b\r\n" + b"X: y\r\n" * 3000 + b"\r\nabc\r\n--b--\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FORMS)
def test_a_malformed_form_is_answered_400(server: Any, name: str) -> None:
    answer = post(server, "/size", BAD_FORMS[name], "multipart/form-data; boundary=b")

    assert answer.status_code == 400
    assert answer.json()["code"] == "bad-input"


@pytest.mark.parametrize(
    ("parts", "pointer"),
    [
        ([("file", b"abc"), ("factor", b"two")], "/factor"),
        ([("file", b"abc"), ("factor", b"\xff")], "/factor"),
        ([("file", b"abc"), ("factor", b'{"a":1,"a":2}')], "/factor"),
        ([("file", b"abc"), ("other", b"1")], "/other"),
        ([("factor", b"1")], "/file"),
    ],
)
def test_a_part_that_does_not_fit_is_named(server: Any, parts: Any, pointer: str) -> None:
    answer = post(server, "/size", form(*parts), "multipart/form-data; boundary=b")

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_a_form_over_the_limit_is_answered_413(server: Any) -> None:
    answer = server.client.post("/size", files={"file": ("f", b"x" * 200_001)})

    assert answer.status_code == 413


@given(
    parts=st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.binary(max_size=80)),
    boundary=st.from_regex(r"[A-Za-z0-9]{20,70}", fullmatch=True),
)
def test_parts_come_out_as_they_went_in(parts: dict[str, bytes], boundary: str) -> None:
    if not parts:
        return
    assert parse_form(form(*parts.items(), boundary=boundary), boundary.encode()) == parts


@given(body=st.binary(max_size=300))
def test_any_bytes_are_a_form_or_refused(body: bytes) -> None:
    with suppress(InputError):
        parse_form(b"--b\r\n" + body, b"b")


def test_the_same_answer_in_json_and_as_a_form(server: Any) -> None:
    body = {"file": base64.b64encode(b"abc").decode(), "name": "n", "tags": ["t"]}

    one = server.post("/describe", body).json()
    files, data = {"file": ("f", b"abc")}, {"name": "n", "tags": json.dumps(["t"])}
    other = server.client.post("/describe", files=files, data=data).json()

    assert one == other
