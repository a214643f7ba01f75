"""An image that goes to a registry has a name by its content, and its place in a plan."""

from __future__ import annotations

from dataclasses import replace

from modelpack.deploy import Live, State
from modelpack.deploy.pushing import (
    IMAGE_DIGEST,
    Login,
    image_tag,
    pushed_image,
    with_image,
)
from modelpack.testing import spec_of

SPEC = spec_of("1")
FACTS = SPEC.facts()


def live(*, runs: str | None = None, there: str | None = None, digest: str = SPEC.digest) -> Live:
    return Live(
        name="digits",
        state=State.RUNNING,
        facts={**FACTS, "digest": digest, IMAGE_DIGEST: runs},
        surroundings={IMAGE_DIGEST: there},
    )


def test_a_bundle_of_the_same_version_with_other_content_is_another_image() -> None:
    assert image_tag(SPEC) == "1-" + SPEC.digest.removeprefix("sha256:")[:12]
    assert image_tag(SPEC) != image_tag(replace(SPEC, digest=spec_of("2").digest))
    assert len(image_tag(replace(SPEC, bundle="digits:" + "a" * 128))) <= 128


def test_an_image_in_the_repository_is_compared_with_what_runs() -> None:
    now, wanted = with_image(SPEC, live(runs="sha256:old", there="sha256:new"), FACTS)
    assert now.facts[IMAGE_DIGEST] == "sha256:old"
    assert wanted == {**FACTS, IMAGE_DIGEST: "sha256:new"}


def test_what_runs_of_the_same_bundle_is_the_image() -> None:
    """A repository that was emptied by somebody changes nothing about what runs."""
    now, wanted = with_image(SPEC, live(runs="sha256:old"), FACTS)
    assert wanted[IMAGE_DIGEST] == now.facts[IMAGE_DIGEST] == "sha256:old"


def test_what_is_not_known_before_a_push_is_compared_on_no_side() -> None:
    other = live(runs="sha256:old", digest="sha256:" + "9" * 64)
    now, wanted = with_image(SPEC, other, FACTS)
    assert IMAGE_DIGEST not in now.facts
    assert IMAGE_DIGEST not in wanted
    first, _ = with_image(SPEC, Live.unknown("digits"), FACTS)
    assert not first.is_known


def test_the_push_has_a_line_of_the_plan() -> None:
    change = pushed_image("modelpack/digits", SPEC)
    assert (change.action, change.after) == ("create", {"bundle": SPEC.digest})
    assert change.resource == f"pushed-image/modelpack/digits:{image_tag(SPEC)}"


def test_a_login_does_not_show_its_password() -> None:
    assert "hunter2" not in repr(Login("me", "hunter2"))
