"""Options of ``containerize`` that cannot stand together are refused before anything is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack.archive.platforms import Platform, host_platform
from modelpack.cli.containerize_options import Asked, Engine, check_options, platforms, size
from modelpack.errors import UsageError
from modelpack.registry import Options

Cli = Callable[..., Any]
OTHER = next(one for one in (Platform("x86_64"), Platform("aarch64")) if one != host_platform())


def asked(**changes: Any) -> Asked:
    """Return a command line without options, and these."""
    nothing: dict[str, Any] = {
        "words": (),
        "engine": Engine.AUTO,
        "outputs": (),
        "platforms": (),
        "base": None,
        "cuda": None,
        "max_size_bytes": None,
        "reference": None,
        "secrets": (),
        "network": None,
        "no_cache": False,
        "compress": False,
        "wrap": None,
        "port": None,
        "name": None,
        "dockerfile": None,
        "plan_only": False,
        "options": Options(),
    }
    return Asked(**{**nothing, **changes})


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"wrap": Path("server")}, "--wrap needs the port", "--wrap server --port 8080"),
    ({"port": 8080}, "--port is for a program", "deploy.port"),
    ({"words": ("a", "b")}, "one TAG or PATH makes one image, got 2", "'--'"),
    ({"engine": Engine.DOCKER, "outputs": ("oci:x",)}, "can do '--output'", "--engine docker"),
    ({"engine": Engine.PODMAN, "compress": True}, "can do '--compress'", "--engine podman"),
    ({"engine": Engine.BUILDKIT, "base": "oci:base"}, "can do '--base oci:base'", "buildkit"),
    ({"engine": Engine.BUILDAH, "platforms": (OTHER,)}, f"'--platform {OTHER.name}'", "buildah"),
    ({"engine": Engine.NONE, "secrets": ("id=netrc",)}, "'--engine none' means without", "uv"),
    ({"outputs": ("oci:x",), "secrets": ("id=netrc",)}, "'--output' means without", "uv"),
    ({"engine": Engine.NONE, "no_cache": True}, "'--no-cache' is for engines", "leave one"),
    ({"compress": True, "network": "host"}, "'--network host' is for engines", "leave one"),
    ({"dockerfile": Path("out"), "plan_only": True}, "'--plan' has no meaning", "docker build"),
    ({"dockerfile": Path("out"), "engine": Engine.NONE}, "'--engine none' has no", "docker build"),
    ({"dockerfile": Path("out"), "outputs": ("oci:x",)}, "'--output' has no", "docker build"),
    ({"dockerfile": Path("out"), "secrets": ("x",)}, "'--secret' has no", "docker build"),
    ({"dockerfile": Path("out"), "no_cache": True}, "'--no-cache' has no", "docker build"),
    ({"dockerfile": Path("out"), "reference": "a:1"}, "'--reference' has no", "docker build"),
    (
        {"dockerfile": Path("out"), "platforms": (Platform("aarch64"), Platform("x86_64"))},
        "'--platform linux/arm64,linux/amd64' has no meaning",
        "docker build",
    ),
]


@pytest.mark.parametrize(("options", "what", "hint"), WRONG)
def test_options_that_contradict_each_other_are_refused(
    options: dict[str, Any], what: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        check_options(asked(**options))

    assert what in caught.value.message
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"words": ("digits",), "base": "python:3.11-slim", "reference": "a:1"},
        {"engine": Engine.NONE, "outputs": ("oci:a", "engine"), "compress": True},
        {"wrap": Path("server"), "port": 8080, "words": ("--threads", "2")},
        {"dockerfile": Path("out"), "platforms": (OTHER,)},
        {"engine": Engine.PODMAN, "secrets": ("id=netrc",), "no_cache": True, "network": "host"},
        {"engine": Engine.DOCKER, "platforms": (host_platform(),)},
    ],
)
def test_options_that_fit_pass(options: dict[str, Any]) -> None:
    check_options(asked(**options))


@pytest.mark.parametrize(
    ("options", "is_direct"),
    [
        ({}, False),
        ({"engine": Engine.NONE}, True),
        ({"outputs": ("engine",)}, True),
        ({"compress": True}, True),
        ({"base": "oci:base"}, True),
        ({"base": "registry.example.com/base:1"}, False),
        ({"platforms": (OTHER,)}, True),
        ({"platforms": (host_platform(),)}, False),
        ({"platforms": (host_platform(), OTHER)}, True),
    ],
)
def test_what_no_engine_can_do_is_done_without_one(
    *, options: dict[str, Any], is_direct: bool
) -> None:
    assert asked(**options).is_direct is is_direct


def test_sizes_have_units() -> None:
    assert size(None) is None
    assert size("500MB") == 500_000_000
    assert size("1.5GiB") == 1_610_612_736
    for wrong in ("500M", "much", "-1", "0"):
        with pytest.raises(UsageError, match="--max-size") as caught:
            size(wrong)
        assert caught.value.hint == "such as --max-size 500MB"


def test_platforms_are_listed_or_repeated() -> None:
    both = (Platform("aarch64"), Platform("x86_64"))

    assert platforms(None) == ()
    assert platforms(["linux/amd64,linux/arm64"]) == both
    assert platforms(["linux/amd64", "linux/arm64", "linux/amd64"]) == both


@pytest.mark.parametrize(
    ("words", "said", "hint"),
    [
        (["a", "b"], "one TAG or PATH", "--wrap"),
        (["--port", "80"], "--port is for a program", ""),
        (["--wrap", "x"], "--wrap needs the port", "--port"),
        (["--engine", "dcker"], "--engine", ""),
        (["--platform", "linux/amd46"], "'linux/amd46' is not a platform", "'linux/amd64'?"),
        (["--max-size", "500M"], "--max-size", "500MB"),
        (["--engine", "docker", "--output", "oci:x"], "no engine can do '--output'", ""),
        (["--engine", "none", "--secret", "id=netrc,src=x"], "--secret is lent", "uv"),
        (["--dockerfile", "x", "--plan"], "--dockerfile builds nothing", ""),
        (["hello", "--name", "other"], "--name is for a bundle", "--reference"),
        (["hello", "--cuda", "12.6", "--base", "a:1"], "both asked for", ""),
        (["hello", "--base", "a b"], "is not the name of an image", ""),
        (["hello", "--platform", "OTHER"], "is locked for", "--platform"),
        (["hello", "--engine", "none", "--output", "nowhere"], "no place for an image", "oci:DIR"),
    ],
)
@pytest.mark.usefixtures("bundle")
def test_every_mistake_is_told_in_four_lines(
    inside: Cli, words: list[str], said: str, hint: str
) -> None:
    given = [OTHER.name if word == "OTHER" else word for word in words]

    done = inside("containerize", *given)

    done.failed_well(2, "usage")
    assert said in done.err
    assert hint in done.err
