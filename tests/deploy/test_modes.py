"""A target of several services finds the one that a spec gets."""

from __future__ import annotations

from typing import Any

import pytest

from modelpack.deploy import DeploymentSpec, DeploySettings, Mode, Modes
from modelpack.errors import DeployError, UsageError


class Fast(Mode):
    """One service."""

    word = "fast"
    heeds = frozenset({"cpu"})
    reasons = {"region": "it is everywhere"}
    schemes = ("env",)
    options = {"spot": "cheap"}


class Slow(Mode):
    """Another one."""

    word = "slow"


class Other:
    """No mode at all."""


MODES = Modes[Mode]({"fast": f"{__name__}:Fast", "slow": f"{__name__}:Slow"})
BOTH = ("fast", "slow")


def spec(**settings: Any) -> DeploymentSpec:
    return DeploymentSpec(
        name="digits",
        bundle="digits:1",
        digest="sha256:" + "0" * 64,
        settings=DeploySettings(**settings),
    )


def test_a_mode_is_found_by_its_word() -> None:
    assert isinstance(MODES.load("fast"), Fast)
    with pytest.raises(DeployError, match="no mode 'none' here, it has fast, slow"):
        MODES.load("none")
    with pytest.raises(TypeError, match="Other is no mode"):
        Modes[Mode]({"odd": f"{__name__}:Other"}).load("odd")


def test_a_mode_says_what_it_does() -> None:
    found = Fast().capabilities
    assert found.heeds == {"cpu"}
    assert found.reasons == {"region": "it is everywhere"}
    assert found.secret_schemes == ("env",)


def test_a_word_leaves_no_choice_and_neither_does_a_single_mode() -> None:
    assert MODES.asked(spec(mode="slow"), BOTH) == ("slow", "asked for")
    assert MODES.asked(spec(), ("slow",)) == ("slow", "asked for by the target")
    assert MODES.asked(spec(), BOTH) is None


@pytest.mark.parametrize(
    ("word", "hint"), [("fats", "did you mean 'fast'?"), ("zebra", "it has fast, slow")]
)
def test_a_mode_that_is_none_is_refused(word: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"deploy.mode: '{word}' is none of this target") as raised:
        MODES.asked(spec(mode=word), BOTH)
    assert raised.value.hint == hint


def test_options_are_those_of_all_and_of_the_modes_that_a_target_has() -> None:
    MODES.refuse_unknown("cloud", {"base": "x", "spot": "yes"}, ["base"], BOTH)
    with pytest.raises(UsageError, match="no option 'spto'") as raised:
        MODES.refuse_unknown("cloud", {"spto": "yes"}, ["base"], BOTH)
    assert raised.value.hint == "did you mean 'spot'?"
    with pytest.raises(UsageError, match="the target 'cloud-slow' has no option 'spot'"):
        MODES.refuse_unknown("cloud-slow", {"spot": "yes"}, ["base"], ("slow",))


def test_an_option_of_another_mode_is_not_passed_over() -> None:
    MODES.refuse_foreign(MODES.load("fast"), {"base": "x", "spot": "yes"}, ["base"])
    with pytest.raises(UsageError) as raised:
        MODES.refuse_foreign(MODES.load("slow"), {"base": "x", "spot": "yes"}, ["base"])
    assert str(raised.value) == "option 'spot' is for the mode 'fast', and this is 'slow'"
    assert raised.value.hint == "leave it out, or set 'deploy.mode' to 'fast'"
