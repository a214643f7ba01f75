"""Whatever a user or a manifest says, the instructions of an image stay those that were meant.

Threat model S7: for every field, a value is refused, or the rendered Dockerfile has the very same
instructions as for a harmless value, with that value in the place of the harmless one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelpack.config.settings import ImageSettings
from modelpack.errors import ModelpackError, UsageError
from modelpack.image import Base, ImagePlan, PythonFrom, plan_image, render_dockerfile
from modelpack.image import instructions as dockerfile
from modelpack.image.dockerfile import NETRC, PIP_CONF, Mounts
from modelpack.image.instructions import Instruction, parse
from modelpack.manifest import ProgramRecord
from modelpack.store import Entry, Kind, Store
from modelpack.tag import Tag

INJECTIONS = [
    # a second instruction, by every way to end a line
    "x\nRUN id", "x\r\nRUN id", "x\rRUN id", "x\x0bRUN id", "x\x0cRUN id", "x\x85RUN id",
    "x\u2028RUN id", "x\u2029RUN id", "\nFROM evil", "x\\\nRUN id", "x \\", "\\", "x\0y",
    # out of quotes
    '"', "'", '"\nRUN id\n"', "';id;'", '" x="', '"] RUN ["', '\\"', "\\\\\"", '"]', "'\"'\"'",
    # what a shell or a builder replaces
    "$(id)", "`id`", "${HOME}", "$HOME", "\\$HOME", "%PATH%", "~root", "*", "{a,b}", "!!",
    # another command
    "a;id", "a && id", "a&&id", "a || id", "a|id", "a&id", "a>b", "a<b", "(id)", "a\tb", "a b",
    # options and flags
    "-x", "--mount=type=secret,id=x", "--from=evil", "--privileged", "--network=host", "-o=x",
    # directives, documents, comments, escapes
    "# syntax=evil/frontend", "syntax=evil", "# escape=`", "#", "<<EOF", "<<-EOF x", "[", '["a"]',
    "{{ x }}", "@{name}", "%s", "\\n", "\\u000aRUN id",
    # text that looks otherwise than it is
    "a\u202eb", "a\u2066b", "a\u200fb", "a\ud800b", "\x1b[31m", "\x7f",
    # names
    "../../etc/passwd", "/etc/passwd", "a/../b", "evil:latest AS x", "evil@sha256:0", "http://x", "",
]  # fmt: skip
TEXTS = st.one_of(
    st.sampled_from(INJECTIONS),
    st.text(max_size=30),
    st.text(st.sampled_from("ab \\\"'$`{}[]()&|;#<>=,:@/-.~*\n\r\t"), max_size=20),
    st.builds("{}{}{}".format, st.text(max_size=5), st.sampled_from(INJECTIONS), st.text(max_size=5)),
)  # fmt: skip

ENTRY = Entry(
    kind=Kind.BUNDLE,
    tag=Tag("digits", "1.0"),
    digest="sha256:" + "0" * 64,
    size_bytes=1,
    layers=(),
    annotations={},
)
PLAN = ImagePlan(
    entry=ENTRY,
    base=Base(image="python:3.11-slim", reason="no package of the lock needs a GPU"),
    python="3.11",
    models=("clf",),
    has_code=True,
    has_doc=True,
    system_packages=(),
    env={"HOME": "/bundle"},
    labels={"org.example": "x"},
    layers=(),
    runtime_wheel="modelpack_runtime-1-py3-none-any.whl",
)
COPIED = Base(
    image="nvidia/cuda:12.6.3",
    reason="it was asked for",
    python_from=PythonFrom.COPY,
    python_image="python:3.11-slim",
    system_packages=("zlib1g",),
)
PROGRAM = ProgramRecord(path="server", arguments=("--port", "8080"), port=8080, platform=None)

Put = Callable[[str], ImagePlan]
PUTS: dict[str, list[Put]] = {
    "entry": [
        lambda text: replace(PLAN, entry=replace(ENTRY, digest=text)),
        lambda text: replace(PLAN, entry=replace(ENTRY, tag=Tag(text, "1"))),
        lambda text: replace(PLAN, entry=replace(ENTRY, tag=Tag("digits", text))),
    ],
    "base": [
        lambda text: replace(PLAN, base=replace(PLAN.base, image=text)),
        lambda text: replace(PLAN, base=replace(PLAN.base, reason=text)),
        lambda text: replace(PLAN, base=replace(COPIED, python_image=text)),
        lambda text: replace(PLAN, base=replace(COPIED, system_packages=(text, "zlib1g"))),
    ],
    "python": [
        lambda text: replace(PLAN, python=text),
        lambda text: replace(PLAN, base=COPIED, python=text),
    ],
    "models": [lambda text: replace(PLAN, models=("clf", text))],
    "system_packages": [lambda text: replace(PLAN, system_packages=("libgomp1", text))],
    "env": [
        lambda text: replace(PLAN, env={"HOME": "/bundle", "ZZZ": text}),
        lambda text: replace(PLAN, env={text: "x"}),
    ],
    "labels": [
        lambda text: replace(PLAN, labels={"org.example": text}),
        lambda text: replace(PLAN, labels={text: "x"}),
    ],
    "runtime_wheel": [lambda text: replace(PLAN, runtime_wheel=text)],
    "program": [
        lambda text: replace(PLAN, program=replace(PROGRAM, path=text)),
        lambda text: replace(PLAN, program=replace(PROGRAM, arguments=(text,))),
        lambda text: replace(PLAN, program=replace(PROGRAM, platform=text)),
    ],
    "user": [lambda text: replace(PLAN, user=text)],
    "workdir": [lambda text: replace(PLAN, workdir=text)],
    "stop_signal": [lambda text: replace(PLAN, stop_signal=text)],
    "entry_point": [
        lambda text: replace(PLAN, entry_point=(text, "x")),
        lambda text: replace(PLAN, entry_point=("x", text)),
    ],
    "health_check": [
        lambda text: replace(PLAN, health_check=(text,)),
        lambda text: replace(PLAN, health_check=("x", text)),
    ],
}
TEXTLESS = {
    "has_code", "has_doc", "has_wheels", "is_wheelhouse", "port", "other_ports", "platform",
    "max_size_bytes",
    "layers", "warnings",  # shown in the terminal; no builder sees them
}  # fmt: skip
HARMLESS = ("harmless", "1:1", "SIGINT", "3.12", "HARMLESS")
"""For each field, one of these fits its grammar."""

VARIANTS = (Mounts(), Mounts(has_cache=True, secrets=(NETRC, PIP_CONF)))
CASES = [pytest.param(put, id=f"{name}-{n}") for name, puts in PUTS.items() for n, put in enumerate(puts)]  # fmt: skip


def read(plan: ImagePlan, mounts: Mounts) -> list[Instruction]:
    """Read what builders are given, as text."""
    return parse(render_dockerfile(plan, mounts))


def harmless(put: Put, mounts: Mounts) -> tuple[str, list[Instruction]]:
    for text in HARMLESS:
        try:
            return text, read(put(text), mounts)
        except UsageError:
            continue
    raise AssertionError("no harmless value fits this field")


def assert_unchanged(meant: str, was: list[Instruction], text: str, now: list[Instruction]) -> None:
    assert [one.keyword for one in now] == [one.keyword for one in was]
    assert [one.flags for one in now] == [one.flags for one in was]
    for before, after in zip(was, now, strict=True):
        assert [len(part) for part in after.parts] == [len(part) for part in before.parts]
        for one, other in zip(before.parts, after.parts, strict=True):
            for word, new in zip(one, other, strict=True):
                assert new in (word, word.replace(meant, text))


def test_no_field_of_a_plan_is_forgotten() -> None:
    """A new field has to be said here: what it may hold, or that no builder sees it."""
    assert {one.name for one in dataclasses.fields(ImagePlan)} == {*PUTS, *TEXTLESS}


@pytest.mark.parametrize("mounts", VARIANTS, ids=["plain", "mounts"])
@pytest.mark.parametrize("put", CASES)
def test_no_injection_changes_an_instruction(put: Put, mounts: Mounts) -> None:
    meant, was = harmless(put, mounts)
    for text in INJECTIONS:
        try:
            now = read(put(text), mounts)
        except ModelpackError:
            continue
        assert_unchanged(meant, was, text, now)


@pytest.mark.parametrize("put", CASES)
@given(text=TEXTS)
@settings(max_examples=60)
def test_no_text_at_all_changes_an_instruction(put: Put, text: str) -> None:
    meant, was = harmless(put, VARIANTS[1])
    try:
        now = read(put(text), VARIANTS[1])
    except ModelpackError:
        return
    assert_unchanged(meant, was, text, now)


# What people write into a project file or on the command line, and what a manifest says.

SETTINGS: dict[str, list[Callable[[str], dict[str, Any]]]] = {
    "base": [lambda text: {"base": text}],
    "cuda": [lambda text: {"cuda": text}],
    "system_packages": [lambda text: {"system_packages": (text,)}],
    "env": [lambda text: {"env": {"VALUE": text}}, lambda text: {"env": {text: "x"}}],
}


def test_no_setting_of_an_image_is_forgotten() -> None:
    numbers = {"max_size_bytes"}
    assert {one.name for one in dataclasses.fields(ImageSettings)} == {*SETTINGS, *numbers}


@pytest.fixture
def entry(make_bundle: Callable[..., Entry]) -> Entry:
    return make_bundle("cpu")


@pytest.mark.parametrize("of", [of for ways in SETTINGS.values() for of in ways])
@given(text=TEXTS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_setting_changes_what_an_image_is_made_of(
    store: Store, entry: Entry, of: Callable[[str], dict[str, Any]], text: str
) -> None:
    try:
        plan = plan_image(store, entry, ImageSettings(**of(text)))
        now = read(plan, Mounts())
    except (ModelpackError, ValueError):
        return
    allowed = [one.keyword for one in read(plan_image(store, entry, ImageSettings()), Mounts())]
    packages = ["RUN"] * bool(plan.system_packages or plan.base.system_packages)
    copied = ["FROM", "COPY", "RUN"] if plan.base.python_from is PythonFrom.COPY else []
    assert sorted(one.keyword for one in now) == sorted([*allowed, *packages, *copied])
    for one in now:
        if one.keyword == "ENV" and text in plan.env.values():
            assert text in [value for _, value in one.parts]


@pytest.mark.parametrize("text", INJECTIONS)
def test_a_bundle_with_a_python_that_is_none_is_refused(
    store: Store, make_bundle: Callable[..., Entry], text: str
) -> None:
    with pytest.raises((ModelpackError, ValueError)):
        render_dockerfile(plan_image(store, make_bundle("cpu", python=text), ImageSettings()))


@pytest.mark.parametrize("text", ["a&&b", "&&", "-x"])
def test_a_command_that_would_be_read_otherwise_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        dockerfile.run([text, "x"])


@pytest.mark.parametrize("text", INJECTIONS)
def test_a_mount_is_a_name_and_a_place(text: str) -> None:
    for lend in (dockerfile.secret_mount, dockerfile.cache_mount):
        with pytest.raises(UsageError):
            lend(text, to="/run/secrets/x")
        with pytest.raises(UsageError):
            dockerfile.run(["x"], mounts=[f"type=secret,id={text},target=/run/secrets/x"])
