"""Asks a service from inside its own container, where nobody can reach it from here.

    ask(engine, container) ──► Fetch ──Engine.run──► python in the container ──► 127.0.0.1

For engines on other machines: the probe of a deploy then checks version and examples as it does for
one on this machine.  The answer comes back as text, status first.
"""

from __future__ import annotations

import base64

from modelpack.deploy.engine import Engine
from modelpack.deploy.probe import Answer, Fetch
from modelpack.errors import EngineError

_PROGRAM = """\
import base64, sys, urllib.error, urllib.request
url, body, timeout = sys.argv[1:]
data = base64.b64decode(body) if body != "-" else None
request = urllib.request.Request(url, data=data, method="GET" if data is None else "POST")
if data is not None:
    request.add_header("content-type", "application/json")
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
try:
    answer = opener.open(request, timeout=float(timeout))
except urllib.error.HTTPError as error:
    answer = error
except OSError as error:
    sys.exit(str(error))
read = answer.read1 if answer.length is None else answer.read
print(answer.status, base64.b64encode(read(8 << 20)).decode())
"""


def asking_inside(engine: Engine, container: str, python: str) -> Fetch:
    """Return what makes HTTP calls in a container; it raises OSError when there is no answer."""

    def ask(url: str, *, body: bytes | None = None, timeout_s: float) -> Answer:
        sent = "-" if body is None else base64.b64encode(body).decode()
        argv = [python, "-I", "-S", "-c", _PROGRAM, url, sent, str(timeout_s)]
        try:
            status, said = engine.run(container, argv)
        except EngineError as cause:
            raise OSError(cause.message) from cause
        if status != 0:
            raise OSError(said.strip()[-200:] or f"exit {status}")
        code, _, text = said.strip().partition(" ")
        return Answer(int(code), base64.b64decode(text))

    return ask
