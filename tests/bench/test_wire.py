"""Answers in every form and in any pieces are understood, and each request is heard of once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.bench.wire import Connection


class FakeTransport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.is_open = True

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return not self.is_open

    def close(self) -> None:
        self.is_open = False

    def abort(self) -> None:
        self.is_open = False


class Heard:
    """The owner of a connection: takes down what it is told."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, int, bytes]] = []
        self.losses: list[str] = []

    def answered(self, connection: Connection, status: int, size: int) -> None:
        self.answers.append((status, size, connection.body))

    def lost(self, connection: Connection, kind: str) -> None:
        self.losses.append(kind)


def asked() -> tuple[Connection, Heard, FakeTransport]:
    """Return a connection with a request on its way."""
    heard, transport = Heard(), FakeTransport()
    connection = Connection(heard)
    connection.connection_made(transport)
    connection.send(b"GET / HTTP/1.1\r\n\r\n", 1.0)
    return connection, heard, transport


PLAIN = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
SPELLED = b"HTTP/1.1 201 Created\r\nServer: x\r\nContent-Length:2\r\n\r\n{}"
REFUSED = b"HTTP/1.1 429 Too Many\r\nContent-Length: 4\r\n\r\nfull"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN
CLOSING = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
ANSWERS = {PLAIN: 200, SPELLED: 201, REFUSED: 429, CHUNKED: 200, CONTINUED: 200, CLOSING: 200,
           EMPTY: 204}  # fmt: skip


@given(st.sampled_from(sorted(ANSWERS)), st.data())
def test_answer_is_understood_in_any_pieces(answer: bytes, data: st.DataObject) -> None:
    connection, heard, _ = asked()
    cuts = sorted(data.draw(st.sets(st.integers(1, len(answer) - 1))))

    for start, end in zip([0, *cuts], [*cuts, len(answer)], strict=True):
        connection.data_received(answer[start:end])

    assert [(status, size) for status, size, _ in heard.answers] == [(ANSWERS[answer], len(answer))]
    assert heard.losses == ([""] if answer == CLOSING else [])


@given(st.lists(st.sampled_from([PLAIN, SPELLED, CHUNKED, REFUSED, EMPTY]), max_size=6))
def test_connection_is_used_again_and_again(answers: list[bytes]) -> None:
    connection, heard, transport = asked()
    for number, answer in enumerate(answers):
        connection.data_received(answer)
        connection.send(b"again", float(number))
    assert [status for status, _, _ in heard.answers] == [ANSWERS[one] for one in answers]
    assert len(transport.written) == len(answers) + 1


def test_word_close_in_a_body_does_not_close() -> None:
    connection, heard, _ = asked()
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n'close'")
    assert heard.losses == []
    assert not connection.is_lost


def test_connection_that_says_close_is_not_used_again() -> None:
    connection, heard, transport = asked()
    connection.data_received(CLOSING)
    assert connection.is_lost
    assert not transport.is_open
    connection.connection_lost(None)
    assert heard.losses == [""]


def test_end_of_the_connection_may_be_the_end_of_the_answer() -> None:
    connection, heard, _ = asked()
    connection.data_received(b"HTTP/1.0 200 OK\r\n\r\nas long as it is")
    assert heard.answers == []
    connection.connection_lost(None)
    assert [status for status, _, _ in heard.answers] == [200]
    assert heard.losses == [""]


@pytest.mark.parametrize(
    "piece", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", b"HTT"]
)
def test_end_within_an_answer_is_an_error(piece: bytes) -> None:
    connection, heard, _ = asked()
    if piece:
        connection.data_received(piece)
    connection.connection_lost(None)
    assert (heard.answers, heard.losses) == ([], ["closed"])


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 2x0 OK\r\n\r\n", b"\0" * 50])
def test_what_is_not_http_is_said_so(answer: bytes) -> None:
    connection, heard, transport = asked()
    connection.data_received(answer)
    assert heard.losses == ["not-http"]
    assert not transport.is_open


def test_answer_that_nobody_asked_for_ends_the_connection() -> None:
    connection, heard, transport = asked()
    connection.data_received(PLAIN)
    connection.data_received(PLAIN)
    assert len(heard.answers) == 1
    assert heard.losses == [""]
    assert not transport.is_open


def test_body_of_a_refusal_is_kept() -> None:
    connection, heard, _ = asked()
    connection.data_received(REFUSED)
    assert heard.answers[0][2] == b"full"


def test_given_up_request_is_reported_once() -> None:
    connection, heard, _ = asked()
    connection.end("timeout")
    connection.connection_lost(None)
    assert heard.losses == ["timeout"]
