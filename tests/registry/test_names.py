from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.errors import BadReferenceError, TagError, UsageError
from modelpack.registry.names import (
    LayoutReference,
    RegistryReference,
    counterpart,
    destination,
    is_loopback,
    parse,
)
from modelpack.tag import Tag

DIGEST = "sha256:" + "a" * 64
TAG = Tag("digits", "1")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("registry.example/team/digits:1", ("registry.example", "team/digits", "1", None)),
        ("registry.example:5000/digits", ("registry.example:5000", "digits", None, None)),
        ("localhost/digits:v1.0", ("localhost", "digits", "v1.0", None)),
        ("[::1]:5000/a__b/c--d", ("[::1]:5000", "a__b/c--d", None, None)),
        (f"r.example/digits@{DIGEST}", ("r.example", "digits", None, DIGEST)),
        (f"r.example/digits:1@{DIGEST}", ("r.example", "digits", "1", DIGEST)),
        ("docker.io/digits:1", ("docker.io", "library/digits", "1", None)),
    ],
)
def test_a_reference_to_a_registry(text: str, parts: tuple[str | None, ...]) -> None:
    found = parse(text)
    assert isinstance(found, RegistryReference)
    assert (found.host, found.repository, found.tag, found.digest) == parts
    assert parse(str(found)) == found


@pytest.mark.parametrize(
    ("text", "url", "tag", "digest"),
    [
        ("s3://bucket/prefix#digits:1", "s3://bucket/prefix", "digits:1", None),
        ("file:///srv/bundles/", "file:///srv/bundles", None, None),
        (f"https://host:8443/x#{DIGEST}", "https://host:8443/x", None, DIGEST),
        ("http://127.0.0.1:80/x#models/clf:2", "http://127.0.0.1:80/x", "models/clf:2", None),
    ],
)
def test_a_reference_to_a_layout(text: str, url: str, tag: str | None, digest: str | None) -> None:
    found = parse(text)
    assert found == LayoutReference(url, tag, digest)
    assert parse(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        "registry.example/Team/digits",
        "registry.example/team//digits",
        "registry.example/../digits",
        "registry.example/team/digits:",
        "registry.example/team/digits:a/b",
        "registry.example/team/digits@sha256:12",
        "registry.example/team/digits@md5:" + "a" * 32,
        "registry.example/" + "a" * 300,
        "registry.example:port/digits",
        "registry.example/team/digits\n:1",
        "-oProxyCommand.x/digits",
        "https://user:secret@registry.example/x",
        "s3://",
        "s3:///prefix",
        "file://host/folder",
        "file:///",
        "ftp://host/x",
        "https://host/x?query=1",
        "https://host/a b",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(BadReferenceError) as caught:
        parse(text)
    assert "secret" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_the_fragment_of_a_layout_is_a_tag() -> None:
    with pytest.raises(TagError):
        parse("s3://bucket/x#../y")


@pytest.mark.parametrize("scheme", ["docker", "oci"])
def test_a_scheme_that_is_not_needed_is_said(scheme: str) -> None:
    with pytest.raises(BadReferenceError) as caught:
        parse(f"{scheme}://registry.example/team/digits:1")
    assert "registry.example/team/digits:1" in str(caught.value.hint)


def test_no_registry_is_taken_because_none_was_named() -> None:
    for text in ("digits:1", "team/digits:1", "./folder", "/folder"):
        with pytest.raises(BadReferenceError, match="names no registry"):
            parse(text)


def test_a_reference_without_a_host_is_below_the_place_that_was_set() -> None:
    assert str(parse("digits:1", below="r.example/team")) == "r.example/team/digits:1"
    assert str(parse("digits:1", below="r.example/team/")) == "r.example/team/digits:1"
    assert str(parse("digits:1", below="s3://bucket/x")) == "s3://bucket/x#digits:1"
    assert str(parse("q.example/a:1", below="r.example/team")) == "q.example/a:1"


@pytest.mark.parametrize(
    ("text", "below", "goes_to"),
    [
        ("r.example/team/x", None, "r.example/team/x:1"),
        ("r.example/team/x:prod", None, "r.example/team/x:prod"),
        ("r.example/team/", None, "r.example/team/digits:1"),
        ("s3://bucket/x", None, "s3://bucket/x#digits:1"),
        ("s3://bucket/x#digits:prod", None, "s3://bucket/x#digits:prod"),
        ("s3://bucket/x#digits", None, "s3://bucket/x#digits:1"),
        (None, "r.example/team", "r.example/team/digits:1"),
        (None, "s3://bucket/x", "s3://bucket/x#digits:1"),
    ],
)
def test_where_a_bundle_is_pushed_to(text: str | None, below: str | None, goes_to: str) -> None:
    assert str(destination(text, TAG, below=below)) == goes_to


def test_a_model_stands_below_models_in_a_layout() -> None:
    found = destination("s3://bucket/x", TAG, prefix="models/")
    assert str(found) == "s3://bucket/x#models/digits:1"


@pytest.mark.parametrize(
    "text", [None, f"r.example/x@{DIGEST}", "s3://bucket/x#other:1", f"s3://bucket/x#{DIGEST}"]
)
def test_where_a_bundle_cannot_be_pushed_to(text: str | None) -> None:
    with pytest.raises(BadReferenceError):
        destination(text, TAG)


def test_a_copy_has_the_tag_of_its_source() -> None:
    source = parse("r.example/x:1")
    assert str(counterpart(source, parse("q.example/y"))) == "q.example/y:1"
    assert str(counterpart(source, parse("q.example/y:2"))) == "q.example/y:2"
    assert str(counterpart(source, parse("file:///x"))) == "file:///x"
    layout = parse("s3://bucket/x#digits:3")
    assert str(counterpart(layout, parse("q.example/y"))) == "q.example/y:3"
    assert str(counterpart(layout, parse("file:///x"))) == "file:///x#digits:3"
    with pytest.raises(BadReferenceError, match="tag that the copy gets"):
        counterpart(source, parse("s3://bucket/x"))


def test_which_hosts_are_this_machine() -> None:
    for host in ("localhost", "localhost:5000", "127.0.0.1:80", "127.9.9.9", "[::1]:5000", "[::1]"):
        assert is_loopback(host)
    for host in ("registry.example", "10.0.0.1:5000", "[2001:db8::1]", "localhost.example"):
        assert not is_loopback(host)


@given(st.text(max_size=60))
def test_any_text_is_a_reference_or_a_mistake_of_the_user(text: str) -> None:
    try:
        found = parse(text, below="r.example/x")
    except UsageError:
        return
    assert str(found).isprintable()
    assert ".." not in str(found).split("/")
