"""What a call sends and what comes back, from a served project: both clients, one after the other."""

from __future__ import annotations

import asyncio
import io
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelpack
from modelpack.client.errors import CallRefusedError, CallUnknownError
from modelpack.errors import NotFoundError, UsageError

Asks = Any
ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)


def test_an_array_comes_back_as_the_service_returned_it(asks: Asks, served: str) -> None:
    value = asks(served).value("predict", x=ROWS)

    assert value.dtype == np.float32
    assert value.tolist() == [6.0, 22.0]
    value += 1  # it is ours, and not a view of something that must not change


@pytest.mark.parametrize("form", ["auto", "json"])
@pytest.mark.parametrize(
    "rows",
    [
        ROWS,
        ROWS.tolist(),
        ROWS.astype("float64"),
        ROWS.astype("int64"),
        ROWS.astype(">f4"),
        np.asfortranarray(ROWS),
        np.repeat(ROWS, 2, axis=1)[:, ::2],
    ],
    ids=["float32", "list", "float64", "int64", "big-endian", "fortran", "view"],
)
def test_whatever_holds_the_same_numbers_gets_the_same_answer(
    asks: Asks, served: str, rows: Any, form: str
) -> None:
    value = asks(served, form=form).value("predict", x=rows)

    assert value.dtype == np.float32
    assert value.tolist() == [6.0, 22.0]


def test_other_parameters_may_be_given_beside_an_array(asks: Asks, served: str) -> None:
    assert asks(served).value("predict", x=ROWS, scale=2).tolist() == [12.0, 44.0]


def test_several_arrays_are_sent_together(asks: Asks, served: str) -> None:
    a, b = np.array([1, 2]), np.array([0.5, 0.25])

    assert asks(served).value("pair", a=a, b=b).tolist() == [1.5, 2.25]
    assert asks(served).value("both", a=a, b=b) == {"sum": [1.5, 2.25], "rows": 2}


def test_several_arrays_travel_as_binary_tensors_where_the_server_takes_them(
    asks: Asks, served: str
) -> None:
    """JSON has no NaN: only bytes can have brought it there."""
    answer = asks(served).call("pair", {"a": np.array([1, 2]), "b": np.array([np.nan, 0.25])})

    assert "inference-header-content-length" in answer.headers
    assert np.isnan(answer.value[0])
    assert answer.value[1] == 2.25
    assert answer.value.dtype == np.float64


def test_texts_come_back_as_an_array_of_texts(asks: Asks, served: str) -> None:
    value = asks(served).value("words", x=np.array(["a", "ü"]))

    assert value.dtype == object
    assert value.tolist() == ["A", "Ü"]


@dataclass
class Rose:
    kind: str
    petals: int


@pytest.mark.parametrize("flower", [{"kind": "rose", "petals": 5}, Rose("rose", 5)])
def test_a_record_is_an_object(asks: Asks, served: str, flower: Any) -> None:
    value = asks(served).value("flower", flower=flower, colour="blue")

    assert value == {"kind": "rose", "petals": 5, "colour": "blue"}


def test_a_tuple_is_a_tuple_again_with_its_array(asks: Asks, served: str) -> None:
    number, array, nothing = asks(served).value("parts", n=3)

    assert (number, nothing) == (3, None)
    assert array.dtype == np.int8
    assert array.tolist() == [0, 1, 2]


@pytest.mark.parametrize("form", ["auto", "json"])
def test_nan_comes_back_as_nan(asks: Asks, served: str, form: str) -> None:
    value = asks(served, form=form).value("nan")

    assert value[0] == 1
    assert np.isnan(value[1])


# --- files --------------------------------------------------------------------------------------


def test_a_file_is_bytes_a_path_or_open(asks: Asks, served: str, tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"\0" * 3000)
    client = asks(served)

    with file.open("rb") as open_file:
        for one in (file, b"\0" * 3000, memoryview(b"\0" * 3000), open_file):
            assert client.value("size", file=one) == 3000


def test_a_file_with_something_beside_it_is_sent_as_a_form(asks: Asks, served: str) -> None:
    assert asks(served).value("size", file=b"--\r\n" * 500, unit=2) == 1000


def test_an_answer_may_be_a_file(asks: Asks, served: str) -> None:
    data = bytes(range(256)) * 2000  # longer than what is sent in one piece

    assert asks(served).value("copy", file=data) == data


def test_a_path_with_nothing_there_is_said_before_anything_is_sent(
    asks: Asks, served: str, tmp_path: Path
) -> None:
    with pytest.raises(NotFoundError, match=r"no file .*nothing.bin"):
        asks(served).value("size", file=tmp_path / "nothing.bin")


