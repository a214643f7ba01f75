"""The text behind ``--help``: an example first, then what it does, then the words it takes.

    docstring ──split_example──► example, text ─┐
    parameters of the command ──────────────────┴─► help, and docs/reference/cli.md

It is made here and not by typer: it is grouped, begins with an example, and loads neither rich nor
pydantic.  A command's docstring is its help; a block that starts with ``$`` is its example.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typer._click import Command, Context, Parameter
    from typer.core import TyperGroup

SECTIONS: dict[str, tuple[str, ...]] = {
    "Make a service": ("init", "serve", "call", "servers", "bench", "batch"),
    "Bundles": (
        "build",
        "list",
        "inspect",
        "diff",
        "history",
        "tag",
        "delete",
        "undelete",
        "gc",
        "export",
        "import",
        "sign",
        "verify",
    ),
    "Models": ("models",),
    "Registries": ("login", "logout", "push", "pull", "copy"),
    "Ship it": ("containerize", "image", "deploy", "apply", "deployments", "autoscale", "plugin"),
    "This machine": ("doctor", "config", "completion"),
}
"""Commands in the order of the help; a test keeps it complete."""

MAX_WIDTH = 100


def command_help(command: Command, ctx: Context) -> str:
    """Return the help of one command: example, what it does, usage, arguments, options."""
    example, text = split_example(command.help or "")
    parameters = [p for p in command.params if not getattr(p, "hidden", False)]
    arguments = [p for p in parameters if p.param_type_name == "argument"]
    options = [p for p in parameters if p.param_type_name == "option"]
    rows = [(option_names(p), help_of(p)) for p in options]
    rows += [("-v, --verbose", "show tracebacks"), ("-h, --help", "show this text")]
    parts = [
        *([example] if example else []),
        text,
        f"Usage: {usage(command, ctx.command_path)}",
        *([_listing("Arguments", [(metavar(p), help_of(p)) for p in arguments])] * bool(arguments)),
        _listing("Options", rows),
    ]
    return "\n\n".join(parts)


def group_help(group: TyperGroup, ctx: Context) -> str:
    """Return the help of a group: example, what it is, its commands in sections."""
    example, text = split_example(group.help or "")
    names = list(group.commands)
    sections = SECTIONS if ctx.parent is None else {"Commands": tuple(names)}
    width = max(len(name) for name in names)
    listed = []
    for title, section in sections.items():
        rows = [(name.ljust(width), short_help(group.commands[name])) for name in section]
        listed.append(_listing(title, rows))
    parts = [
        *([example] if example else []),
        text,
        f"Usage: {ctx.command_path} COMMAND [OPTIONS]",
        *listed,
        f"'{ctx.command_path} COMMAND --help' says more about one of them.",
    ]
    return "\n\n".join(parts)


def short_help(command: Command) -> str:
    """Return the first sentence of a command's help, without its full stop."""
    _, text = split_example(command.help or "")
    return text.partition("\n\n")[0].replace("\n", " ").partition(". ")[0].rstrip(".")


def split_example(docstring: str, width: int | None = None) -> tuple[str, str]:
    """Return the example, indented, and the rest, filled to ``width`` (default: the terminal's)."""
    width = width or _width()
    example: list[str] = []
    rest: list[str] = []
    for block in docstring.strip().split("\n\n"):
        lines = textwrap.dedent(block).splitlines()
        if lines and lines[0].startswith("$ "):
            example += [f"  {line}" for line in lines]
        elif block.startswith(" "):
            rest.append(block.rstrip())
        else:
            rest.append(textwrap.fill(" ".join(block.split()), width))
    return "\n".join(example), "\n\n".join(rest)


def _listing(title: str, rows: Iterable[tuple[str, str]]) -> str:
    rows = list(rows)
    left = min(max((len(name) for name, _ in rows), default=0), 34)
    lines = [f"{title}:"]
    for name, text in rows:
        wrapped = textwrap.wrap(text, max(_width() - left - 4, 30)) or [""]
        first = f"  {name:<{left}}  {wrapped[0]}".rstrip()
        lines += [first, *(" " * (left + 4) + line for line in wrapped[1:])]
    return "\n".join(lines)


def usage(command: Command, path: str) -> str:
    """Return the form of a command: its name and what stands behind it."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    names = [metavar(p) if p.required else f"[{metavar(p)}]" for p in arguments]
    return " ".join([path, *names, "[OPTIONS]"])


def metavar(parameter: Parameter) -> str:
    """Return the word that stands for the value of a parameter."""
    return parameter.metavar or (parameter.name or "").upper()


def option_names(parameter: Parameter) -> str:
    """Return the names of an option and the word for its value: ``-p, --port PORT``."""
    names = sorted(parameter.opts, key=len)
    is_flag = getattr(parameter, "is_flag", False)
    return ", ".join(names) + ("" if is_flag else f" {metavar(parameter)}")


def help_of(parameter: Parameter) -> str:
    """Return what a parameter is for, on one line."""
    return " ".join(str(getattr(parameter, "help", None) or "").split())


def _width() -> int:
    return min(shutil.get_terminal_size((80, 24)).columns, MAX_WIDTH)
