"""Names in Azure are short, of few characters, and never those of another deployment."""

from __future__ import annotations

import pytest
from modelpack_azure.naming import app_name, endpoint_name, identity_name, settled_of, tags_of

from modelpack.errors import UsageError


@pytest.mark.parametrize("name", ["a", "digits", "a.b_c", "a--b", "x" * 63, "9lives"])
def test_names_are_what_azure_takes_and_stay_apart(name: str) -> None:
    app, endpoint = app_name(name), endpoint_name(name, "/work")
    assert len(app) <= 32
    assert len(endpoint) <= 32
    assert "--" not in app
    assert not app.endswith("-")
    assert identity_name(name).startswith("modelpack-")
    assert app_name(name) != app_name(f"{name[:61]}z")


def test_tags_hold_labels_and_the_last_marks_that_were_healthy() -> None:
    marks = tuple(f"{number:012x}abcdef" for number in range(12))
    tags = tags_of("digits", "azure", {"team/of": "vision"}, marks)
    assert tags["team-of"] == "vision"
    assert settled_of(tags) == marks[-10:]
    assert all(len(value) <= 256 for value in tags.values())
    with pytest.raises(UsageError, match="Azure takes 46 beside ours, got 47"):
        tags_of("digits", "azure", {f"label-{number}": "x" for number in range(47)})
