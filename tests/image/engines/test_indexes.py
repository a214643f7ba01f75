from __future__ import annotations

import os
from typing import Any

import pytest

from modelpack.image.engines.indexes import index_arguments


@pytest.mark.parametrize(
    ("variables", "passed", "notes"),
    [
        ({}, {}, 0),
        (
            {"PIP_INDEX_URL": "https://mirror.example.com/simple"},
            {"PIP_INDEX_URL": "https://mirror.example.com/simple"},
            0,
        ),
        (
            {"PIP_EXTRA_INDEX_URL": "https://a.example.com/s http://b.example.com/s file:///c"},
            {"PIP_EXTRA_INDEX_URL": "https://a.example.com/s http://b.example.com/s"},
            0,
        ),
        ({"PIP_INDEX_URL": "https://me:hunter2@mirror.example.com/simple"}, {}, 1),
    ],
)
def test_indexes_are_named_to_the_build_but_never_their_passwords(
    monkeypatch: pytest.MonkeyPatch,
    progress: Any,
    *,
    variables: dict[str, str],
    passed: dict[str, str],
    notes: int,
) -> None:
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert index_arguments(progress) == passed
    assert len(progress.notes) == notes
    assert "hunter2" not in "".join(progress.notes)


def test_what_a_secret_says_is_not_said_twice(
    monkeypatch: pytest.MonkeyPatch, progress: Any
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "https://me:hunter2@mirror.example.com/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://mirror.example.com/simple")

    assert index_arguments(progress, {"PIP_INDEX_URL"}) == {
        "PIP_EXTRA_INDEX_URL": "https://mirror.example.com/simple"
    }
    assert index_arguments(progress, {"pip.conf"}) == {}
    assert progress.notes == []
