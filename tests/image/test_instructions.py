from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from modelpack.errors import UsageError
from modelpack.image import instructions as dockerfile
from modelpack.image.instructions import Instruction, parse, quote, render

FORBIDDEN = ("\n", "\r", "\0", "\x1b", "\x7f", "\x85", "\u2028", "\u2029", "\u202e", "\u2066")

PLAIN = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Cf")), max_size=40)
NASTY = st.one_of(PLAIN, st.text(st.sampled_from("\\\"'$`{}&|;#<> =ab"), max_size=20))


def rendered(*instructions: Instruction) -> str:
    return render(instructions, ["a test"])


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True)


@given(st.dictionaries(NAMES, NASTY, min_size=1))
def test_any_value_of_a_variable_comes_back_as_it_was(values: dict[str, str]) -> None:
    text = rendered(dockerfile.from_image("a"), dockerfile.env(values))

    assert parse(text)[1].parts == tuple(sorted(values.items()))
    assert text.count("\n") == 3 + len(values)


@given(st.lists(st.lists(NASTY.filter(lambda t: "&&" not in t), min_size=1), min_size=1))
def test_any_words_of_commands_come_back_as_they_were(commands: list[list[str]]) -> None:
    assume(not commands[0][0].startswith("-"))  # an option of RUN, and refused as such

    text = rendered(dockerfile.run(*commands))

    assert parse(text)[0].parts == tuple(tuple(command) for command in commands)


@given(st.lists(NASTY, min_size=1))
def test_an_entry_point_comes_back_as_it_was(command: list[str]) -> None:
    assert parse(rendered(dockerfile.entry_point(command)))[0].parts == (tuple(command),)


def test_values_are_literal_to_a_builder() -> None:
    assert quote('a $HOME "b" \\ c') == r'"a \$HOME \"b\" \\ c"'


@pytest.mark.parametrize("char", FORBIDDEN)
@pytest.mark.parametrize(
    "build",
    [
        lambda text: dockerfile.from_image(text),
        lambda text: dockerfile.from_image("a", stage=text),
        lambda text: dockerfile.arg(text),
        lambda text: dockerfile.run(["echo", text]),
        lambda text: dockerfile.copy(text, to="/x/"),
        lambda text: dockerfile.copy("x", to=text),
        lambda text: dockerfile.env({"A": text}),
        lambda text: dockerfile.env({text: "a"}),
        lambda text: dockerfile.label({"a": text}),
        lambda text: dockerfile.label({text: "a"}),
        lambda text: dockerfile.workdir(text),
        lambda text: dockerfile.user(text),
        lambda text: dockerfile.stop_signal(text),
        lambda text: dockerfile.entry_point(["a", text]),
        lambda text: dockerfile.health_check(
            [text], interval="5s", timeout="5s", start_period="5s", retries=1
        ),
        lambda text: dockerfile.health_check(
            ["a"], interval=text, timeout="5s", start_period="5s", retries=1
        ),
        lambda text: render([dockerfile.from_image("a")], [text]),
        lambda text: render([dockerfile.from_image("a", note=text)], []),
    ],
)
def test_a_control_character_is_refused_everywhere(
    build: Callable[[str], object], char: str
) -> None:
    with pytest.raises(UsageError):
        build(f"a{char}b")


@pytest.mark.parametrize(
    "build",
    [
        lambda: dockerfile.env({"A=1 B": "x"}),
        lambda: dockerfile.env({"A B": "x"}),
        lambda: dockerfile.env({"1A": "x"}),
        lambda: dockerfile.env({"": "x"}),
        lambda: dockerfile.label({'a="b" c': "x"}),
        lambda: dockerfile.copy("$HOME", to="/x/"),
        lambda: dockerfile.copy("*", to="/x/"),
        lambda: dockerfile.copy("a b", to="/x/"),
        lambda: dockerfile.workdir("/a b"),
        lambda: dockerfile.user("root"),
        lambda: dockerfile.user("0:0 x"),
        lambda: dockerfile.expose(0),
        lambda: dockerfile.expose(65536),
        lambda: dockerfile.stop_signal("SIGTERM x"),
        lambda: dockerfile.arg("A=1"),
        lambda: dockerfile.from_image("a AS b"),
        lambda: dockerfile.from_image("a", stage="b c"),
        lambda: dockerfile.run(["a", "b && c"]),
        lambda: dockerfile.entry_point([]),
    ],
)
def test_a_value_that_does_not_fit_its_grammar_is_refused(build: Callable[[], object]) -> None:
    with pytest.raises(UsageError):
        build()


@pytest.mark.parametrize(
    "text",
    [
        "RUN echo a; evil",
        "RUN echo $HOME",
        "RUN echo `evil`",
        "RUN echo a > b",
        "RUN echo a || evil",
        "RUN (evil)",
        'ENV A="b" C=d',
        'ENV A="$HOME"',
        "ENV A b",
        "COPY a b",
        'COPY {"a": "b"}',
        "COPY [1]",
        "HEALTHCHECK NONE",
        "ADD http://example.com/x /",
        "ONBUILD RUN evil",
        "run echo a",
        "ENTRYPOINT evil",
        "RUN echo a \\",
    ],
)
def test_the_parser_knows_only_what_is_rendered(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse(f"FROM a\n{text}\n")


def test_text_that_says_something_else_is_never_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quoting failed (here: on purpose), so that a second instruction would stand there."""
    monkeypatch.setattr(dockerfile, "quote", lambda value: f'"{value}"')
    instruction = Instruction("ENV", (("A", 'x"\nRUN evil #'),))

    with pytest.raises((AssertionError, ValueError)):
        render([dockerfile.from_image("a"), instruction], [])


def test_comments_say_what_a_step_does_and_why_a_rule_is_ignored() -> None:
    run = dockerfile.run(["true"], note="does nothing", ignored_rules=[("DL3008", "It is fine.")])

    assert rendered(dockerfile.from_image("a"), run) == (
        "# a test\n\nFROM a\n\n# does nothing\n# It is fine.\n# hadolint ignore=DL3008\nRUN true\n"
    )
