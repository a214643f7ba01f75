"""How the probe calls a service: as a mode does it, or at its URL.

At an emulator every host name leads to the one address that it listens on, where the ``Host`` header
says whom the call is for.
"""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

from modelpack.deploy import Answer


def call_at(endpoint: str, url: str, *, body: bytes | None, timeout_s: float) -> Answer:
    """Call the service of a URL at an emulator's address; raises OSError when it does not answer."""
    where, what = urlsplit(endpoint), urlsplit(url)
    connection = http.client.HTTPConnection(
        where.hostname or "127.0.0.1", where.port or 80, timeout=timeout_s
    )
    headers = {"Host": what.netloc}
    if body is not None:
        headers["Content-Type"] = "application/json"
    try:
        path = what.path or "/"
        connection.request("GET" if body is None else "POST", path, body=body, headers=headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read())
    except http.client.HTTPException as cause:
        raise OSError(f"not an HTTP answer: {type(cause).__name__}") from cause
    finally:
        connection.close()
