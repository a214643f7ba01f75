"""Events in the eyes of others, whatever is in them."""

from __future__ import annotations

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_binary_event
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given
from hypothesis import strategies as st

from modelpack.server.observe.payloads.events import TYPES, Event, Form, events_of
from modelpack.server.observe.payloads.record import ApiPayloads, Exchange, Rules, Said

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=40)
HEADER = st.binary(max_size=40).filter(lambda value: not {0, 10, 13} & set(value))


def events(
    service: str, path: str, request_id: bytes, content_type: bytes, body: bytes
) -> list[Event]:
    payloads = ApiPayloads(service, "predict", Rules(), lambda _: None)
    said = Said(path, content_type, ((b"content-encoding", content_type),))
    exchange = Exchange(payloads, said, request_id, body)
    exchange.end(200, content_type, body)
    return events_of(exchange)


def headers_of(lines: bytes) -> dict[str, str]:
    """Return header lines as whoever gets them reads them; each has to be one line."""
    assert lines.endswith(b"\r\n")
    pairs = [line.split(b": ", 1) for line in lines[:-2].split(b"\r\n")]
    assert all(all(31 < byte < 127 for byte in value) for _, value in pairs)
    return {name.decode(): value.decode() for name, value in pairs}


@given(TEXT, TEXT, st.binary(min_size=1, max_size=30).filter(lambda b: b.isascii()), HEADER, TEXT)
def test_any_text_comes_back_as_it_went(
    service: str, path: str, request_id: bytes, content_type: bytes, own: str
) -> None:
    form = Form({"team": own})
    for event in events(service, path, request_id, content_type, b"\0\xff"):
        lines, body = form.binary(event)
        read = from_binary_event(HTTPMessage(headers_of(lines), body))

        assert body == b"\0\xff"
        assert read.get_type() == TYPES[event.kind]
        assert read.get_id() == request_id.decode()
        assert read.get_extension("inferenceservicename") == service
        assert read.get_extension("path") == path
        assert read.get_extension("team") == own


@given(TEXT, HEADER, st.binary(max_size=60))
def test_any_body_makes_one_line_of_json(path: str, content_type: bytes, body: bytes) -> None:
    for event in events("demo", path, b"id", content_type, body):
        line = Form({}).as_json(event)
        assert b"\n" not in line
        assert JSONFormat().read(None, line).get_extension("path") == path


@pytest.mark.parametrize("count", [3, 5])
def test_of_a_share_pairs_are_whole_and_even(count: int) -> None:
    kept: list[Exchange] = []
    payloads = ApiPayloads("demo", "predict", Rules(share=1 / count), kept.append)
    for number in range(4 * count):
        exchange = payloads.begin(Said("/predict", b""), b"%d" % number, b"")
        if exchange is not None:
            exchange.end(200, b"", b"")

    assert [int(one.request_id) for one in kept] == [n * count for n in range(4)]


def test_a_call_is_put_once_whatever_happens_to_it() -> None:
    kept: list[Exchange] = []
    payloads = ApiPayloads("demo", "predict", Rules(), kept.append)
    one = payloads.begin(Said("/predict", b""), b"1", b"")
    assert one is not None
    with pytest.raises(RuntimeError), one:
        one.end(200, b"text/plain", b"a")
        raise RuntimeError

    assert [exchange.status for exchange in kept] == [200]


def test_an_error_has_the_status_that_its_client_sees() -> None:
    kept: list[Exchange] = []
    payloads = ApiPayloads("demo", "predict", Rules(), kept.append)
    for error in (TimeoutError(), GeneratorExit()):
        one = payloads.begin(Said("/predict", b""), b"1", b"")
        assert one is not None
        with pytest.raises(type(error)), one:
            raise error

    assert [exchange.status for exchange in kept] == [500, 499]
    assert [one.kinds for one in kept] == [("request",), ("request",)]
