"""What a head must be like before anything else looks at the request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.server.http.heads import (
    MAX_HEAD_BYTES,
    RequestIds,
    check_head,
    check_head_size,
    is_plain,
)
from modelpack.server.problems import RefusedRequest

HOST = (b"host", b"test")


def status(version: str, *headers: tuple[bytes, bytes], limit: int = 100) -> int:
    try:
        check_head(version, headers, limit)
    except RefusedRequest as refused:
        return refused.problem.status
    return 200


@pytest.mark.parametrize("version", ["0.9", "1.2", "2.0", "3.0", ""])
def test_other_versions_are_not_spoken(version: str) -> None:
    assert status(version, HOST) == 400


@pytest.mark.parametrize(
    "host", [b"test", b"test:80", b"127.0.0.1:1", b"[::1]:8080", b"a_b-c.d~e", b"", b"xn--ls8h"]
)
def test_hosts_of_the_right_form_are_taken(host: bytes) -> None:
    assert status("1.1", (b"host", host)) == 200


@pytest.mark.parametrize(
    "host", [b"a b", b"a/b", b"a\\b", b"u@h", b"h:port", b"h:1:2", b"[::1", b"a?b", b"a#b", b"\xff"]
)
def test_hosts_of_another_form_are_refused(host: bytes) -> None:
    assert status("1.1", (b"host", host)) == 400


def test_http_10_needs_no_host() -> None:
    assert status("1.0") == 200
    assert status("1.1") == 400


@pytest.mark.parametrize(
    "name", [b"host", b"content-length", b"content-type", b"transfer-encoding", b"content-encoding"]
)
def test_what_decides_may_stand_only_once(name: bytes) -> None:
    value = {b"host": b"test", b"content-length": b"1", b"transfer-encoding": b"chunked"}
    pair = (name, value.get(name, b"x"))

    assert status("1.1", *{HOST, pair}, pair) == 400


def test_other_headers_may_be_repeated() -> None:
    assert status("1.1", HOST, (b"accept", b"a"), (b"accept", b"b")) == 200


@pytest.mark.parametrize("length", [b"-1", b"+1", b"1.0", b"1,1", b" ", b"", b"0x1", b"\xb2"])
def test_a_length_that_is_no_number_is_refused(length: bytes) -> None:
    assert status("1.1", HOST, (b"content-length", length)) == 400


@pytest.mark.parametrize(
    ("length", "expected"), [(b"100", 200), (b"101", 413), (b"9" * 18, 413), (b"9" * 500, 413)]
)
def test_a_body_over_the_limit_is_refused_before_it_is_read(length: bytes, expected: int) -> None:
    assert status("1.1", HOST, (b"content-length", length)) == expected


@pytest.mark.parametrize("coding", [b"gzip", b"identity", b"chunked, gzip", b"xchunked", b""])
def test_other_transfer_codings_are_refused(coding: bytes) -> None:
    assert status("1.1", HOST, (b"transfer-encoding", coding)) == 400
    assert status("1.1", HOST, (b"transfer-encoding", b"Chunked ")) == 200
    assert status("1.0", HOST, (b"transfer-encoding", b"chunked")) == 400


def test_both_lengths_are_refused() -> None:
    pairs = (b"transfer-encoding", b"chunked"), (b"content-length", b"1")

    assert status("1.1", HOST, *pairs) == 400


def test_the_head_is_measured_with_its_request_line() -> None:
    check_head_size(b"/" * 100, [(b"x", b"a" * (MAX_HEAD_BYTES - 200))])
    with pytest.raises(RefusedRequest) as refused:
        check_head_size(b"/" * 100, [(b"x", b"a" * (MAX_HEAD_BYTES - 100))])

    assert refused.value.problem.status == 431


def test_only_a_body_of_a_known_length_is_plain() -> None:
    plain = {b"content-type": b"application/json", b"content-length": b"2"}

    assert is_plain("1.1", plain)
    assert not is_plain("1.0", plain)
    assert not is_plain("1.1", {b"content-type": b"application/json"})
    assert not is_plain("1.1", {**plain, b"expect": b"100-continue"})
    assert not is_plain("1.1", {**plain, b"content-encoding": b"identity"})
    assert is_plain("1.1", {**plain, b"content-type": b"application/octet-stream"})


@given(given_id=st.binary(max_size=200))
def test_a_request_id_is_always_short_printable_and_without_spaces(given_id: bytes) -> None:
    request_id = RequestIds().id_for(given_id)

    assert 0 < len(request_id) <= 128
    assert all(0x21 <= byte <= 0x7E for byte in request_id)
