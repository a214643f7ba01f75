"""Writes the page of all commands, so that it cannot differ from the code.

    make_app ──► commands, docstrings, options ──► docs/reference/cli.md

``python -m modelpack.cli.reference > docs/reference/cli.md`` writes it anew; a test keeps the two
equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from modelpack.cli.help import SECTIONS, help_of, metavar, option_names, split_example, usage
from modelpack.cli.main import make_app

if TYPE_CHECKING:
    from typer._click import Command

_TOP = """\
# The command line

`modelpack COMMAND --help` says the same as this page. Three things hold for every command:

* Standard output carries the result alone, so `$(modelpack build)` is a tag; notes, progress and errors go
  to standard error. `-o json` prints facts for programs. Nothing is wrapped, and there is colour only on a
  terminal without `NO_COLOR`.
* An error is at most four lines, `error[CODE]: what happened` first; `help:` says what to do. `-v` shows
  tracebacks: of your own code only your own frames.
* Nothing is asked without a terminal: the command fails and names the flag that gives consent.

`python -m modelpack` is the same as `modelpack`.

| status | meaning |
| --- | --- |
| 0 | done |
| 1 | failed |
| 2 | the words of the command, a project file or an import string are wrong |
| 3 | a model, bundle, target or deployment of that name is not there |
| 4 | refused: a digest or a signature does not hold, a secret was found, a permission is missing |
| 5 | something else stands there already |
| 6 | a program that is needed is not there, such as a container engine |
| 10 | the plan has changes (`deploy --plan --exit-code`) |
| 130 | interrupted |
"""


def reference_page() -> str:
    """Return the page as Markdown."""
    root = typer.main.get_command(make_app())
    commands: dict[str, Command] = vars(root)["commands"]
    parts = [_TOP]
    for title, names in SECTIONS.items():
        parts.append(f"## {title}\n")
        for name in names:
            parts += _described(commands[name], f"modelpack {name}")
    return "\n".join(parts)


def _described(command: Command, path: str) -> Iterator[str]:
    """Yield the parts about a command, and about the commands in it."""
    inner: dict[str, Command] = vars(command).get("commands", {})
    example, text = split_example(command.help or "", width=100)
    yield f"### `{path}`\n"
    yield f"{text}\n"
    if inner:
        for name, one in inner.items():
            yield from _described(one, f"{path} {name}")
        return
    lines = [line.removeprefix("  ") for line in example.splitlines()]
    yield "\n".join(["```console", *lines, "```", ""])
    yield f"`{usage(command, path)}`\n"
    rows = [
        f"| `{_name(parameter)}` | {help_of(parameter).replace('|', chr(92) + '|')} |"
        for parameter in command.params
    ]
    if rows:
        yield "\n".join(["| | |", "| --- | --- |", *rows, ""])


def _name(parameter: object) -> str:
    is_argument = getattr(parameter, "param_type_name", "") == "argument"
    text = metavar(parameter) if is_argument else option_names(parameter)  # type: ignore[arg-type]
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(reference_page(), end="")  # noqa: T201
