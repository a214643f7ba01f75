"""What ``modelpack call`` does once its words are understood.

words ──aim_of──► URL, api            the server named, else the only one that runs here
Given ──arguments_of──► arguments     --input, --set, --example
Client.call ──► Answer ──► stdout     text, json or npy; the pieces of a stream as they come
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelpack.cli import console
from modelpack.client import inputs, values
from modelpack.client.schema import Api, Service
from modelpack.client.sync import Client, Stream
from modelpack.errors import NotFoundError, UsageError, did_you_mean

STDIN = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What is to be sent, as the words say it."""

    file: str | None = None
    kind: str | None = None
    """What the file is; None: guessed."""
    sets: tuple[str, ...] = ()
    is_example: bool = False


def aim_of(words: Sequence[str]) -> tuple[str, str | None]:
    """Return the URL of a server and the name of an api, None for the only one.

    Raises UsageError and NotFoundError when there is no such server, or more than one.
    """
    if len(words) > 2:
        raise UsageError("'modelpack call' takes a server and an api", hint="and no third word")
    if words and _is_address(words[0]):
        url = words[0] if "://" in words[0] else f"http://{words[0]}"
        return url, words[1] if len(words) > 1 else None
    from modelpack.cli.running import all_running, find

    running = all_running()
    if len(words) == 2:
        return _reachable(find(words[0]).url), words[1]
    if words and any(words[0] in one.names for one in running):
        return _reachable(find(words[0]).url), None
    if not running:
        hint = "name its URL, or start one with 'modelpack serve'"
        raise NotFoundError("no server runs here", hint=hint)
    if len(running) > 1:
        names = ", ".join(f"{one.service} ({one.pid})" for one in running[:5])
        raise UsageError(f"{len(running)} servers run here", hint=f"name one: {names}")
    return _reachable(running[0].url), words[0] if words else None


def _is_address(word: str) -> bool:
    """Say whether a word is a URL, or a host and a port."""
    host, colon, port = word.rpartition(":")
    return "://" in word or bool(colon and host and port.isdigit())


def _reachable(url: str) -> str:
    """Return the URL of a server here; one that listens everywhere listens on the loopback too."""
    for everywhere, here in (("//0.0.0.0:", "//127.0.0.1:"), ("//[::]:", "//[::1]:")):
        url = url.replace(everywhere, here)
    return url


def opened(url: str, **options: Any) -> Client:
    """Return a client; raises UsageError."""
    return Client(url, **options)


def call(
    client: Client, name: str | None, given: Given, form: str, *, is_told: bool = False
) -> None:
    """Call an api and print what it answers."""
    service = client.service
    api = chosen(service, name)
    arguments = arguments_of(api, given)
    try:
        answer = client.call(api.name, arguments)
    except TypeError as error:
        raise UsageError(str(error), hint="--input, --set or --example give arguments") from None
    if is_told:
        times = f", {answer.attempts} attempts" if answer.attempts > 1 else ""
        took = console.duration(answer.seconds)
        console.note(f"status {answer.status} in {took}{times}, request '{answer.request_id}'")
    if isinstance(answer.value, Stream):
        with answer.value as stream:
            print_stream(stream, form)
    else:
        print_value(answer.value, form)


def chosen(service: Service, name: str | None) -> Api:
    """Return the api that is meant; raises NotFoundError and UsageError."""
    apis = service.apis
    if name is not None:
        found = apis.get(name) or next((one for one in apis.values() if one.route == name), None)
        if found is not None:
            return found
        near = did_you_mean(name, apis)
        hint = f"did you mean '{near}'?" if near else f"it has: {', '.join(list(apis)[:10])}"
        raise NotFoundError(f"'{service.name}' has no api '{name}'", hint=hint)
    if len(apis) == 1:
        return next(iter(apis.values()))
    names = ", ".join(list(apis)[:10])
    raise UsageError(f"'{service.name}' has {len(apis)} apis", hint=f"name one: {names}")


