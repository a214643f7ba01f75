"""An image that would be too large is not built, and what gains most is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from modelpack.config.settings import ImageSettings
from modelpack.errors import TooLargeError
from modelpack.image import ImagePlan, LayerKind, PlannedLayer, plan_image
from modelpack.image.budget import check_budget, check_size
from modelpack.image.sizes import SizedPackage
from modelpack.store import Entry, Store

MakeBundle = Callable[..., Entry]
MB = 1_000_000


@pytest.fixture
def plan(store: Store, make_bundle: MakeBundle) -> ImagePlan:
    return plan_image(store, make_bundle("cpu"), ImageSettings())


def weighing(
    plan: ImagePlan, *, base: int | None = 126, model: int = 1, **packages: int | None
) -> ImagePlan:
    """Return the plan with these megabytes in place of what this machine knows."""
    sized = tuple(
        SizedPackage(name.replace("_", "-"), "1.0", None if size is None else size * MB)
        for name, size in packages.items()
    )
    known = sum(one.size_bytes or 0 for one in sized)
    unknown = tuple(one.name for one in sized if one.size_bytes is None)
    image = plan.base.image
    base_bytes = None if base is None else base * MB
    return replace(
        plan,
        base=replace(plan.base, size_bytes=base_bytes),
        layers=(
            PlannedLayer(LayerKind.BASE, "base", base_bytes, (image,) if base is None else ()),
            PlannedLayer(LayerKind.PACKAGES, "Python packages", known, unknown, sized),
            PlannedLayer(LayerKind.MODEL, "model digits-clf", model * MB),
        ),
    )


def refused(plan: ImagePlan, limit_mb: int) -> TooLargeError:
    with pytest.raises(TooLargeError) as caught:
        check_budget(plan, limit_mb * MB)
    return caught.value


def test_an_image_that_is_small_enough_passes(plan: ImagePlan) -> None:
    assert check_budget(weighing(plan, numpy=70), 197 * MB) == ()


def test_one_byte_too_many_fails(plan: ImagePlan) -> None:
    small = weighing(plan, numpy=70)
    with pytest.raises(TooLargeError):
        check_budget(small, 197 * MB - 1)


def test_the_error_says_how_large_and_what_is_largest(plan: ImagePlan) -> None:
    error = refused(weighing(plan, numpy=70, scipy=90), 250)

    first, second = error.message.splitlines()
    assert first == (
        f"the image of 'digits:1.0' for {plan.platform.name} would take 287 MB, "
        "and 250 MB are allowed"
    )
    assert second == (
        "  its largest parts: base 126 MB, scipy 90.0 MB, numpy 70.0 MB, model digits-clf 1.0 MB"
    )
    assert (error.size_bytes, error.limit_bytes) == (287 * MB, 250 * MB)
    assert len([*error.message.splitlines(), error.hint]) <= 4


def test_as_many_packages_are_named_as_are_enough(plan: ImagePlan) -> None:
    heavy = weighing(plan, pandas=40, scipy=90, tqdm=1)

    assert "without scipy 90.0 MB:" in str(refused(heavy, 200).hint)
    assert "without scipy 90.0 MB, pandas 40.0 MB:" in str(refused(heavy, 140).hint)


def test_what_the_server_needs_is_no_advice(plan: ImagePlan) -> None:
    error = refused(weighing(plan, numpy=200, scipy=90), 400)

    assert error.hint is not None
    assert "without scipy 90.0 MB:" in error.hint
    assert "numpy" not in error.hint


def test_cuda_that_no_processor_needs_is_the_first_advice(plan: ImagePlan) -> None:
    torch = weighing(plan, torch=900, nvidia_cublas=600, nvidia_cudnn_cu13=1200, scipy=90)

    hint = str(refused(torch, 500).hint)

    assert "CUDA takes 1.8 GB" in hint
    assert "modelpack build --torch-backend cpu" in hint


def test_cuda_twice_is_said_before_anything_else(store: Store, make_bundle: MakeBundle) -> None:
    plan = plan_image(store, make_bundle("torch"), ImageSettings(), cuda="13.0")

    hint = str(refused(weighing(plan, torch=900, nvidia_cublas=600), 500).hint)

    assert hint.startswith("CUDA is there twice, in the base and as wheels (600 MB)")
    assert "leave out --cuda" in hint


def test_a_base_that_is_too_large_alone_is_said(plan: ImagePlan) -> None:
    assert "the base alone" in str(refused(weighing(plan, base=900, scipy=90), 500).hint)


def test_a_model_that_is_the_largest_part_is_said(plan: ImagePlan) -> None:
    hint = str(refused(weighing(plan, model=4000, scipy=90), 500).hint)

    assert hint == "model digits-clf is the largest part: save a smaller one, or allow more"


def test_where_nothing_is_enough_it_says_so(plan: ImagePlan) -> None:
    assert "allow more" in str(refused(weighing(plan, numpy=200, click=1), 150).hint)


def test_what_nobody_knows_is_named_and_does_not_fail(plan: ImagePlan) -> None:
    unknown = weighing(plan, base=None, scipy=None, numpy=70)

    assert check_budget(unknown, 100 * MB) == (plan.base.image, "scipy")
    assert "would take at least 71.0 MB" in refused(unknown, 50).message


def test_an_image_that_was_made_is_weighed_again() -> None:
    check_size("digits:1", 500 * MB, 500 * MB)

    with pytest.raises(TooLargeError, match="'digits:1' takes 501 MB, and 500 MB are allowed"):
        check_size("digits:1", 501 * MB, 500 * MB)


def test_the_limit_of_the_settings_is_in_the_plan(store: Store, make_bundle: MakeBundle) -> None:
    settings = ImageSettings(max_size_bytes=500 * MB)

    assert plan_image(store, make_bundle("cpu"), settings).max_size_bytes == 500 * MB
