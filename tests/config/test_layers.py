"""Which source of a setting wins, and that it is remembered."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.config.layers import (
    DEFAULT,
    Layer,
    Origin,
    bundle_layer,
    combined,
    deploy_settings,
    flag_layer,
    image_settings,
    project_layer,
    server_settings,
    user_layer,
    variable_layer,
)
from modelpack.config.load import load_project, load_user_settings
from modelpack.config.settings import (
    DeploySettings,
    ImageSettings,
    ServerSettings,
    settings_from_env,
    settings_to_env,
)
from modelpack.errors import ConfigError, UsageError


@pytest.fixture
def user_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user's own file is looked for; there is none yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    file = tmp_path / "config" / "modelpack" / "config.yaml"
    file.parent.mkdir(parents=True)
    return file


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "modelpack.yaml").write_text("")
    return folder


SOURCES = ("user", "project", "variable", "flag")


@given(st.sets(st.sampled_from(SOURCES)))
def test_the_highest_source_that_speaks_wins(speaking: set[str]) -> None:
    layers = [
        Layer({"port": number}, {"port": Origin(source, f"there:{number}")})
        if source in speaking
        else Layer()
        for number, source in enumerate(SOURCES, 1)
    ]

    laid = combined(ServerSettings, *layers)

    winner = max((SOURCES.index(one) + 1 for one in speaking), default=None)
    assert laid.settings.port == (3000 if winner is None else winner)
    assert laid.origins["port"].source == ("default" if winner is None else SOURCES[winner - 1])
    assert laid.origins["host"] is DEFAULT


def test_each_source_is_named_by_its_place(
    user_file: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_file.write_text("server:\n  grace_s: 5\n  port: 1\n  host: user\n")
    (project / "modelpack.yaml").write_text("server:\n  port: 3000\n  host: project\n")
    monkeypatch.setenv("MODELPACK_HOST", "variable")
    monkeypatch.setenv("MODELPACK_LOG_LEVEL", "error")

    own = project_layer(load_project(project), "server")
    laid = server_settings(own, {"log_level": "debug", "host": None})

    assert laid.settings == ServerSettings(
        grace_s=5.0, port=3000, host="variable", log_level="debug"
    )
    assert laid.origins["grace_s"] == Origin("user", f"{user_file}:2:3")
    # The project says what the default is: that beats the user all the same.
    assert laid.origins["port"] == Origin("project", f"{project / 'modelpack.yaml'}:2:3")
    assert laid.origins["host"] == Origin("variable", "MODELPACK_HOST")
    assert laid.origins["log_level"] == Origin("flag", "--log-level")
    assert laid.origins["keep_alive_s"] == DEFAULT
    assert [str(laid.origins[name]) for name in ("host", "keep_alive_s")] == [
        "MODELPACK_HOST",
        "default",
    ]


def test_settings_in_pyproject_have_their_place_too(project: Path) -> None:
    (project / "modelpack.yaml").unlink()
    file = project / "pyproject.toml"
    file.write_text('[tool.modelpack.deploy]\ntarget = "docker"\nresources = { memory = "1GB" }\n')

    laid = deploy_settings(project_layer(load_project(project), "deploy"), {})

    assert laid.origins["target"] == Origin("project", f"{file}:2:1")
    assert laid.origins["memory_bytes"] == Origin("project", f"{file}:3:15")


def test_a_value_replaces_the_one_below_it_whole(user_file: Path, project: Path) -> None:
    user_file.write_text("image: {env: {A: user, B: user}, system_packages: [git]}\n")
    (project / "modelpack.yaml").write_text("image: {env: {A: project}}\n")

    laid = image_settings(project_layer(load_project(project), "image"))

    assert laid.settings == ImageSettings(env={"A": "project"}, system_packages=("git",))


def test_what_a_bundle_was_built_with_stands_where_a_project_would(user_file: Path) -> None:
    user_file.write_text("server: {port: 1, grace_s: 5}\n")

    laid = server_settings(bundle_layer(ServerSettings(port=80), "digits:1"), {}, {})

    assert (laid.settings.port, laid.settings.grace_s) == (80, 5.0)
    assert str(laid.origins["port"]) == "bundle 'digits:1'"


def test_a_build_depends_on_nobodys_own_file(user_file: Path, project: Path) -> None:
    user_file.write_text("server: {port: 1}\n")
    assert load_project(project).server == ServerSettings()


def test_without_a_user_file_nothing_is_said(user_file: Path) -> None:
    assert load_user_settings() is None
    assert user_layer("server") == Layer()


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("name: x\n", "1:1", "unknown key 'name'; known are server, image, deploy"),
        ("server: {prot: 1}\n", "1:10", "server: unknown key 'prot', did you mean 'port'?"),
        ("server: {port: 99999}\n", "1:10", "server.port: must be from 0 to 65535, got 99999"),
        ("deploy:\n  port: x\n", "2:3", "deploy.port: expected a whole number, got the text 'x'"),
        ("server: {a: [b}\n", "1:15", "not valid YAML: a '[' is never closed"),
    ],
)
def test_mistakes_of_the_user_file_have_their_place(
    user_file: Path, text: str, where: str, what: str
) -> None:
    user_file.write_text(text)

    with pytest.raises(ConfigError) as caught:
        load_user_settings()

    assert [str(one) for one in caught.value.mistakes] == [f"{user_file}:{where}: {what}"]


def test_values_that_need_each_other_may_stand_in_one_file(project: Path) -> None:
    (project / "modelpack.yaml").write_text("server: {tls_key: k, tls_cert: c}\n")
    assert load_project(project).server == ServerSettings(tls_cert="c", tls_key="k")

    (project / "modelpack.yaml").write_text("server:\n  tls_key: k\n")
    with pytest.raises(ConfigError, match=r"2:3: server\.tls_key: needs tls_cert"):
        load_project(project)


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (flag_layer({"port": -1}), "--port: must be from 0 to 65535, got -1"),
        (variable_layer({"MODELPACK_PORT": "99999"}), "MODELPACK_PORT: must be from 0 to 65535"),
        (flag_layer({"access_log_sample": 2.0}), "--access-log-sample: must be from 0 to 1"),
    ],
)
def test_a_value_out_of_range_is_blamed_on_its_origin(layer: Layer, said: str) -> None:
    with pytest.raises(UsageError, match=f"^{said}"):
        combined(ServerSettings, layer)


def test_a_value_that_another_layer_makes_wrong_names_its_place(user_file: Path) -> None:
    """Each file is right by itself: only together they are not."""
    user_file.write_text("server: {tls_cert: c, tls_key: k}\n")

    with pytest.raises(UsageError) as caught:
        server_settings(Layer({"tls_cert": None}, {"tls_cert": Origin("bundle", "b")}), {}, {})

    assert caught.value.message == f"{user_file}:1:23: tls_key: needs tls_cert"


def test_a_variable_that_cannot_be_read_is_named() -> None:
    with pytest.raises(UsageError, match="MODELPACK_PORT: must be a number, got 'http'"):
        variable_layer({"MODELPACK_PORT": "http"})
    with pytest.raises(ValueError, match="MODELPACK_PORT: must be from 0 to 65535, got 99999"):
        settings_from_env(ServerSettings(), {"MODELPACK_PORT": "99999"})


def test_variables_of_this_process_are_those_that_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "MODELPACK_WORKERS", "3")
    assert variable_layer().values == {"workers": 3}


def test_every_field_can_be_handed_to_another_process() -> None:
    settings = ServerSettings(
        port=1, tls_cert="c", access_log=True, access_log_sample=0.25, grace_s=1e-3
    )

    environ = settings_to_env(settings)

    assert len(environ) == len(fields(ServerSettings))
    assert settings_from_env(ServerSettings(metrics_port=9, log_level="error"), environ) == settings


def test_each_section_begins_with_its_defaults(user_file: Path) -> None:
    assert server_settings(Layer(), {}, {}).settings == ServerSettings()
    assert image_settings(Layer()).settings == ImageSettings()
    assert deploy_settings(Layer(), {}).settings == DeploySettings()


@pytest.mark.parametrize(
    ("own", "flags", "hint"),
    [
        ({}, {"port": 99999}, "leave it out for 3000"),
        ({"port": 4000}, {"port": 99999}, "leave it out for 4000"),
        ({}, {"instance": ""}, "leave it out for none"),
    ],
)
def test_a_flag_that_cannot_be_says_what_holds_without_it(
    own: dict[str, object], flags: dict[str, object], hint: str
) -> None:
    layer = Layer(own, {name: Origin("project", "modelpack.yaml:3:3") for name in own})
    with pytest.raises(UsageError) as raised:
        deploy_settings(layer, flags)
    assert raised.value.hint == hint
