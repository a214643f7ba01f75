"""What the head of a submission says: the client's own key, whom to tell, how long a client waits.

Idempotency-Key: "8e03978e"         the same key and body again: the same task
                                    (draft-ietf-httpapi-idempotency-key-header; with or without
                                    the quotes of a structured field)
Modelpack-Webhook: https://…        who is told when the task is over
X-Request-Timeout-Ms: 60000         longest that a run of it may take
Prefer: wait=10                     of whoever asks how it stands: not before it is over, or 10 s
                                    (RFC 7240)
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.types import Scope

from modelpack.server.problems import Problem, RefusedRequest, bad_header, bad_query
from modelpack.server.tasks.webhooks import Hosts

Fields = Mapping[bytes, bytes]

KEY = b"idempotency-key"
WEBHOOK = b"modelpack-webhook"
PREFER = b"prefer"

MAX_WAIT_S = 60.0
"""Longest that an answer about a task is held back."""

_MOST_ASKED = 16
_KEPT = (b"content-type", b"content-encoding", b"accept")
_KEPT_TOO = (b"traceparent", b"tracestate", b"modelpack-priority")
_OURS = b"modelpack-"
_KEY = re.compile(rb'"([\x20-\x21\x23-\x5b\x5d-\x7e]{1,255})"|([\x21\x23-\x7e][\x21-\x7e]{0,254})')
_WAIT = re.compile(rb"(?:^|[,;])\s*wait\s*=\s*(\d{1,6})\s*(?=$|[,;])")


def kept_fields(fields: Fields) -> dict[str, str]:
    """Return the header fields that a run needs: of the body, of the answer, no others.

    What says who the client is (cookies, tokens) is not kept.
    """
    return {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in fields.items()
        if name != WEBHOOK and (name in _KEPT or name in _KEPT_TOO or name.startswith(_OURS))
    }


def fingerprint(api: str, fields: Mapping[str, str], body: bytes) -> str:
    """Return a digest of what is submitted; who goes first and traces do not belong to it."""
    digest = hashlib.sha256(api.encode())
    for name in sorted(fields):
        if name.encode("latin-1") not in _KEPT_TOO:
            digest.update(f"\n{name}:{fields[name]}".encode())
    digest.update(b"\n\n")
    digest.update(body)
    return digest.hexdigest()


def key_of(fields: Fields) -> str | None:
    """Return the client's own key; raises RefusedRequest (400)."""
    value = fields.get(KEY)
    if value is None:
        return None
    found = _KEY.fullmatch(value.strip())
    if found is None:
        expected = "up to 255 printable characters"
        raise RefusedRequest(bad_header("Idempotency-Key", expected, value))
    return (found[1] or found[2]).decode("latin-1")


def webhook_of(fields: Fields, hosts: Hosts) -> str | None:
    """Return whom to tell; raises RefusedRequest (403) for somebody who is not allowed."""
    value = fields.get(WEBHOOK)
    if value is None:
        return None
    url = value.decode("latin-1")
    if (why := hosts.check(url)) is not None:
        raise RefusedRequest(Problem(403, "webhook-refused", "webhook refused", why))
    return url


def query_of(scope: Scope) -> dict[str, str]:
    """Return what stands behind the ``?`` of a URL; raises RefusedRequest (400)."""
    try:
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), max_num_fields=_MOST_ASKED)
    except ValueError:
        raise RefusedRequest(bad_query(f"at most {_MOST_ASKED} names and values")) from None
    return dict(reversed(pairs))  # of equal names the first counts


def wait_of(fields: Fields, limit_s: float) -> float:
    """Return how long the client would wait, in seconds; preferences that are not known count 0."""
    found = _WAIT.search(fields.get(PREFER, b"").lower())
    return 0.0 if found is None else min(float(found[1]), limit_s, MAX_WAIT_S)
