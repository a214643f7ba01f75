"""``modelpack call``: the words of the command; what it does with them stands in ``calling``.

URL or SERVER, API, --input, --set ──► one call ──► its answer on standard output
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from modelpack.cli.options import HeaderOption, InsecureOption


class Form(StrEnum):
    """Forms in which an answer is printed."""

    TEXT = "text"
    JSON = "json"
    NPY = "npy"


def call(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="URL|SERVER API",
            help="a server and one of its apis; default: the only one that runs here, its only api",
        ),
    ] = None,
    *,
    file: Annotated[
        str | None,
        typer.Option(
            "-i",
            "--input",
            metavar="FILE",
            help=".json, .csv, .npy, .npz, .jsonl, .txt, an image …; - is standard input",
        ),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="one parameter: text, JSON, or @FILE for a file"
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--as", metavar="KIND", help="what --input is, whatever its name says"),
    ] = None,
    example: Annotated[
        bool, typer.Option("--example", help="send the example that the server shows")
    ] = False,
    form: Annotated[
        Form,
        typer.Option(
            "-o", "--format", metavar="text|json|npy", help="how the answer is printed (text)"
        ),
    ] = Form.TEXT,
    info: Annotated[
        bool, typer.Option("--info", help="say also how long it took, and the request's id")
    ] = False,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="TIME", help="longest that it takes in all (60s)")
    ] = "60s",
    attempts: Annotated[
        int,
        typer.Option(
            "--attempts", metavar="N", min=1, help="how often a server that is busy is asked (4)"
        ),
    ] = 4,
    priority: Annotated[
        str | None,
        typer.Option("--priority", metavar="high|normal|low", help="who is taken first"),
    ] = None,
    header: HeaderOption = None,
    only_json: Annotated[
        bool, typer.Option("--json", help="send arrays as JSON, not as bytes")
    ] = False,
    ca: Annotated[
        Path | None,
        typer.Option("--ca", metavar="FILE", help="authorities that the server is believed by"),
    ] = None,
    cert: Annotated[
        Path | None, typer.Option("--cert", metavar="FILE", help="certificate of ours")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="key of that certificate")
    ] = None,
    insecure: InsecureOption = False,
) -> None:
    """
    $ modelpack call http://127.0.0.1:3000 predict --input digits.npy
    $ modelpack call digits --set x='[[5.1, 3.5, 1.4, 0.2]]'

    Call an api of a server and print its answer.

    What a file holds is known by its name, else by its bytes: an object with the parameters, a table
    of rows, an array, an image. A stream is printed as it comes. As text, lists and arrays have an
    entry a line; as JSON, an answer has one line.

    A server that is busy, or cannot be reached, is asked again within the time. SERVER is the name,
    process id or port of one that 'modelpack servers list' shows; grpc://HOST:PORT speaks gRPC.
    """
    from modelpack.bench.load import parse_seconds
    from modelpack.cli import calling
    from modelpack.cli.bench_runs import headers_of
    from modelpack.client.retry import Retry
    from modelpack.errors import UsageError

    try:
        timeout_s = parse_seconds(timeout)
    except ValueError as error:
        raise UsageError(f"--timeout: {error}") from None
    url, api = calling.aim_of(words or [])
    given = calling.Given(file=file, kind=kind, sets=tuple(sets or ()), is_example=example)
    with calling.opened(
        url,
        timeout_s=timeout_s,
        retry=Retry(attempts=attempts),
        priority=priority,
        headers=headers_of(header or ()),
        form="json" if only_json else "auto",
        verify=not insecure,
        ca=ca,
        cert=cert,
        key=key,
    ) as client:
        calling.call(client, api, given, form.value, is_told=info)
