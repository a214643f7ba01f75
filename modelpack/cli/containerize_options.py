"""The options of ``containerize`` as one value, checked against each other.

    words and flags ──► Asked ──check_options──► the same, or UsageError that says what to leave out

Without ``--engine`` the options choose: what only one way can do is done in that way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from modelpack.errors import UsageError

if TYPE_CHECKING:
    from modelpack.archive.platforms import Platform
    from modelpack.registry import Options


class Engine(StrEnum):
    """What makes the image."""

    AUTO = "auto"
    DOCKER = "docker"
    BUILDKIT = "buildkit"
    PODMAN = "podman"
    BUILDAH = "buildah"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line asks for."""

    words: tuple[str, ...]
    engine: Engine
    outputs: tuple[str, ...]
    platforms: tuple[Platform, ...]
    """Sorted; none: what the bundle is for, or this machine's."""
    base: str | None
    cuda: str | None
    max_size_bytes: int | None
    reference: str | None
    secrets: tuple[str, ...]
    network: str | None
    no_cache: bool
    compress: bool
    wrap: Path | None
    port: int | None
    name: str | None
    dockerfile: Path | None
    plan_only: bool
    options: Options = field(repr=False)

    @property
    def only_direct(self) -> str | None:
        """What of it no engine can do, as it was written; None when any could."""
        from modelpack.archive.platforms import host_platform
        from modelpack.image.bases import is_place

        if self.outputs:
            return "--output"
        if self.compress:
            return "--compress"
        if self.base is not None and is_place(self.base):
            return f"--base {self.base}"
        if self.platforms not in ((), (host_platform(),)):
            return "--platform " + ",".join(one.name for one in self.platforms)
        return None

    @property
    def is_direct(self) -> bool:
        """True when no engine is asked to do it."""
        return self.engine is Engine.NONE or self.only_direct is not None


def platforms(names: Sequence[str] | None) -> tuple[Platform, ...]:
    """Return the platforms of ``--platform``; none when it was not given."""
    from modelpack.archive.platforms import parse_platforms

    return parse_platforms(names) if names else ()


def size(text: str | None) -> int | None:
    """Return the bytes of ``--max-size``; raises UsageError."""
    from modelpack.config.units import parse_size

    if text is None:
        return None
    try:
        found = parse_size(text)
    except ValueError as cause:
        raise UsageError(f"--max-size {cause}", hint="such as --max-size 500MB") from None
    if found < 1:
        raise UsageError("--max-size must be above 0", hint="such as --max-size 500MB")
    return found


def check_options(asked: Asked) -> None:
    """Raise UsageError for options that cannot stand together."""
    for wrong, what, hint in _contradictions(asked):
        if wrong:
            raise UsageError(what, hint=hint)


def _contradictions(asked: Asked) -> Iterator[tuple[bool, str, str]]:
    """Give whether something is wrong, what, and what to do."""
    wraps = asked.wrap is not None
    yield (
        wraps and asked.port is None,
        "--wrap needs the port on which the program answers",
        f"add '--port PORT', as in '--wrap {asked.wrap} --port 8080'",
    )
    yield (
        asked.port is not None and not wraps,
        "--port is for a program that --wrap names",
        "the port of a bundle's image is 3000; 'docker run -p' or 'deploy.port' chooses another",
    )
    yield (
        not wraps and len(asked.words) > 1,
        f"one TAG or PATH makes one image, got {len(asked.words)}",
        "arguments after '--' are for a program that --wrap names",
    )
    engine = asked.engine
    yield (
        engine not in (Engine.AUTO, Engine.NONE) and asked.only_direct is not None,
        f"no engine can do '{asked.only_direct}' here",
        f"leave out '--engine {engine}', and the image is made without an engine",
    )
    direct = asked.only_direct or "--engine none"
    yield (
        asked.is_direct and bool(asked.secrets),
        f"--secret is lent to an engine's build, and '{direct}' means without an engine",
        "without one, uv finds packages as 'modelpack build' does: set its index and login there",
    )
    for option, is_given in (
        ("--no-cache", asked.no_cache),
        (f"--network {asked.network}", asked.network is not None),
    ):
        yield (
            asked.is_direct and is_given,
            f"'{option}' is for engines, and '{direct}' means without one",
            "leave one of them out",
        )
    yield from _contradictions_of_a_dockerfile(asked)


def _contradictions_of_a_dockerfile(asked: Asked) -> Iterator[tuple[bool, str, str]]:
    if asked.dockerfile is None:
        return
    others = {
        "--plan": asked.plan_only,
        f"--engine {asked.engine}": asked.engine is not Engine.AUTO,
        "--secret": bool(asked.secrets),
        "--no-cache": asked.no_cache,
        f"--network {asked.network}": asked.network is not None,
        "--reference": asked.reference is not None,
        str(asked.only_direct): asked.only_direct is not None and not _one_platform(asked),
    }
    for option, is_given in others.items():
        yield (
            is_given,
            f"--dockerfile builds nothing, so that '{option}' has no meaning",
            "leave one of them out; 'docker build DIR' takes options of its own",
        )


def _one_platform(asked: Asked) -> bool:
    """Say whether a platform is all that no engine here could do."""
    return len(asked.platforms) == 1 and (asked.only_direct or "").startswith("--platform")
