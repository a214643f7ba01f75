"""How commands are parsed and how they explain themselves.

    app (typer) ──► Group, Command ──parse_args──► values        unknown words: a suggestion
                                   └─get_help────► text          an example first, then the rest

The help is made here and not by typer: it is grouped, begins with an example, and loads neither
rich nor pydantic.  A command's docstring is its help; lines that start with ``$`` are its example
and come first.
"""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from modelpack.cli import console
from modelpack.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from typer._click import Command as AnyCommand
    from typer._click import Context, Parameter

SECTIONS: dict[str, tuple[str, ...]] = {
    "Make a service": ("init", "serve"),
    "Bundles": ("build", "list", "inspect", "tag", "delete", "export", "import"),
    "Models": ("models",),
    "Ship it": ("containerize", "deploy", "deployments"),
    "This machine": ("doctor", "config", "completion"),
}
"""Commands in the order of the help; a test keeps it complete."""

MAX_WIDTH = 100


class Format(StrEnum):
    """Forms in which facts are printed."""

    TEXT = "text"
    JSON = "json"


FormatOption = Annotated[
    Format,
    typer.Option("-o", "--format", metavar="text|json", help="text for people, json for programs"),
]
TagArgument = Annotated[
    str, typer.Argument(metavar="TAG", help="NAME or NAME:VERSION; without a version, the newest")
]


class Command(TyperCommand):
    """One command."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Take ``-v`` wherever it stands; parse the rest."""
        end = args.index("--") if "--" in args else len(args)
        with our_words(ctx):
            return super().parse_args(ctx, _without_verbose(args[:end]) + args[end:])

    def get_help(self, ctx: Context) -> str:
        """Return the help as text."""
        return command_help(self, ctx)


class Group(TyperGroup):
    """A command that has commands."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Take ``-v`` before the name of the command; parse the rest."""
        end = next((i for i, word in enumerate(args) if not word.startswith("-")), len(args))
        with our_words(ctx):
            return super().parse_args(ctx, _without_verbose(args[:end]) + args[end:])

    def resolve_command(
        self, ctx: Context, args: list[str]
    ) -> tuple[str | None, AnyCommand | None, list[str]]:
        """Find the command; raises UsageError with a suggestion."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            path = ctx.command_path
            near = did_you_mean(args[0], self.commands)
            raise UsageError(
                f"no command '{path} {args[0]}'",
                hint=f"did you mean '{path} {near}'?" if near else f"'{path} --help' lists them",
            )
        return super().resolve_command(ctx, args)

    def get_help(self, ctx: Context) -> str:
        """Return the help as text."""
        return group_help(self, ctx)


def _without_verbose(words: Sequence[str]) -> list[str]:
    kept = [word for word in words if word not in ("-v", "--verbose")]
    if len(kept) != len(words):
        console.set_verbose(True)
    return kept


def command_help(command: AnyCommand, ctx: Context) -> str:
    """Return the help of one command: example, what it does, usage, arguments, options."""
    example, text = split_example(command.help or "")
    parameters = [p for p in command.params if not getattr(p, "hidden", False)]
    arguments = [p for p in parameters if p.param_type_name == "argument"]
    options = [p for p in parameters if p.param_type_name == "option"]
    usage = " ".join([ctx.command_path, *map(_argument_usage, arguments), "[OPTIONS]"])
    rows = [(_option_names(p), _help_of(p)) for p in options]
    rows += [("-v, --verbose", "show tracebacks"), ("--help", "show this text")]
    parts = [
        *([example] if example else []),
        text,
        f"Usage: {usage}",
        *(
            [_listing("Arguments", [(_metavar(p), _help_of(p)) for p in arguments])]
            * bool(arguments)
        ),
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


def short_help(command: AnyCommand) -> str:
    """Return the first sentence of a command's help, without its full stop."""
    _, text = split_example(command.help or "")
    return text.partition("\n\n")[0].replace("\n", " ").partition(". ")[0].rstrip(".")


