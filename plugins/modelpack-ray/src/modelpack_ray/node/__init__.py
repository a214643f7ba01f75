"""The part that runs on the nodes of a Ray cluster, as the package ``modelpack_ray_node``.

    Serve ──app(args)──► replica: Service ──► environment ──► Child: the bundle's server (loopback)
    request ──Ray's proxy──► Relay (ASGI) ───────HTTP/1.1──────┘ answer, piece by piece

It is sent to the cluster as a package, so nothing of modelpack has to be installed on a node: it
imports the standard library, Ray Serve and aiohttp, which Ray Serve brings.  The server runs in an
environment of its own, made of the bundle's lock: Ray's packages and the service's never meet.

Source: Ray's documentation, "Serve config files" (``import_path``, ``args``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SERVICE = "service"
"""Name of the deployment of Serve that answers."""
ANCHOR = "anchor"
"""Name of the one that only holds on to the packages."""


def app(args: Mapping[str, Any]) -> Any:
    """Return the application of Serve; called by Serve on a node.

    ``args``: ``bundle`` tag, ``env`` variables of the service, ``grace_s``, ``anchor`` whether to
    hold on to the packages.
    """
    from ray import serve

    from .relay import Relay
    from .service import Anchor, Service

    order = dict(args)
    service = serve.deployment(serve.ingress(Relay())(Service), name=SERVICE)
    if not order.get("anchor"):
        return service.bind(order)
    return service.bind(order, serve.deployment(Anchor, name=ANCHOR).bind())
