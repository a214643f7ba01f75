"""Settings cannot exist in a wrong state, wherever they come from."""

from __future__ import annotations

from typing import Any

import pytest

from modelpack.config.settings import (
    BatchConfig,
    DeploySettings,
    ImageSettings,
    ServerSettings,
    changed_settings,
    recorded_settings,
    settings_from,
    settings_from_env,
)
from modelpack.errors import RefusedError


@pytest.mark.parametrize(
    ("cls", "values"),
    [
        (BatchConfig, {"max_batch_size": 0}),
        (BatchConfig, {"latency_ms": 0}),
        (ServerSettings, {"port": 65536}),
        (ServerSettings, {"port": -1}),
        (ServerSettings, {"max_body_bytes": 0}),
        (ServerSettings, {"request_timeout_s": 0}),
        (ServerSettings, {"grace_s": -1}),
        (ServerSettings, {"log_format": "xml"}),
        (ServerSettings, {"log_level": "loud"}),
        (ImageSettings, {"cuda": "twelve"}),
        (ImageSettings, {"base": "python:3.11\nRUN evil"}),
        (ImageSettings, {"base": "-v /:/host"}),
        (ImageSettings, {"system_packages": ("git; rm -rf /",)}),
        (ImageSettings, {"system_packages": ("--allow-root",)}),
        (ImageSettings, {"env": {"A B": "1"}}),
        (ImageSettings, {"env": {"A": "1\nRUN evil"}}),
        (ImageSettings, {"max_size_bytes": 0}),
        (DeploySettings, {"cpu": 0}),
        (DeploySettings, {"memory_bytes": 1}),
        (DeploySettings, {"ready_timeout_s": 0}),
    ],
)
def test_a_wrong_value_names_its_field(cls: Any, values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        cls(**values)


@pytest.mark.parametrize(
    "base",
    ["python:3.11-slim", "127.0.0.1:5000/a/b:1", "modelpack-base/python:3.11-slim",
     "ghcr.io/o/i@sha256:" + "a" * 64],
)  # fmt: skip
def test_image_references_are_taken(base: str) -> None:
    assert ImageSettings(base=base).base == base


def test_only_what_differs_is_recorded() -> None:
    settings = ImageSettings(cuda="12.6", system_packages=("git",))
    changed = changed_settings(settings)
    assert changed == {"cuda": "12.6", "system_packages": ["git"]}
    assert settings_from(ImageSettings, changed) == settings
    assert changed_settings(ServerSettings()) == {}


@pytest.mark.parametrize(
    ("cls", "recorded"),
    [
        (ServerSettings, {"server": {"port": "80"}}),
        (ServerSettings, {"server": {"port": True}}),
        (ServerSettings, {"server": {"host": 5}}),
        (ServerSettings, {"server": {"port": 99999}}),
        (ServerSettings, {"server": ["port"]}),
        (ServerSettings, {"server": {"colour": "red"}}),
        (ImageSettings, {"image": {"base": 5}}),
        (ImageSettings, {"image": {"env": ["A"]}}),
        (ImageSettings, {"image": {"env": {"A": 5}}}),
        (ImageSettings, {"image": {"system_packages": "git"}}),
        (ImageSettings, {"image": {"system_packages": [5]}}),
        (ImageSettings, {"image": {"system_packages": ["git; rm -rf /"]}}),
    ],
)
def test_settings_of_a_strange_bundle_are_refused(cls: Any, recorded: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match=next(iter(recorded))):
        recorded_settings(cls, recorded)


def test_settings_of_a_bundle_are_those_it_was_built_with() -> None:
    recorded = {"server": {"port": 80, "grace_s": 5}, "image": {"cuda": None, "env": {"A": "b"}}}
    assert recorded_settings(ServerSettings, recorded) == ServerSettings(port=80, grace_s=5)
    assert recorded_settings(ImageSettings, recorded) == ImageSettings(env={"A": "b"})
    assert recorded_settings(ServerSettings, {}) == ServerSettings()


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValueError, match="prot"):
        settings_from(ServerSettings, {"prot": 1})


def test_the_environment_is_laid_over() -> None:
    environ = {"MODELPACK_PORT": "8080", "MODELPACK_ACCESS_LOG": "yes", "OTHER": "x"}
    settings = settings_from_env(ServerSettings(host="::1"), environ)
    assert (settings.host, settings.port, settings.access_log) == ("::1", 8080, True)


@pytest.mark.parametrize(
    ("name", "text"),
    [("MODELPACK_PORT", "http"), ("MODELPACK_ACCESS_LOG", "maybe"), ("MODELPACK_GRACE_S", "")],
)
def test_a_wrong_variable_is_named(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=name):
        settings_from_env(ServerSettings(), {name: text})