def split_example(docstring: str) -> tuple[str, str]:
    """Return the example (its ``$`` lines and what stands under them, indented) and the rest."""
    example: list[str] = []
    rest: list[str] = []
    for block in docstring.strip().split("\n\n"):
        lines = textwrap.dedent(block).splitlines()
        if lines and lines[0].startswith("$ "):
            example += [f"  {line}" for line in lines]
        elif block.startswith(" "):
            rest.append(block.rstrip())
        else:
            rest.append(textwrap.fill(" ".join(block.split()), _width()))
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


def _argument_usage(parameter: Parameter) -> str:
    name = _metavar(parameter)
    return name if parameter.required else f"[{name}]"


def _metavar(parameter: Parameter) -> str:
    return parameter.metavar or (parameter.name or "").upper()


def _option_names(parameter: Parameter) -> str:
    names = sorted(parameter.opts, key=len)
    is_flag = getattr(parameter, "is_flag", False)
    return ", ".join(names) + ("" if is_flag else f" {_metavar(parameter)}")


def _help_of(parameter: Parameter) -> str:
    return " ".join(str(getattr(parameter, "help", None) or "").split())


def _width() -> int:
    return min(shutil.get_terminal_size((80, 24)).columns, MAX_WIDTH)


# typer gives this class no public name; the others of its kind derive from it.
_WrongWords: type[Any] = typer.BadParameter.__mro__[1]

_REPHRASED = (
    (r"got unexpected extra argument(?:\(?s?\)?)? \((.*)\)", r"takes no argument '\1'"),
    (r"option ('.*') requires an argument", r"needs a value after \1"),
    (r"(?:.*should be a valid|.* is not a valid) int.*", "must be a whole number"),
    (r"(?:.*should be a valid|.* is not a valid) (?:float|number).*", "must be a number"),
    (r"(?:.*should be greater than or equal to) (-?\d+)", r"must be at least \1"),
    (r"(.*) is not in the range x>=(-?\d+)", r"must be at least \2, got \1"),
    (r"value error, (.*)", r"\1"),
)
"""What typer and pydantic say, and how we say it."""


@contextmanager
def our_words(ctx: Context) -> Iterator[None]:
    """Raise typer's complaints about the words of a command as UsageError."""
    try:
        yield
    except _WrongWords as wrong:
        raise _usage_error(wrong, ctx) from None


def _usage_error(wrong: Any, ctx: Context) -> UsageError:
    path = ctx.command_path
    hint = f"'{path} --help' shows how it is used"
    parameter = getattr(wrong, "param", None)
    if "possibilities" in vars(wrong):
        return _unknown_option(wrong.option_name, ctx, hint)
    if parameter is None:
        return UsageError(f"'{path}' {_rephrased(wrong.format_message())}", hint=hint)
    is_argument = parameter.param_type_name == "argument"
    name = _metavar(parameter) if is_argument else max(parameter.opts, key=len)
    if type(wrong).__name__ == "MissingParameter":
        text = _help_of(parameter)
        return UsageError(f"'{path}' needs {name}" + (f": {text}" if text else ""), hint=hint)
    return UsageError(f"{name}: {_rephrased(wrong.message)}", hint=hint)


def _unknown_option(option: str, ctx: Context, hint: str) -> UsageError:
    known = [name for p in ctx.command.params for name in p.opts if name.startswith("--")]
    near = did_you_mean(option, [*known, "--help", "--verbose"])
    return UsageError(
        f"'{ctx.command_path}' has no option '{option}'",
        hint=f"did you mean '{near}'?" if near else hint,
    )


def _rephrased(text: str) -> str:
    """Return a sentence of typer's in our form: one line, lower case, no full stop."""
    text = re.sub(r"\s+", " ", text).strip().rstrip(".")
    text = text[:1].lower() + text[1:]
    for pattern, ours in _REPHRASED:
        if match := re.fullmatch(pattern, text):
            return match.expand(ours)
    return text
