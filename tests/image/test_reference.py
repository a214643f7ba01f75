from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.errors import UsageError
from modelpack.image.reference import (
    check_image_name,
    check_reference,
    default_reference,
    full_name,
)
from modelpack.tag import NAME_PATTERN, VERSION_PATTERN, Tag


@pytest.mark.parametrize(
    "text",
    [
        "python:3.11-slim",
        "nvidia/cuda:12.6.3-cudnn-runtime-ubuntu24.04",
        "127.0.0.1:5000/team/digits",
        "[::1]:5000/digits:1",
        "registry.example.com/a__b/c-d.e:TAG_1",
        "digits@sha256:" + "0" * 64,
    ],
)
def test_names_that_registries_accept_pass(text: str) -> None:
    assert check_reference(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Digits",
        "digits:1+2",
        "digits:",
        "-digits",
        "digits latest",
        "digits\nRUN x",
        "a//b",
        "a/",
        "a..b",
        "a_",
        "digits:" + "v" * 129,
        "a/" * 130 + "a",
        "$BASE",
        "digits@sha256:beef",
        "scratch AS x",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        check_reference(text)


def test_an_image_is_named_latest_where_no_tag_is_given() -> None:
    assert check_image_name("localhost:5000/digits") == "localhost:5000/digits:latest"
    assert check_image_name("digits:1") == "digits:1"


def test_a_digest_cannot_be_given_to_an_image() -> None:
    with pytest.raises(UsageError, match="names a digest"):
        check_image_name("digits@sha256:" + "0" * 64)


@pytest.mark.parametrize(
    ("tag", "reference"),
    [
        ("digits:7c1f0b2e9a44", "digits:7c1f0b2e9a44"),
        ("a..b:1", "a-b:1"),
        ("a-._b_:V1", "a-b:V1"),
        ("a___b:1", "a-b:1"),
        ("a__b--c.d:1", "a__b--c.d:1"),
    ],
)
def test_the_default_name_is_the_tag_as_registries_spell_it(tag: str, reference: str) -> None:
    assert default_reference(Tag.parse(tag)) == reference


@given(
    st.from_regex(NAME_PATTERN, fullmatch=True).filter(lambda name: not name.endswith(".")),
    st.from_regex(VERSION_PATTERN, fullmatch=True).filter(lambda version: version != "latest"),
)
def test_every_tag_has_a_default_name(name: str, version: str) -> None:
    assert check_reference(default_reference(Tag(name, version)))


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("python:3.11-slim", "docker.io/library/python:3.11-slim"),
        ("nvidia/cuda:12.6.3", "docker.io/nvidia/cuda:12.6.3"),
        ("registry.example.com/python:3.11", "registry.example.com/python:3.11"),
        ("127.0.0.1:5000/a/b:1", "127.0.0.1:5000/a/b:1"),
        ("localhost/python", "localhost/python"),
        ("[::1]:5000/python", "[::1]:5000/python"),
    ],
)
def test_a_name_without_a_registry_is_one_of_docker_hub(name: str, full: str) -> None:
    """As engines mean it, so that both kinds of builders take the same base."""
    assert full_name(name) == full
