"""Calls a service of Cloud Run as somebody whom it lets in.

    url ──identity token for its address──► GET or POST with it ──► Answer

A service that checks its callers wants an identity token, which service accounts and logins of gcloud
can have; without one the call is made as it is, and a public service answers.  Source: Cloud Run
documentation, "Authenticate service-to-service" (``Authorization: Bearer``, the audience is the URL).
"""

from __future__ import annotations

from urllib.parse import urlsplit

from modelpack.deploy import Answer
from modelpack.errors import ModelpackError
from modelpack_gcp.once import http
from modelpack_gcp.refusals import said
from modelpack_gcp.session import Google


def with_identity(google: Google, url: str, *, body: bytes | None, timeout_s: float) -> Answer:
    """Make one HTTP call with an identity token, if there is one; raises OSError without an answer."""
    parts = urlsplit(url)
    head = {"connection": "close"}
    if token := google.identity(f"{parts.scheme}://{parts.netloc}"):
        head["authorization"] = f"Bearer {token}"
    if body is not None:
        head["content-type"] = "application/json"
    try:
        with said("ask the service"):
            method = "GET" if body is None else "POST"
            response, content = http(timeout_s).request(url, method, body=body, headers=head)
    except ModelpackError as cause:
        raise OSError(cause.message) from cause
    return Answer(int(response.status), bytes(content))