def test_an_image_is_sent_as_it_looks(asks: Asks, served: str) -> None:
    from PIL import Image

    sent = asks(served).value("copy", file=Image.new("L", (3, 2), 7))

    with Image.open(io.BytesIO(sent)) as image:
        assert (image.size, image.getpixel((0, 0))) == ((3, 2), 7)


# --- streams ------------------------------------------------------------------------------------


def test_a_stream_comes_piece_by_piece(asks: Asks, served: str) -> None:
    assert asks(served).pieces("count", word="a") == ["a 0", "a 1", "a 2"]


def test_a_stream_without_pieces_ends_at_once(asks: Asks, served: str) -> None:
    assert asks(served).pieces("count", word="a", times=0) == []


def test_a_stream_may_be_left_in_the_middle(asks: Asks, served: str) -> None:
    client = asks(served)

    assert client.pieces("count", word="a", times=1_000_000, most=2) == ["a 0", "a 1"]
    assert client.value("predict", x=ROWS).tolist() == [6.0, 22.0]


def test_a_stream_that_fails_gives_its_pieces_first_and_the_error_then(
    asks: Asks, served: str
) -> None:
    client = asks(served)

    with pytest.raises(modelpack.CallError) as caught:
        client.pieces("count", word="a", times=2, fails=True)

    assert client.read == ["a 0", "a 1"]
    assert (caught.value.code, caught.value.status) == ("model-error", 500)
    assert "gone" not in str(caught.value)


def test_a_stream_that_cannot_begin_is_an_error_of_the_call(asks: Asks, served: str) -> None:
    with pytest.raises(CallRefusedError) as caught:
        asks(served).value("count", word=7)

    assert caught.value.issues[0].pointer == "/word"


# --- what is wrong ------------------------------------------------------------------------------


def test_a_refusal_says_what_the_server_says(asks: Asks, served: str) -> None:
    with pytest.raises(CallRefusedError) as caught:
        asks(served).call("predict", {"x": [[1, 2]]}, request_id="mine-7")

    error = caught.value
    assert (error.code, error.status, error.request_id) == ("bad-input", 400, "mine-7")
    assert error.issues[0].pointer == "/x"
    assert "shape [1, 2]" in error.issues[0].got
    assert "shape [1, 2]" in error.message
    assert error.attempts == 1


def test_a_value_out_of_range_is_refused_with_422(asks: Asks, served: str) -> None:
    with pytest.raises(CallRefusedError) as caught:
        asks(served).value("parts", n=10)

    assert (caught.value.status, caught.value.code) == (422, "refused-input")


@pytest.mark.parametrize("rows", [[[1, 2, 3, "4"]], [[1, 2, 3, 1e300]], [[True, 0, 0, 0]]])
def test_lists_are_as_strict_as_json_is(asks: Asks, served: str, rows: Any) -> None:
    with pytest.raises(CallRefusedError):
        asks(served).value("predict", x=rows)


@pytest.mark.parametrize(
    "rows", [np.full((1, 4), 1e300), np.full((1, 4), True), np.full((1, 4), 1j), np.zeros((1, 4), "U1")]
)  # fmt: skip
def test_arrays_that_do_not_fit_the_dtype_are_refused_and_not_bent(
    asks: Asks, served: str, rows: Any
) -> None:
    with pytest.raises((CallRefusedError, TypeError)):
        asks(served).value("predict", x=rows)


def test_a_failure_of_the_service_is_500_and_names_the_request(asks: Asks, served: str) -> None:
    with pytest.raises(modelpack.CallError) as caught:
        asks(served).value("broken")

    error = caught.value
    assert (error.code, error.status, error.attempts) == ("model-error", 500, 1)
    assert error.hint == f"the server's log has it under '{error.request_id}'"
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "'x' is missing"),
        ({"y": 1}, "there is no 'y'"),
        ({"x": 1, "scal": 2}, "there is no 'scal', did you mean 'scale'?"),
    ],
)
def test_arguments_that_the_api_does_not_have_are_a_type_error(
    asks: Asks, served: str, arguments: Any, said: str
) -> None:
    with pytest.raises(
        TypeError, match=r"predict\(x: float32\[batch, 4\], scale: float = \.\.\.\)"
    ) as e:
        asks(served).value("predict", **arguments)

    assert said in str(e.value)


def test_an_api_that_there_is_not_is_unknown(asks: Asks, served: str) -> None:
    with pytest.raises(CallUnknownError) as caught:
        asks(served).call("predit", {})

    assert caught.value.hint == "did you mean 'predict'?"
    assert caught.value.exit_code == 3


def test_what_has_no_json_form_is_a_type_error(asks: Asks, served: str) -> None:
    with pytest.raises(TypeError, match="object"):
        asks(served).value("flower", flower=object())


