"""The settings, checked and shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelpack.config.schema import PROJECT_KEYS, file_schema, group_of, settings_of
from modelpack.config.settings import DeploySettings, ImageSettings, ServerSettings
from modelpack.store import Entry

Cli = Callable[..., Any]


def test_schema_is_printed_as_json(cli: Cli) -> None:
    assert json.loads(cli("config", "schema").out) == file_schema()


def test_check_shows_what_the_settings_are(cli: Cli, project: Path) -> None:
    (project / "modelpack.yaml").write_text("name: x\nserver: {port: 80}\nimage: {env: {A: b}}\n")

    done = cli("config", "check", cwd=project)
    lines = [line.split(maxsplit=1) for line in done.out.splitlines()]
    assert ["name", "x"] in lines
    assert ["server.port", "80"] in lines
    assert ["image.env", "A=b"] in lines
    assert ["deploy.target", "not set"] in lines

    values = json.loads(cli("config", "check", "-o", "json", cwd=project).out)
    assert (values["name"], values["server"]["port"]) == ("x", 80)
    assert values["deploy"]["target"] is None


def test_check_reports_mistakes(cli: Cli, project: Path) -> None:
    (project / "modelpack.yaml").write_text("nme: x\n")
    cli("config", "check", project).failed_well(2, "bad-config")


def test_show_says_where_each_value_comes_from(cli: Cli, project: Path, tmp_path: Path) -> None:
    (project / "modelpack.yaml").write_text("name: x\nserver:\n  port: 80\n")
    user = tmp_path / "config" / "modelpack" / "config.yaml"
    user.parent.mkdir(parents=True)
    user.write_text("server: {port: 1, grace_s: 5}\ndeploy: {resources: {memory: 1GB}}\n")
    env = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "MODELPACK_HOST": "0.0.0.0"}

    done = cli("config", "show", "--origin", cwd=project, env=env)

    lines = [line.split() for line in done.out.splitlines()]
    assert lines[0] == ["SETTING", "VALUE", "ORIGIN"]
    assert ["name", "x", "modelpack.yaml:1:1"] in lines
    assert ["server.port", "80", "modelpack.yaml:3:3"] in lines
    assert ["server.grace_s", "5.0", f"{user}:1:19"] in lines
    assert ["server.host", "0.0.0.0", "MODELPACK_HOST"] in lines
    assert ["server.workers", "1", "default"] in lines
    assert ["deploy.resources.memory", "1000000000", f"{user}:2:22"] in lines

    found = json.loads(cli("config", "show", "--origin", "-o", "json", cwd=project, env=env).out)
    by_name = {one.pop("name"): one for one in found}
    assert by_name["server.port"] == {
        "value": 80,
        "source": "project",
        "place": "modelpack.yaml:3:3",
    }
    assert by_name["server.host"]["source"] == "variable"
    assert by_name["server.grace_s"]["source"] == "user"
    assert by_name["image.env"] == {"value": {}, "source": "default", "place": None}
    assert len(by_name) == len(lines) - 1


def test_show_lists_every_setting(cli: Cli, project: Path) -> None:
    done = cli("config", "show", cwd=project)
    shown = {line.split()[0] for line in done.out.splitlines()}

    sections = {"server": ServerSettings, "image": ImageSettings, "deploy": DeploySettings}
    wanted = {
        f"{section}.{setting.key}"
        for section, cls in sections.items()
        for setting in settings_of(cls)
        if group_of(setting.field) is None
    }
    grouped = {
        f"deploy.{group}.{setting.key}"
        for setting in settings_of(DeploySettings)
        if (group := group_of(setting.field))
    }
    assert shown == {*wanted, *grouped, *PROJECT_KEYS}
    assert {"deploy.resources.memory", "deploy.scaling.min", "deploy.network.public"} <= grouped


def test_mistakes_of_the_users_own_file_are_reported(cli: Cli, tmp_path: Path) -> None:
    user = tmp_path / "modelpack" / "config.yaml"
    user.parent.mkdir()
    user.write_text("server: {prot: 1}\n")
    env = {"XDG_CONFIG_HOME": str(tmp_path)}

    for words in (("config", "show"), ("serve",), ("deploy", "-t", "local")):
        folder = tmp_path / "empty"
        folder.mkdir(exist_ok=True)
        done = cli(*words, cwd=folder, env=env)
        done.failed_well(2, "bad-config")
        assert f"{user}:1:10: server: unknown key 'prot', did you mean 'port'?" in done.err


def test_commands_take_what_the_user_sets_for_every_project(
    cli: Cli, bundle: Entry, tmp_path: Path
) -> None:
    user = tmp_path / "modelpack" / "config.yaml"
    user.parent.mkdir()
    user.write_text("image: {base: 'debian:12'}\ndeploy: {target: local, port: 0}\n")
    env = {"XDG_CONFIG_HOME": str(tmp_path)}

    image = cli("containerize", "hello", "--plan", env=env)
    plan = json.loads(cli("deploy", "hello", "--plan", "-o", "json", env=env).out)
    flag = json.loads(cli("deploy", "hello", "--port", "9", "--plan", "-o", "json", env=env).out)

    assert "base debian:12" in image.out
    assert (plan["target"], plan["spec"]["settings"]["port"]) == ("local", 0)
    assert flag["spec"]["settings"]["port"] == 9


def test_a_bundle_is_the_same_whatever_its_builder_likes(
    cli: Cli, project: Path, tmp_path: Path
) -> None:
    user = tmp_path / "modelpack" / "config.yaml"
    user.parent.mkdir()
    user.write_text("server: {port: 1}\nimage: {base: 'debian:12'}\n")

    mine = cli("build", cwd=project, env={"XDG_CONFIG_HOME": str(tmp_path)}).out
    theirs = cli("build", cwd=project).out

    assert mine.startswith("hello:")
    assert mine == theirs
