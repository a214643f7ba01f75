"""Calls the apis of a server that runs somewhere, as if they were here.

    with modelpack.Client("http://127.0.0.1:3000") as client:
        client.predict(x=array)

    Client, AsyncClient       sync, aio       what a program holds; they differ in how they wait
      └─ calling              calls           one call, step by step: describe, encode, send, repeat
           ├─ schema          what a server offers, read from its /openapi.json
           ├─ bodies, values  arguments ──► body, answer ──► values
           ├─ retry           whether and when a request is sent again
           └─ Dialect         http, rpc       how all of that looks on the wire
      └─ Wire                 wire, wire_aio  connections that are kept, with TLS and proxies

``openapi`` reads the documents of any server, for commands that do not call through a client.
Nothing of the server is imported, and nothing that the runtime does not bring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelpack.client.aio import AsyncClient
    from modelpack.client.errors import (
        CallError,
        CallForbiddenError,
        CallLostError,
        CallOverloadedError,
        CallRefusedError,
        CallTimeoutError,
        CallUnknownError,
    )
    from modelpack.client.reply import Answer
    from modelpack.client.retry import Retry
    from modelpack.client.sync import Client

__all__ = [
    "Answer",
    "AsyncClient",
    "CallError",
    "CallForbiddenError",
    "CallLostError",
    "CallOverloadedError",
    "CallRefusedError",
    "CallTimeoutError",
    "CallUnknownError",
    "Client",
    "Retry",
]

_HOMES = {
    "Answer": "modelpack.client.reply",
    "AsyncClient": "modelpack.client.aio",
    "Client": "modelpack.client.sync",
    "Retry": "modelpack.client.retry",
}
"""Where names are from; the others are errors."""


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module 'modelpack.client' has no attribute '{name}'")
    value = getattr(import_module(_HOMES.get(name, "modelpack.client.errors")), name)
    globals()[name] = value
    return value
