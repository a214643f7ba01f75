"""Writes the page of all settings, so that it cannot differ from the code.

    settings (types, defaults, docstrings) ──► docs/reference/configuration.md

``python -m modelpack.config.reference > docs/reference/configuration.md`` writes it anew; a test
keeps the two equal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, get_origin

from modelpack.config.deploying import GROUPS
from modelpack.config.schema import (
    GROUP_DOCS,
    PROJECT_KEYS,
    Setting,
    Size,
    Text,
    for_people,
    group_of,
    settings_of,
)
from modelpack.config.settings import DeploySettings, ImageSettings, Project, ServerSettings

_TOP = """\
# Configuration

All of this is optional: a class marked with `@modelpack.service`, or a bare `model.onnx`, is enough to
build. Settings stand in `modelpack.yaml` beside the service:

```yaml
name: digits
service: service:Digits
requirements:
  - numpy>=2
server:
  port: 8080
deploy:
  target: docker
  resources:
    cpu: 2
    memory: 512MB
```

or, with the same keys, in the table `[tool.modelpack]` of `pyproject.toml`. One of the two, not both.

## What wins

A flag on the command line beats a `MODELPACK_…` variable, which beats the project's file, which beats the user's own
file, which beats the default. A value replaces the one below it whole; lists and mappings are not merged.

The user's own file is `$XDG_CONFIG_HOME/modelpack/config.yaml`, else `~/.config/modelpack/config.yaml`. It may hold the sections
`server`, `image` and `deploy`, by the same rules, and is read by `serve`, `containerize` and `deploy`. A build does not
read it: a bundle holds what its project says, whoever builds it. Inside an image there is none.

`modelpack config show --origin` lists every setting with its value and where that comes from.

## What the file may hold

* Keys that are not on this page are mistakes, and so are keys that stand twice. All mistakes of a file are
  reported at once, each as `file:line:column: key: what`, and nothing is done.
* Text may be written as a number: `version: 1.10` is the text `1.10`. `yes`, `no`, `on` and `off` are text;
  only `true` and `false` are truth values.
* A key with nothing after it keeps its default.
* A size is a number of bytes or has a unit: `512MB` (a million bytes each), `512MiB` (1024 * 1024 each).
  A bare `512M` is refused, because it is read differently by different tools.
* Tags (`!name`), anchors and aliases (`&name`, `*name`) and a second document are refused, as is a file
  larger than 1 MiB.

`modelpack config schema` prints the JSON Schema of the file, for editors.
"""


def reference_page() -> str:
    """Return the page as Markdown."""
    deploy = settings_of(DeploySettings)
    top = [s for s in settings_of(Project) if s.field in PROJECT_KEYS]
    parts = [
        _TOP,
        _table("The project", "", top),
        _table("`server`", _doc(ServerSettings), settings_of(ServerSettings), variables=True),
        _table("`image`", _doc(ImageSettings), settings_of(ImageSettings)),
        _table("`deploy`", _doc(DeploySettings), [s for s in deploy if not group_of(s.field)]),
        *(
            _table(
                f"`deploy.{group}`", GROUP_DOCS[group], [s for s in deploy if s.field in members]
            )
            for group, members in GROUPS.items()
        ),
    ]
    return "\n".join(parts)


def _table(title: str, doc: str, settings: Iterable[Setting], *, variables: bool = False) -> str:
    head = ["key", "type", "default", "meaning"]
    rows = [
        [f"`{s.key}`", _type_name(s.type), _default(s.default), for_people(s.doc)] for s in settings
    ]
    if variables:
        head.insert(1, "variable")
        for row, name in zip(rows, (f.name for f in fields(ServerSettings)), strict=True):
            row.insert(1, f"`MODELPACK_{name.upper()}`")
    lines = [f"## {title}", ""]
    if doc:
        lines += [doc, ""]
    lines += [_row(head), _row(["---"] * len(head)), *map(_row, rows), ""]
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _doc(cls: type) -> str:
    return for_people(cls.__doc__ or "")


def _type_name(written: Any) -> str:
    if written == Text:
        return "text"
    if written == Size:
        return "size"
    if get_origin(written) is list:
        return "list of text"
    if get_origin(written) is dict:
        return "names and text"
    return {bool: "true or false", int: "whole number", float: "number"}[written]


def _default(value: object) -> str:
    if value is None:
        return "not set"
    if isinstance(value, Mapping | list) and not value:
        return "none"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


if __name__ == "__main__":
    print(reference_page(), end="")  # noqa: T201
