from __future__ import annotations

from pathlib import Path

import pytest

from modelpack.errors import BadReferenceError, NotFoundError
from modelpack.image.reading import ImageReference, Where, parse_image


@pytest.mark.parametrize(
    ("text", "where", "name"),
    [
        ("digits:1", Where.ANYWHERE, "digits:1"),
        ("host:5000/team/digits@sha256:0", Where.ANYWHERE, "host:5000/team/digits@sha256:0"),
        ("engine:digits:1", Where.ENGINE, "digits:1"),
        ("registry:127.0.0.1:5000/digits:1", Where.REGISTRY, "127.0.0.1:5000/digits:1"),
        ("ocidigits:1", Where.ANYWHERE, "ocidigits:1"),
    ],
)
def test_the_word_in_front_says_where(text: str, where: Where, name: str) -> None:
    assert parse_image(text) == ImageReference(where, name)


def test_a_path_is_the_longest_beginning_that_is_there(tmp_path: Path) -> None:
    """So that neither colons in paths nor in tags have to be escaped."""
    plain, odd = tmp_path / "layout", tmp_path / "layout:v2"
    plain.mkdir()
    odd.mkdir()

    assert parse_image(f"oci:{plain}").tag is None
    assert parse_image(f"oci:{plain}:digits:1") == ImageReference(
        Where.LAYOUT, str(plain), "digits:1"
    )
    assert parse_image(f"oci:{odd}") == ImageReference(Where.LAYOUT, str(odd))
    assert parse_image(f"oci:{odd}:x") == ImageReference(Where.LAYOUT, str(odd), "x")


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no file '.*/missing\.tar:x'"):
        parse_image(f"docker-archive:{tmp_path}/missing.tar:x")


@pytest.mark.parametrize(
    "text", ["", "engine:", "a b", "x\x1b[2Jy", "x" * 5000, "oci:", "registry:"]
)
def test_what_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(BadReferenceError) as caught:
        parse_image(text)

    assert caught.value.message.isprintable()
    assert "oci-archive:FILE" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("docker://h.example/digits:1", "registry:h.example/digits:1"),
        ("docker-daemon:digits:1", "engine:digits:1"),
    ],
)
def test_the_words_of_another_tool_are_translated(theirs: str, ours: str) -> None:
    with pytest.raises(BadReferenceError) as caught:
        parse_image(theirs)

    assert caught.value.hint == f"write '{ours}'"
