"""Names and versions are checked in one place, before anything is made of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.errors import TagError
from modelpack.tag import Tag, name_from


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("digits", Tag("digits")),
        ("digits:latest", Tag("digits")),
        ("digits:7c1f0b2e9a44", Tag("digits", "7c1f0b2e9a44")),
        ("a.b_c-d:V1.2-rc_3", Tag("a.b_c-d", "V1.2-rc_3")),
    ],
)
def test_tags_are_read(text: str, tag: Tag) -> None:
    assert Tag.parse(text) == tag
    assert Tag.parse(str(tag)) == tag


@pytest.mark.parametrize(
    "text",
    ["", ":", "a:", ":b", "A", "-a", "..", "a/b", "a:..", "a:b:c", "a:b/c", "a\n", "a:b\n", "é",
     "a" * 64, "a:" + "b" * 129, "a\0", "a:.b", "a..", "~", "a b"],
)  # fmt: skip
def test_what_is_no_tag_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(TagError) as caught:
        Tag.parse(text)
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 2


@given(st.text(max_size=200))
def test_a_tag_never_leaves_its_folder(text: str) -> None:
    try:
        tag = Tag.parse(text)
    except TagError:
        return
    for part in (tag.name, tag.version or ""):
        assert "/" not in part
        assert "\0" not in part
        assert part not in (".", "..")


@pytest.mark.parametrize(
    ("text", "name"),
    [("Digits", "digits"), ("MyService", "my-service"), ("HTTPModel2", "http-model2"),
     ("model v1.onnx", "model-v1.onnx"), ("_private_", "private")],
)  # fmt: skip
def test_any_text_becomes_a_name(text: str, name: str) -> None:
    assert name_from(text) == name


def test_text_without_a_letter_becomes_no_name() -> None:
    with pytest.raises(TagError):
        name_from("***")
