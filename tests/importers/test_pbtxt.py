"""The text form of protocol buffers: what is read, and what is refused with its line."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.errors import RefusedError
from modelpack.importers.pbtxt import MAX_DEPTH, Word, parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        ("a: 1", {"a": [1]}),
        ("a: -1 b: 0x1F c: 1.5f d: 2e3", {"a": [-1], "b": [31], "c": [1.5], "d": [2000.0]}),
        ('a: "x" "y" \'z\'', {"a": ["xyz"]}),
        (r'a: "tab\t \x41 \101 \""', {"a": ['tab\t A A "']}),
        ("a: TYPE_FP32, b: true;", {"a": ["TYPE_FP32"], "b": ["true"]}),
        ("a: 1 a: 2", {"a": [1, 2]}),
        ("a: [1, 2] # why\n b: []", {"a": [1, 2], "b": []}),
        ("m { a: 1 } n: < a: 2 >", {"m": [{"a": [1]}], "n": [{"a": [2]}]}),
        ("m [ { a: 1 }, { a: 2 } ]", {"m": [{"a": [1]}, {"a": [2]}]}),
    ],
)
def test_what_is_written_in_each_way_is_read(text: str, value: Any) -> None:
    assert parse(text, "it") == value


def test_a_word_is_no_text() -> None:
    fields = parse('a: TYPE_BOOL b: "TYPE_BOOL"', "it")

    assert isinstance(fields["a"][0], Word)
    assert not isinstance(fields["b"][0], Word)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a", "line 1: expected ':' or a message"),
        ("\n\na: }", "line 3: expected a value"),
        ("m {\n a: 1", "line 2: expected a field, got the end"),
        ("a: [1 2]", "expected ',' or ']'"),
        ('a: "open', "unexpected"),
        (": 1", "expected a field"),
        ("m {" * (MAX_DEPTH + 2), "nested deeper"),
    ],
)
def test_what_is_malformed_is_refused_with_its_line(text: str, why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        parse(text, "config.pbtxt")


names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
scalars = st.one_of(st.integers(-(2**63), 2**63), st.text(max_size=20).map(str))
messages = st.recursive(
    st.dictionaries(names, st.lists(scalars, min_size=1, max_size=3), max_size=4),
    lambda inner: st.dictionaries(names, st.lists(inner, min_size=1, max_size=3), max_size=4),
    max_leaves=8,
)


def written(message: dict[str, list[Any]]) -> str:
    lines = []
    for name, values in message.items():
        for value in values:
            if isinstance(value, dict):
                lines.append(f"{name} {{ {written(value)} }}")
            elif isinstance(value, int):
                lines.append(f"{name}: {value}")
            else:
                text = "".join(f"\\{ord(c):03o}" if ord(c) < 64 or c == "\\" else c for c in value)
                lines.append(f'{name}: "{text}"')
    return "\n".join(lines)


@given(messages)
def test_whatever_was_written_is_read_again(message: dict[str, list[Any]]) -> None:
    assert parse(written(message), "it") == message


@given(st.text(alphabet='ab1:{}[]<>"\\ \n,#-.', max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(RefusedError):
        assert isinstance(parse(text, "it"), dict)
