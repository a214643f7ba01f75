"""Which content type a body has, and which form of an answer its client wants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.server.bodies.media import BINARY, JSON, MAX_ACCEPT, NPY, is_json, preferred

OFFERED = (JSON, BINARY, NPY)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (b"application/json", True),
        (b"Application/JSON", True),
        (b"application/json;charset=utf-8", True),
        (b'application/json ; charset="UTF-8"; x=y', True),
        (b"application/json; charset=latin-1", False),
        (b"application/json-patch+json", False),
        (b"application/jsonx", False),
        (b"text/json", False),
        (b"", False),
    ],
)
def test_json_is_recognised_by_its_type_and_charset(kind: bytes, expected: bool) -> None:
    assert is_json(kind) is expected


@pytest.mark.parametrize(
    ("accept", "choice"),
    [
        (b"", None),
        (b"text/html", None),
        (b"*/*", JSON),
        (b"application/*", JSON),
        (b"application/json", JSON),
        (b"application/octet-stream", BINARY),
        (b"Application/X-NPY", NPY),
        (b"application/octet-stream, */*;q=0.5", BINARY),
        (b"application/octet-stream;q=0.5, */*", JSON),
        (b"application/x-npy, */*", NPY),
        (b"*/*, application/x-npy", NPY),
        (b"application/x-npy, application/octet-stream", NPY),
        (b"application/octet-stream;q=0.2, application/x-npy;q=0.3", NPY),
        (b"application/json;q=0, application/*", BINARY),
        (b"application/octet-stream;q=0", None),
        (b"application/octet-stream;q=2, text/html", None),
        (b"application/octet-stream;q=nan", None),
        (b"text/html, image/png, */*;q=0.1", JSON),
        (b"application/octet-stream;v=1 ; q=0.8, application/json;q=0.7", BINARY),
        (b",,;q=1,application/x-npy", NPY),
        (b"application/x-npy," + b" " * MAX_ACCEPT, None),
    ],
)
def test_the_form_that_is_liked_best_is_chosen(accept: bytes, choice: str | None) -> None:
    assert preferred(accept, OFFERED) == choice


@given(accept=st.one_of(st.binary(max_size=60), st.from_regex(rb"[a-z/*;,=q .0-9]{0,60}")))
def test_any_accept_header_chooses_something_that_is_offered_or_nothing(accept: bytes) -> None:
    assert preferred(accept, OFFERED) in (*OFFERED, None)
