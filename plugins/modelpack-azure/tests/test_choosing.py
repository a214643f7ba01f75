"""The service is chosen by what is asked for, and the plan says why."""

from __future__ import annotations

from typing import Any

import pytest
from modelpack_azure.choosing import MODES, choose

from modelpack.errors import UsageError
from modelpack.testing import spec_of

BOTH = ("container-apps", "ml")


@pytest.mark.parametrize(
    ("settings", "options", "word", "why"),
    [
        ({}, {}, "container-apps", "no machines to look after"),
        ({"accelerator": "nvidia-t4:1"}, {}, "container-apps", "no machines"),
        ({"accelerator": "nvidia-t4:2"}, {}, "ml", "Container Apps has no 'nvidia-t4:2'"),
        ({"accelerator": "nvidia-h100:1"}, {}, "ml", "has no 'nvidia-h100:1'"),
        ({"instance": "Standard_DS3_v2"}, {}, "ml", "is a machine of Azure Machine Learning"),
        ({}, {"workspace": "w"}, "ml", "a workspace of Azure Machine Learning is named"),
        ({}, {"workspace": "w", "environment": "e"}, "container-apps", "no machines"),
        ({"mode": "ml"}, {"environment": "e"}, "ml", "asked for"),
    ],
)
def test_the_service_that_fits_is_chosen(
    settings: dict[str, Any], options: dict[str, str], word: str, why: str
) -> None:
    found, said = choose(spec_of(**settings), options, BOTH)
    assert found == word
    assert why in said


def test_a_target_of_one_service_has_no_choice() -> None:
    assert choose(spec_of(), {"workspace": "w"}, ("container-apps",))[0] == "container-apps"
    with pytest.raises(UsageError, match="'ml' is none of this target"):
        choose(spec_of(mode="ml"), {}, ("container-apps",))


def test_every_word_is_that_of_its_mode() -> None:
    assert {word: MODES.load(word).word for word in MODES.paths} == {word: word for word in BOTH}
