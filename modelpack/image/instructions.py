"""The instructions of a Dockerfile: one builder each, with its own grammar for what users say.

    copy(...), env(...) … ──► Instruction ──render──► text ──parse──► the same instructions

No text is put together from user strings: an instruction is a keyword with values, and only this
module writes or reads it.  What always holds (threat model S7):

* control characters and characters that reorder text on a screen are refused in every value;
* file names, entry points and checks stand in exec form (JSON); values of variables and labels are
  quoted by one function; commands are argument lists, quoted for the shell one by one;
* what was rendered is parsed again and must give the same instructions.

Only what the classic builder of an engine understands is used, but for mounts: a command has some
when it is known that another one builds.
"""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from modelpack.errors import UsageError
from modelpack.image.reference import check_reference

Parts = tuple[tuple[str, ...], ...]

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LABEL_NAME = re.compile(r"[a-z][a-z0-9]*(?:[.-][a-z0-9]+)*")
_STAGE = re.compile(r"[a-z][a-z0-9-]*")
_PATH = re.compile(r"[A-Za-z0-9._/-]+")
_USER = re.compile(r"\d{1,9}:\d{1,9}")
_SIGNAL = re.compile(r"SIG[A-Z0-9]+")
_SECONDS = re.compile(r"\d{1,5}s")
_MOUNT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MOUNT = re.compile(
    rf"type=(?:cache|secret),id={_MOUNT_ID.pattern},target=/[A-Za-z0-9._/-]+(?:,required=true)?"
)
# Bidirectional controls: a line that holds one reads otherwise than it runs.
_REORDERING = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C}


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction; ``parts`` are its values in the form that its keyword has."""

    keyword: str
    parts: Parts
    """RUN: one tuple a command; ENV and LABEL: name and value; else one tuple of words."""
    flags: tuple[tuple[str, str], ...] = ()
    note: str = field(default="", compare=False)
    """What it does, for people: a comment, and the text of its progress."""
    ignored_rules: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    """Rules of hadolint that do not fit here, each with the reason."""


def from_image(reference: str, *, stage: str | None = None, note: str = "") -> Instruction:
    """Start from an image; ``stage`` names it for ``copy(from_stage=...)``."""
    words = [check_reference(reference)]
    if stage is not None:
        words += ["AS", _matched(_STAGE, stage, "stage")]
    return Instruction("FROM", (tuple(words),), note=note)


def arg(name: str, *, note: str = "") -> Instruction:
    """Declare a variable that the builder may be given; it has no default."""
    return Instruction("ARG", ((_matched(_ENV_NAME, name, "variable"),),), note=note)


def cache_mount(name: str, *, to: str) -> str:
    """Lend a folder that the builder keeps from one build to the next, for ``run(mounts=...)``."""
    name = _matched(_MOUNT_ID, name, "mount")
    return f"type=cache,id={name},target={_matched(_PATH, to, 'path')}"


def secret_mount(name: str, *, to: str) -> str:
    """Lend a secret of the builder as a file, for ``run(mounts=...)``; without it nothing is built."""
    name = _matched(_MOUNT_ID, name, "mount")
    return f"type=secret,id={name},target={_matched(_PATH, to, 'path')},required=true"


def run(
    *commands: Sequence[str],
    mounts: Iterable[str] = (),
    note: str = "",
    ignored_rules: Iterable[tuple[str, str]] = (),
) -> Instruction:
    """Run commands one after the other; the first that fails ends the build.

    ``mounts`` are there for all of them, and in no layer.
    """
    if not commands or not all(commands):
        raise UsageError("a command needs at least one word")
    if commands[0][0].startswith("-"):
        raise UsageError(f"'{commands[0][0]}' is no command: it begins with '-'")
    for command in commands:
        for word in command:
            check_text(word, "command")
            if "&&" in word:
                raise UsageError(f"'{word}' is no argument of a command: it holds '&&'")
    flags = tuple(("mount", _matched(_MOUNT, mount, "mount")) for mount in mounts)
    parts = tuple(tuple(command) for command in commands)
    return Instruction("RUN", parts, flags, note, tuple(ignored_rules))


def copy(*sources: str, to: str, from_stage: str | None = None, note: str = "") -> Instruction:
    """Copy from the context, or from another stage."""
    words = tuple(_matched(_PATH, path, "path") for path in (*sources, to))
    flags = () if from_stage is None else (("from", _matched(_STAGE, from_stage, "stage")),)
    return Instruction("COPY", (words,), flags, note)


def env(values: Mapping[str, str], *, note: str = "") -> Instruction:
    """Set variables of the image, sorted by name."""
    return Instruction("ENV", _pairs(values, _ENV_NAME, "variable"), note=note)


def label(values: Mapping[str, str], *, note: str = "") -> Instruction:
    """Set labels of the image, sorted by name."""
    return Instruction("LABEL", _pairs(values, _LABEL_NAME, "label"), note=note)


def workdir(path: str) -> Instruction:
    """Set the folder that the entry point starts in."""
    return Instruction("WORKDIR", ((_matched(_PATH, path, "path"),),))


def user(uid_gid: str, *, note: str = "") -> Instruction:
    """Set the numeric user and group, ``UID:GID``."""
    return Instruction("USER", ((_matched(_USER, uid_gid, "user"),),), note=note)


def expose(*ports: int) -> Instruction:
    """Say which TCP ports the service listens on."""
    for port in ports:
        if not 1 <= port <= 65535:
            raise UsageError(f"port must be from 1 to 65535, got {port}")
    return Instruction("EXPOSE", (tuple(map(str, ports)),))


def stop_signal(name: str) -> Instruction:
    """Set the signal that asks the service to end."""
    return Instruction("STOPSIGNAL", ((_matched(_SIGNAL, name, "signal"),),))


def health_check(
    command: Sequence[str], *, interval: str, timeout: str, start_period: str, retries: int
) -> Instruction:
    """Set the command whose exit status 0 means healthy; times are like ``5s``."""
    flags = (
        ("interval", _matched(_SECONDS, interval, "time")),
        ("timeout", _matched(_SECONDS, timeout, "time")),
        ("start-period", _matched(_SECONDS, start_period, "time")),
        ("retries", str(retries)),
    )
    return Instruction("HEALTHCHECK", (_exec_form(command),), flags)


def entry_point(command: Sequence[str]) -> Instruction:
    """Set what runs, in exec form: it is process 1 and gets the signals."""
    return Instruction("ENTRYPOINT", (_exec_form(command),))


def quote(value: str) -> str:
    """Return a value as it stands behind ``NAME=`` in ENV and LABEL: literal, whatever it holds."""
    check_text(value, "value")
    return '"' + re.sub(r'([\\"$])', r"\\\1", value) + '"'


def check_text(text: str, what: str) -> str:
    """Return ``text`` if it may stand in a Dockerfile at all; raises UsageError."""
    for char in text:
        if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or ord(char) in _REORDERING:
            raise UsageError(
                f"{what} holds the character U+{ord(char):04X}, which may not stand in an image",
                hint="control characters and line breaks are not allowed here",
            )
    return text


def render(instructions: Sequence[Instruction], heading: Sequence[str]) -> str:
    """Return the Dockerfile: the heading as comments, then the instructions.

    The text is parsed again; what does not give the same instructions is an AssertionError.
    """
    blocks = ["".join(f"# {check_text(line, 'heading')}\n" for line in heading)]
    for instruction in instructions:
        block = "".join(
            f"# {why}\n# hadolint ignore={rule}\n" for rule, why in instruction.ignored_rules
        )
        if instruction.note:
            block = f"# {check_text(instruction.note, 'note')}\n{block}"
        gap = "\n" if block or not blocks[1:] else ""
        blocks.append(f"{gap}{block}{_text(instruction)}\n")
    text = "".join(blocks)
    if parse(text) != list(instructions):
        raise AssertionError("the Dockerfile does not say what it was made from")
    return text


def parse(text: str) -> list[Instruction]:
    """Read a Dockerfile of the form that ``render`` writes; raises ValueError for any other."""
    found = []
    for line in _logical_lines(text):
        keyword, _, rest = line.partition(" ")
        flags = []
        while match := re.match(r"--([a-z-]+)=(\S+) ", rest):
            flags.append((match[1], match[2]))
            rest = rest[match.end() :]
        found.append(Instruction(keyword, _parse_parts(keyword, rest), tuple(flags)))
    return found


def _text(instruction: Instruction) -> str:
    flags = "".join(f"--{name}={value} " for name, value in instruction.flags)
    return f"{instruction.keyword} {flags}{_parts_text(instruction)}"


def _parts_text(instruction: Instruction) -> str:
    parts = instruction.parts
    match instruction.keyword:
        case "RUN":
            return " \\\n    && ".join(shlex.join(command) for command in parts)
        case "ENV" | "LABEL":
            return " \\\n    ".join(f"{name}={quote(value)}" for name, value in parts)
        case "COPY" | "ENTRYPOINT":
            return json.dumps(parts[0])
        case "HEALTHCHECK":
            return f"CMD {json.dumps(parts[0])}"
    return " ".join(parts[0])


def _logical_lines(text: str) -> Iterable[str]:
    """Join continued lines; a builder drops comments and empty lines, also between those."""
    pending = ""
    for line in text.split("\n"):
        if line.lstrip().startswith("#") or not line.strip():
            continue
        if line.endswith("\\"):
            pending += line[:-1].strip() + " "
        else:
            yield pending + line.strip()
            pending = ""
    if pending:
        raise ValueError("the last line is continued")


def _parse_parts(keyword: str, rest: str) -> Parts:
    match keyword:
        case "RUN":
            return tuple(_parse_command(text) for text in rest.split(" && "))
        case "ENV" | "LABEL":
            return _parse_pairs(rest)
        case "COPY" | "ENTRYPOINT":
            return (_parse_json(rest),)
        case "HEALTHCHECK":
            if not rest.startswith("CMD "):
                raise ValueError("a health check without a command")
            return (_parse_json(rest.removeprefix("CMD ")),)
        case "FROM" | "ARG" | "WORKDIR" | "USER" | "EXPOSE" | "STOPSIGNAL":
            return (tuple(rest.split(" ")),)
    raise ValueError(f"unknown instruction: {keyword!r}")


def _parse_command(text: str) -> tuple[str, ...]:
    words = shlex.split(text)
    # Only the quoting that shlex writes is read: in it, nothing is left to the shell.
    if shlex.join(words) != text:
        raise ValueError(f"a command with words that a shell would change: {text!r}")
    return tuple(words)


def _parse_pairs(text: str) -> Parts:
    pairs = []
    while text:
        match = re.match(r'([A-Za-z_][A-Za-z0-9_.-]*)="((?:[^"\\$]|\\["\\$])*)"(?: |$)', text)
        if match is None:
            raise ValueError(f'not NAME="VALUE": {text!r}')
        pairs.append((match[1], re.sub(r'\\(["\\$])', r"\1", match[2])))
        text = text[match.end() :]
    return tuple(pairs)


def _parse_json(text: str) -> tuple[str, ...]:
    words = json.loads(text)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"not a list of strings: {text!r}")
    return tuple(words)


def _pairs(values: Mapping[str, str], grammar: re.Pattern[str], what: str) -> Parts:
    return tuple(
        (_matched(grammar, name, what), check_text(value, f"{what} '{name}'"))
        for name, value in sorted(values.items())
    )


def _exec_form(command: Sequence[str]) -> tuple[str, ...]:
    if not command:
        raise UsageError("a command needs at least one word")
    return tuple(check_text(word, "command") for word in command)


def _matched(grammar: re.Pattern[str], text: str, what: str) -> str:
    if not grammar.fullmatch(text):
        shown = "".join(c if c.isprintable() else "?" for c in text)[:80]
        raise UsageError(f"'{shown}' is not a {what} that an image can have")
    return text
