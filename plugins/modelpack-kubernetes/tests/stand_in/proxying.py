"""Who answers behind the API server's proxy: a pod that is ready."""

from __future__ import annotations

from typing import Any

from . import pods
from .refusals import Refused
from .selectors import Selector
from .store import Item, Store


def proxied(store: Store, asked: Any) -> Item:
    """Return the pod that is asked behind the API server's proxy; raises Refused."""
    scheme, name, port = _parts(str(asked.name))
    space = asked.namespace or ""
    if scheme not in ("", "http"):
        raise Refused(503, "ServiceUnavailable", "tls: first record does not look like TLS")
    if asked.kind.kind == "Pod":
        pod = store.get(asked.kind, space, name)
        known = [
            one["containerPort"] for one in pod.value["spec"]["containers"][0].get("ports", ())
        ]
        if not pods.is_ready(pod) or (port and int(port) not in known):
            raise Refused(503, "ServiceUnavailable", "error trying to reach service: refused")
        return pod
    service = store.get(asked.kind, space, name)
    named = {str(one.get("name", "")) for one in service.value["spec"]["ports"]}
    named |= {str(one["port"]) for one in service.value["spec"]["ports"]}
    selector = Selector(equal=service.value["spec"].get("selector") or {})
    pod_kind = store.named("Pod")
    takes = [one for one in store.list(pod_kind, space) if selector.takes(one.value)]
    ready = [one for one in takes if pods.is_ready(one)]
    if not ready or (port and port not in named):
        raise Refused(503, "ServiceUnavailable", f'no endpoints available for service "{name}"')
    return ready[store.version % len(ready)]


def _parts(name: str) -> tuple[str, str, str]:
    words = name.split(":")
    if len(words) == 1:
        return "", name, ""
    return ("", *words) if len(words) == 2 else (words[0], words[1], words[2])  # type: ignore[return-value]
