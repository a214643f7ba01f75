"""The settings, checked and shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelpack.config.schema import file_schema

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
