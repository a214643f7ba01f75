"""How commands are parsed, and what is said about words that do not fit.

    argv ──► Group ──► Command ──parse_args──► values, or UsageError with a suggestion
                          └─────get_help─────► help

typer parses; what it complains of is said in the form of all our errors.  ``--help`` and ``-v`` may
stand anywhere before ``--``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from modelpack.cli import console
from modelpack.cli.help import command_help, group_help, help_of, metavar
from modelpack.cli.quick import read_quickly
from modelpack.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from typer._click import Command as AnyCommand
    from typer._click import Context


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
        """Take ``-v`` and ``--help`` wherever they stand; parse the rest."""
        end = args.index("--") if "--" in args else len(args)
        read_quickly(self.params)
        with our_words(ctx):
            return super().parse_args(ctx, _without_common(args[:end], ctx) + args[end:])

    def get_help(self, ctx: Context) -> str:
        """Return the help as text."""
        return command_help(self, ctx)

    def get_help_option(self, ctx: Context) -> None:
        """Return None: typer loads pydantic to learn that ``--help`` was not given."""


class Group(TyperGroup):
    """A command that has commands."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Take ``-v`` and ``--help`` before the name of the command; parse the rest."""
        end = next((i for i, word in enumerate(args) if not word.startswith("-")), len(args))
        read_quickly(self.params)
        with our_words(ctx):
            return super().parse_args(ctx, _without_common(args[:end], ctx) + args[end:])

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

    def get_help_option(self, ctx: Context) -> None:
        """Return None, as for a command."""


def _without_common(words: Sequence[str], ctx: Context) -> list[str]:
    """Do what ``--help`` and ``-v`` ask for and return the other words."""
    if "--help" in words or "-h" in words:
        console.out(ctx.get_help())
        raise typer.Exit
    if "--verbose" in words or "-v" in words:
        console.set_verbose(True)
    return [word for word in words if word not in ("-v", "--verbose")]


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
    name = metavar(parameter) if is_argument else max(parameter.opts, key=len)
    if type(wrong).__name__ == "MissingParameter":
        text = help_of(parameter)
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
