"""The options of ``build`` that say how dependencies are locked, and what goes in with the lock."""

from __future__ import annotations

from typing import Annotated

import typer

RelockOption = Annotated[
    bool, typer.Option("--relock", help="resolve the dependencies again, to newer versions")
]
PlatformOption = Annotated[
    list[str] | None,
    typer.Option(
        "--platform",
        metavar="LIST",
        help="platforms to lock for, such as linux/amd64,linux/arm64 (this machine's)",
    ),
]
PythonOption = Annotated[
    str | None, typer.Option("--python", metavar="X.Y", help="Python to lock for (this one)")
]
TorchBackendOption = Annotated[
    str | None,
    typer.Option(
        "--torch-backend", metavar="BUILD", help="Torch for cpu, cu126 or such; auto: as here"
    ),
]
WithWheelsOption = Annotated[
    bool,
    typer.Option(
        "--with-wheels", help="pack every package too, so that images are built with no network"
    ),
]
ProveOption = Annotated[
    bool,
    typer.Option(
        "--prove", help="install the lock and import the service before anything is stored"
    ),
]
