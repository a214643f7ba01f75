"""Chooses the builder, and says why.

    auto ─► Docker answers? ─┬─ BuildKit can be had ──► buildkit
                             └─ it cannot ────────────► docker (classic); not with secrets
         ─► else podman, else buildah, where they are installed
         ─► else ToolMissingError

A builder that was asked for by name is taken or refused, never replaced.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal, get_args

from modelpack.errors import RefusedError, ToolMissingError, UsageError
from modelpack.image.engines.buildkit import BuildKitBuilder, find_buildkit
from modelpack.image.engines.classic import ClassicBuilder
from modelpack.image.engines.docker import connect
from modelpack.image.engines.orders import Builder
from modelpack.image.engines.podman import PodmanBuilder

EngineName = Literal["auto", "docker", "buildkit", "podman", "buildah"]
ENGINES: tuple[str, ...] = get_args(EngineName)
"""What ``--engine`` takes, beside ``none``."""

_DAEMONLESS: tuple[Literal["podman", "buildah"], ...] = ("podman", "buildah")


@contextmanager
def chosen(engine: str, *, needs_secrets: bool) -> Iterator[tuple[Builder, str]]:
    """Give the builder and a sentence part that says why it is the one.

    Raises ToolMissingError when it is not to be had, RefusedError when it would write the secrets
    into the image, UsageError for a name that is none.
    """
    if engine not in ENGINES:
        raise UsageError(f"'{engine}' builds no images", hint=f"known are {', '.join(ENGINES)}")
    with ExitStack() as held:
        builder, why = _choose(engine, held, needs_secrets=needs_secrets)
        if needs_secrets and not builder.takes_secrets:
            raise RefusedError(
                f"Docker's classic builder would write the secrets into the image's history: {why}",
                hint="install docker's buildx plugin, or take --engine podman or buildah",
            )
        yield builder, why


def _choose(engine: str, held: ExitStack, *, needs_secrets: bool) -> tuple[Builder, str]:
    if engine in _DAEMONLESS:
        name = _DAEMONLESS[_DAEMONLESS.index(engine)]
        if shutil.which(name) is None:
            raise ToolMissingError(
                f"'{name}' is not installed",
                hint="install it, or choose another builder with --engine",
            )
        return PodmanBuilder(name), "it was asked for"
    try:
        client = held.enter_context(connect())
    except ToolMissingError as missing:
        other = _daemonless() if engine == "auto" else None
        if other is None:
            raise
        return other, missing.message
    if engine == "docker":
        return ClassicBuilder(client), "it was asked for"
    try:
        found = find_buildkit(client)
    except ToolMissingError as missing:
        if engine == "buildkit":
            raise
        other = _daemonless() if needs_secrets else None
        return other or ClassicBuilder(client), missing.message
    if engine == "buildkit":
        return BuildKitBuilder(client), "it was asked for"
    return BuildKitBuilder(client), f"docker has it ({found.version})"


def _daemonless() -> Builder | None:
    return next((PodmanBuilder(name) for name in _DAEMONLESS if shutil.which(name)), None)
