"""Says where a service answers and how to call it, once it is ready.

    in this process:      ServiceSpec ──openapi_document──┐
                                                          ├─► first_call ──► URL, a curl line
    in a clean one:       GET /readyz, /openapi.json ─────┘

A bundle is served by a process that takes this one's place and knows nothing of terminals.  So a
small process of its own (``python -m modelpack.cli.announce URL PID``) waits until the service is
ready, says so, and ends; it also ends when the service does.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelpack.cli import console

EXAMPLE_FILE = "example.json"
MAX_BODY_CHARS = 2000
"""Longest example that is written out in a command line."""
_ASK_EVERY_S = 0.05
_OWN_TAGS = ("apis", "health")


@dataclass(frozen=True, slots=True)
class FirstCall:
    """How the first api of a service is called."""

    route: str
    example: Mapping[str, Any]
    keys: frozenset[str]
    required: frozenset[str]
    is_stream: bool

    def fits(self, body: object) -> bool:
        """Return whether the body has the keys of the api."""
        return isinstance(body, dict) and self.required <= set(body) <= self.keys


def first_call(document: Mapping[str, Any]) -> FirstCall | None:
    """Return the first api of an OpenAPI document of ours, if it has one."""
    for route, path in document["paths"].items():
        if "post" not in path:
            continue
        content = path["post"]["requestBody"]["content"]["application/json"]
        schema = content["schema"]
        answer = path["post"]["responses"]["200"]["content"]
        return FirstCall(
            route=route,
            example=content["example"],
            keys=frozenset(schema.get("properties", {})),
            required=frozenset(schema.get("required", ())),
            is_stream="application/x-ndjson" in answer,
        )
    return None


def contracts(document: Mapping[str, Any]) -> str:
    """Return the names of the other contracts in an OpenAPI document of ours: ``oip,kserve``."""
    names = [tag["name"] for tag in document["tags"]]
    return ",".join(name for name in names if name not in _OWN_TAGS) or "none"


def announce(url: str, call: FirstCall | None, speaks: str, *, folder: Path) -> None:
    """Print the URL; ``example.json`` in the folder is preferred to a body written out.

    ``speaks`` are the names of the other contracts that are on; "": nobody knows.
    """
    console.out(url)
    if speaks:
        console.note(f"speaks:   {speaks}")
    if call is None:
        return
    if line := curl_line(url, call, folder=folder):
        console.note(f"try it:   {line}")
    console.note(f"or open:  {url}/   (Ctrl-C stops the service)")


def curl_line(url: str, call: FirstCall, *, folder: Path) -> str | None:
    """Return a command that works in the folder, or None when it would be too long."""
    if call.fits(_example_in(folder)):
        body = f"@{EXAMPLE_FILE}"
    else:
        text = json.dumps(call.example, ensure_ascii=False)
        if len(text) > MAX_BODY_CHARS:
            return None
        body = shlex.quote(text)
    flags = "-sN" if call.is_stream else "-s"
    if url.startswith("https:"):
        flags += "k"  # its certificate is hardly one for an address of this machine
    return f"curl {flags} {url}{call.route} -H 'content-type: application/json' -d {body}"


def _example_in(folder: Path) -> object:
    try:
        with (folder / EXAMPLE_FILE).open("rb") as file:
            return json.loads(file.read(1024 * 1024))
    except (OSError, ValueError):
        return None


def announce_from_outside(url: str, folder: Path) -> None:
    """Start a process that announces this one, whatever it becomes, and wait until it is on its way."""
    import subprocess

    # -P: nothing in the current folder stands in for a module of Python.
    program = [sys.executable, "-P", "-m", "modelpack.cli.announce"]
    subprocess.run([*program, url, str(os.getpid()), str(folder)], check=False)


def _main(url: str, pid: int, folder: Path) -> None:
    """Wait for the service in the background: the caller goes on at once and has no child left."""
    if os.fork():
        os._exit(0)
    import http.client
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), *_tls_handlers(url))
    while _is_alive(pid):
        try:
            with opener.open(f"{url}/readyz", timeout=2):
                break
        except (OSError, http.client.HTTPException) as error:
            if url.startswith("https:") and isinstance(error, http.client.RemoteDisconnected):
                break  # it is there, but wants a certificate of its clients
            time.sleep(_ASK_EVERY_S)
    else:
        return
    try:
        with opener.open(f"{url}/openapi.json", timeout=5) as answer:
            document = json.load(answer)
            call, speaks = first_call(document), contracts(document)
    except (OSError, ValueError, KeyError, http.client.HTTPException):
        call, speaks = None, ""
    announce(url, call, speaks, folder=folder)


def _tls_handlers(url: str) -> list[Any]:
    """Return what speaks TLS with the server, whose certificate need not be for this address."""
    if not url.startswith("https:"):
        return []
    import ssl
    import urllib.request

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return [urllib.request.HTTPSHandler(context=context)]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
