"""Turns what a registry answers, and what the network does, into errors that say what to do.

    answer (status, body) ──refusal──────► LoginNeeded, NotFound, Refused, RegistryError
    exception of httpx ────unreachable──► UnreachableError, RefusedError for a certificate

What the other side says is shown in one short line and can steer nothing.
"""

from __future__ import annotations

import json
import socket
import ssl
from typing import TYPE_CHECKING

from modelpack.errors import (
    LoginNeededError,
    ModelpackError,
    NotFoundError,
    RefusedError,
    RegistryError,
    UnreachableError,
)

if TYPE_CHECKING:
    from modelpack.registry.transport import Answer

_MAX_SAID = 160


def refusal(answer: Answer, what: str, host: str) -> ModelpackError:
    """Return the error for an answer that is none of those hoped for.

    ``what`` says what was tried: ``push 'team/digits'``.
    """
    said = said_by(answer.data)
    told = f": {said}" if said else ""
    if answer.status == 401:
        return LoginNeededError(
            f"'{host}' wants a login to {what}{told}", hint=f"run 'modelpack login {host}'"
        )
    if answer.status == 403:
        return LoginNeededError(
            f"'{host}' does not permit to {what}{told}",
            hint=f"'modelpack login {host}' with an account that may, or ask who runs it",
        )
    if answer.status == 404:
        return NotFoundError(
            f"cannot {what}: '{host}' has nothing of that name{told}",
            hint="see whether the reference is right; some registries say so for want of a login, too",
        )
    if answer.status == 405:
        return RefusedError(f"'{host}' does not allow to {what}{told}", hint="it may be read-only")
    if answer.status == 413:
        return RegistryError(
            f"cannot {what}: it is too large for '{host}'{told}", hint="ask who runs it"
        )
    if answer.status == 429:
        return RegistryError(
            f"cannot {what}: '{host}' wants fewer requests{told}", hint="try again later, or log in"
        )
    return RegistryError(
        f"cannot {what}: '{host}' answered {answer.status}{told}",
        hint="try again later, or ask who runs it"
        if answer.status >= 500
        else "see whether it is a container registry",
    )


def unreachable(cause: Exception, host: str) -> ModelpackError:
    """Return the error for a request that got no answer."""
    causes = chain(cause)
    for one in causes:
        if isinstance(one, ssl.SSLCertVerificationError):
            why = one.verify_message or "it cannot be verified"
            return RefusedError(
                f"the certificate of '{host}' is not trusted: {why}",
                hint="name the certificate of its authority in SSL_CERT_FILE; "
                "'--insecure' looks at none",
            )
        if isinstance(one, ssl.SSLError):
            why = (one.reason or "it failed").lower().replace("_", " ")
            return UnreachableError(
                f"'{host}' does not speak TLS ({why})",
                hint="plain HTTP is spoken with this machine alone, or with '--insecure'",
            )
        if isinstance(one, socket.gaierror):
            return UnreachableError(
                f"cannot reach '{host}': no network, or no host of that name",
                hint="see whether the name is right and this machine has a network",
            )
        if isinstance(one, ConnectionRefusedError):
            return UnreachableError(
                f"cannot reach '{host}': nobody listens there",
                hint="see whether the port is right and the registry runs",
            )
    what = next((str(one) for one in causes if str(one)), type(cause).__name__)
    return UnreachableError(
        f"the connection to '{host}' failed: {line(what).lower()}",
        hint="run it again: what was moved already is not moved again",
    )


def is_final(cause: Exception) -> bool:
    """Say whether trying again cannot help: another name, another certificate is needed."""
    return any(
        isinstance(one, ssl.SSLError)
        or (isinstance(one, socket.gaierror) and one.errno != socket.EAI_AGAIN)
        for one in chain(cause)
    )


def said_by(data: bytes) -> str:
    """Return what the body of a refusal says, as one short line."""
    try:
        value = json.loads(data)
        first = value["errors"][0]
        text = str(first.get("message") or first.get("code") or "")
        detail = first.get("detail")
        if isinstance(detail, str) and detail and detail not in text:
            text = f"{text}: {detail}"
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return ""
    return line(text)


def line(text: str) -> str:
    """Return somebody else's text as one short line that can steer nothing."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    text = text if len(text) <= _MAX_SAID else text[: _MAX_SAID - 1] + "…"
    return text.rstrip(".")


def chain(cause: BaseException) -> list[BaseException]:
    """Return an exception and what led to it."""
    found: list[BaseException] = []
    one: BaseException | None = cause
    while one is not None and one not in found:
        found.append(one)
        one = one.__cause__ or one.__context__
    return found