def arguments_of(api: Api, given: Given) -> dict[str, Any]:
    """Return what is sent; raises UsageError and NotFoundError."""
    arguments: dict[str, Any] = {}
    if given.is_example:
        if not isinstance(api.example, dict):
            raise UsageError(f"the server shows no example of '{api.name}'")
        arguments.update(api.example)
    if given.kind is not None and given.kind not in inputs.KINDS:
        raise UsageError(f"--as: must be {', '.join(inputs.KINDS)}, got '{given.kind}'")
    if given.file is not None:
        name, data = _read(given.file)
        arguments.update(inputs.arguments_of(api, data, name, given.kind))
    for word in given.sets:
        arguments.update(_set(api, word))
    return arguments


def _set(api: Api, word: str) -> dict[str, Any]:
    name, sign, text = word.partition("=")
    if not sign:
        raise UsageError(f"--set: must be NAME=VALUE, got '{word[:60]}'")
    parameter = api.parameter(name)
    if parameter is None:
        near = did_you_mean(name, [one.name for one in api.parameters])
        called = f"it is called as {api.name}{api.signature}"
        hint = f"did you mean '{near}'?" if near else called
        raise UsageError(f"--set: '{api.name}' has no parameter '{name}'", hint=hint)
    if not text.startswith("@"):
        return {name: inputs.value_of(parameter, text)}
    file, data = _read(text[1:])
    alone = Api(name=api.name, route=api.route, parameters=(parameter,))
    return inputs.arguments_of(alone, data, file)


def _read(file: str) -> tuple[str, bytes]:
    """Return the name and the bytes of a file, or of standard input."""
    if file == STDIN:
        return STDIN, sys.stdin.buffer.read()
    try:
        return file, Path(file).read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"no file '{file}'") from None
    except IsADirectoryError:
        hint = "give a file; 'modelpack batch' reads folders"
        raise UsageError(f"'{file}' is a folder", hint=hint) from None


def print_value(value: Any, form: str) -> None:
    """Write an answer to standard output; raises UsageError for a form that it does not have."""
    if form == "npy":
        _write_npy(value)
    elif isinstance(value, bytes):
        _write_bytes(value)
    elif form == "json":
        console.out(values.dump(value).decode())
    else:
        for line in _lines(value):
            console.out(line)


def print_stream(pieces: Iterable[Any], form: str) -> None:
    """Write the pieces of a stream as they come; texts stand behind each other, as in a talk."""
    if form == "npy":
        raise UsageError("a stream has no form as .npy", hint="use -o json")
    is_open = False
    for piece in pieces:
        if form == "text" and isinstance(piece, str):
            console.out_part(_harmless(piece))
            is_open = not piece.endswith("\n")
            continue
        if is_open:
            console.out("")
            is_open = False
        console.out(values.dump(piece).decode())
    if is_open:
        console.out("")


def _lines(value: Any) -> Iterable[str]:
    """Return the lines of an answer for people: a list or an array has an entry a line."""
    if isinstance(value, str):
        return [_harmless(value)]
    if values.is_array(value) and getattr(value, "ndim", None):
        return [_line(row) for row in value]
    if isinstance(value, list | tuple) and value:
        return [_line(one) for one in value]
    return [_line(value)]


def _line(value: Any) -> str:
    return _harmless(value) if isinstance(value, str) else values.dump(value).decode()


def _harmless(text: str) -> str:
    """Return a text that does not steer a terminal; into a file it goes as it is."""
    if not console.is_terminal(sys.stdout):
        return text
    return "\n".join(console.harmless(line) for line in text.split("\n"))


def _write_bytes(data: bytes) -> None:
    if sys.stdout.isatty():
        raise UsageError(
            f"the answer is a file of {len(data)} bytes", hint="write it to one: > FILE"
        )
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _write_npy(value: Any) -> None:
    import io

    import numpy as np

    if isinstance(value, dict) and len(value) == 1:
        (value,) = value.values()
    try:
        array = np.asarray(value)
    except ValueError:  # of unequal lengths
        array = np.empty(0, object)
    if array.dtype.kind not in "biuf":
        raise UsageError("the answer is no array of numbers", hint="use -o json")
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    _write_bytes(file.getvalue())
