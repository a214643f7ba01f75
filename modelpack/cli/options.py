"""Options that several commands have, with one name, one form and one help."""

from __future__ import annotations

from typing import Annotated

import typer

ReplicasOption = Annotated[
    int | None,
    typer.Option("--replicas", metavar="N", help="how often the service is loaded (1)"),
]
RunnerOption = Annotated[
    str | None,
    typer.Option(
        "--runner", metavar="WHERE", help="inline, thread, process, or auto: as measured (auto)"
    ),
]
DevicesOption = Annotated[
    str | None,
    typer.Option("--devices", metavar="LIST", help="cpu, or such as cuda:0,cuda:1 (auto)"),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads", metavar="N", help="processor threads of each replica; 0: shared out (0)"
    ),
]
HeaderOption = Annotated[
    list[str] | None,
    typer.Option("-H", "--header", metavar="NAME:VALUE", help="one more header of each request"),
]
InsecureOption = Annotated[
    bool, typer.Option("--insecure", help="take any certificate of the server")
]