def test_a_server_that_does_not_know_the_name_it_is_called_by_shows_its_apis_all_the_same(
    asks: Asks, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pages are hidden from names that it does not know, because of browsers."""
    known = socket.getaddrinfo

    def look_up(host: Any, *rest: Any, **more: Any) -> Any:
        return known("127.0.0.1" if host == "iris.example" else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    client = asks(served.replace("127.0.0.1", "iris.example"))

    assert client.value("predict", x=ROWS).tolist() == [6.0, 22.0]


# --- how a call is made -------------------------------------------------------------------------


def test_an_answer_has_the_facts_of_the_call(asks: Asks, served: str) -> None:
    answer = asks(served).call("predict", {"x": ROWS}, request_id="it-1", priority="high")

    assert answer.value.tolist() == [6.0, 22.0]
    assert (answer.status, answer.request_id, answer.attempts) == (200, "it-1", 1)
    assert 0 < answer.seconds < 60
    assert answer.headers["modelpack-dtype"] == "float32"


def test_a_call_that_takes_too_long_is_given_up(asks: Asks, served: str) -> None:
    with pytest.raises(modelpack.CallError) as caught:
        asks(served).call("wait", {"seconds": 3}, timeout_s=0.2)

    assert caught.value.code == "timeout"


@pytest.mark.parametrize(
    "options",
    [
        {"timeout_s": 0},
        {"priority": "urgent"},
        {"headers": {"a b": "c"}},
        {"headers": {"a": "b\r\nx-evil: 1"}},
        {"headers": {"Content-Length": "3"}},
        {"form": "xml"},
    ],
)
def test_options_that_are_none_are_refused_at_once(asks: Asks, options: Any) -> None:
    with pytest.raises(UsageError):
        asks("http://127.0.0.1:1", **options)


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:3000", "ftp://a", "http://", "http://a:b", "http://u:p@a", "http://a/?q=1", "http://a b"],
)  # fmt: skip
def test_a_url_that_is_none_is_refused_at_once(asks: Asks, url: str) -> None:
    with pytest.raises(UsageError):
        asks(url)


def test_the_name_of_a_file_is_not_the_file(asks: Asks, served: str, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"12345")

    with pytest.raises(TypeError, match=r"'file' is a file, give it as Path\('.*photo.png'\)"):
        asks(served).value("size", file=str(photo))
    with pytest.raises(UsageError, match="is a directory"):
        asks(served).value("size", file=tmp_path)


def test_what_has_no_form_is_said(asks: Asks, served: str) -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        asks(served).value("flower", flower=object())


# --- only of one kind ---------------------------------------------------------------------------


def test_methods_have_the_signature_and_the_words_of_the_service(served: str) -> None:
    with modelpack.Client(served) as client:
        assert repr(client.predict) == (
            "predict(x: float32[batch, 4], scale: float = ...) -> float32[batch]"
        )
        assert client.predict.__doc__ == "The sum of each row.\n\nTimes the scale."
        assert repr(client.count).endswith("-> Iterator[str]")
        assert repr(client.copy) == "copy(file: bytes) -> bytes"
        assert {"predict", "count", "size", "call"} <= set(dir(client))
        assert list(client.apis)[:2] == ["predict", "both"]
        assert client.service.name == "garden"
        assert client.apis["parts"](n=0)[0] == 0


def test_a_method_that_there_is_not_is_an_attribute_error(served: str) -> None:
    with (
        modelpack.Client(served) as client,
        pytest.raises(AttributeError, match=r"no api 'predit': did you mean 'predict'"),
    ):
        client.predit  # noqa: B018 - looking is enough


def test_positional_arguments_go_by_the_order_of_the_service(served: str) -> None:
    with modelpack.Client(served) as client:
        assert client.predict(ROWS, 3).tolist() == [18.0, 66.0]
        with pytest.raises(TypeError, match="given twice"):
            client.predict(ROWS, x=ROWS)
        with pytest.raises(TypeError, match="2 arguments at most"):
            client.predict(ROWS, 1, 2)


def test_many_tasks_share_a_client(served: str) -> None:
    async def all_of_them() -> list[Any]:
        async with modelpack.AsyncClient(served) as client:
            calls = (client.predict(x=np.full((1, 4), n, np.float32)) for n in range(600))
            return await asyncio.gather(*calls)

    assert [one.tolist() for one in asyncio.run(all_of_them())] == [[4.0 * n] for n in range(600)]


def test_many_threads_share_a_client(served: str) -> None:
    wrong: list[Any] = []

    def work(client: modelpack.Client, number: int) -> None:
        for _ in range(20):
            value = client.predict(x=np.full((1, 4), number, np.float32))
            if value.tolist() != [4.0 * number]:
                wrong.append(value)

    with modelpack.Client(served) as client:
        threads = [threading.Thread(target=work, args=(client, n)) for n in range(8)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()

    assert wrong == []
