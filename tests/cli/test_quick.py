"""Words that are read without typer's help mean what typer would have made of them."""

from __future__ import annotations

import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from modelpack.cli.grammar import Command
from modelpack.cli.quick import NOT_SURE, as_typed


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Plain:
    """Wishes that are none."""

    min = max = parser = None


@pytest.mark.parametrize(
    ("word", "annotation", "value"),
    [
        ("a b", str, "a b"),
        ("", str, ""),
        ("12", int, 12),
        ("-3", int, -3),
        ("1.5", float, 1.5),
        ("7", float, 7.0),
        ("a/b", Path, Path("a/b")),
        ("red", Colour, Colour.RED),
        (Colour.BLUE, Colour, Colour.BLUE),
        (True, bool, True),
        (["1", "2"], list[int], [1, 2]),
        (("a", "b"), list[str], ["a", "b"]),
        ([], list[Path], []),
    ],
)
def test_plain_words_are_read(word: Any, annotation: Any, value: Any) -> None:
    read = as_typed(word, annotation, Plain())
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("word", "annotation"),
    [
        ("1.0", int),
        (" 1", int),
        ("1_000", int),
        ("9" * 30, int),
        ("1e3", float),
        ("nan", float),
        ("green", Colour),
        ("RED", Colour),
        ("yes", bool),
        ("x", tuple[int, int]),
        (["1", "x"], list[int]),
        (1, str),
    ],
)
def test_all_else_is_left_to_typer(word: Any, annotation: Any) -> None:
    assert as_typed(word, annotation, Plain()) is NOT_SURE


def test_a_number_outside_of_its_range_is_left_to_typer() -> None:
    wish = Plain()
    wish.min, wish.max = 1, 8  # type: ignore[assignment]
    assert [as_typed(word, int, wish) for word in ("1", "8")] == [1, 8]
    assert [as_typed(word, int, wish) for word in ("0", "9")] == [NOT_SURE] * 2


WORDS = [
    [],
    ["x", "--count", "3", "--share", "0.5", "--file", "a", "--colour", "blue", "--many", "p"],
    ["x", "--share", "1e-3", "--many", "p", "--many", "q", "--on"],
    ["x", "--count", "0"],
    ["x", "--count", "many"],
    ["x", "--colour", "green"],
    ["x", "--share", "much"],
    ["x", "--colour"],
]


def outcome(command: type[Any], words: list[str]) -> tuple[int, str]:
    app = typer.Typer()

    @app.command(cls=command)
    def run(
        *,
        name: str | None = None,
        count: Annotated[int, typer.Option(min=1)] = 2,
        share: float | None = None,
        file: Path | None = None,
        colour: Colour = Colour.RED,
        many: Annotated[list[str] | None, typer.Option()] = None,
        on: Annotated[bool, typer.Option("--on")] = False,
    ) -> None:
        print(repr((name, count, share, file, colour, many, on)))

    words = ["--name", *words] if words else words
    done = CliRunner().invoke(app, words, standalone_mode=False)
    return (0, done.output) if done.exception is None else (2, str(done.exception))


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_a_command_gets_the_values_that_typer_would_give_it(words: list[str]) -> None:
    class Slow(Command):
        """The same without reading quickly."""

        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            for one in self.params:
                one._runtime_param = one.get_runtime_param()  # type: ignore[attr-defined]
            return super().parse_args(ctx, args)

    assert outcome(Command, words) == outcome(Slow, words)


def test_a_command_begins_without_pydantic() -> None:
    code = (
        "import sys; from modelpack.cli.main import main; "
        "main(['servers', 'list', '--format', 'json']); "
        "sys.exit('pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
