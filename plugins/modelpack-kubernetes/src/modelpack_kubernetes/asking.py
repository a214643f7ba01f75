"""How the probe reaches a service that has no address outside its cluster.

    http://NAME.NAMESPACE.svc/readyz ──► …/services/http:NAME:80/proxy/readyz of the API server

The URL is the one that callers in the cluster use; from here the API server passes the call on.  Where
it may not, or does not reach the pods, the cluster's own readiness probe decides alone.  A URL of
KServe or Knative is asked as it is.

The API server passes on the Host that it was asked by (Kubernetes, apimachinery, ``util/proxy``): its
own name, to which a service shows no pages.  So what is refused for that is asked by the service's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from modelpack.deploy import Answer
from modelpack.deploy.probe import fetch
from modelpack_kubernetes.cluster import Cluster
from modelpack_kubernetes.kinds import SERVICE
from modelpack_kubernetes.wanted import SERVICE_PORT

_REACH_S = 5.0
_REFUSED = b"host-refused"


@dataclass(frozen=True, slots=True)
class Asking:
    """Asks the services of one namespace."""

    cluster: Cluster

    def url_of(self, service: str) -> str:
        """Return the URL of a service inside its cluster."""
        return f"http://{service}.{self.cluster.namespace}.svc"

    def fetch(self, url: str, *, body: bytes | None, timeout_s: float) -> Answer | None:
        """Ask through the API server; None: the URL is none of the cluster's own.

        Raises OSError when the service is not reached.
        """
        service, parts = self._service(url), urlsplit(url)
        if service is None:
            return None
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        ask = partial(
            self.cluster.proxy,
            SERVICE,
            f"http:{service}:{parts.port or SERVICE_PORT}",
            path,
            body=body,
            timeout_s=timeout_s,
        )
        answer = ask()
        is_of_its_host = answer.status == 403 and _REFUSED in answer.body
        return ask(host=parts.hostname) if is_of_its_host else answer

    def reaches(self, url: str) -> bool:
        """Return whether a service answers from here at all, whatever it says."""
        try:
            ready = f"{url}/readyz"
            if self.fetch(ready, body=None, timeout_s=_REACH_S) is None:
                fetch(ready, timeout_s=_REACH_S)
        except (OSError, ValueError):
            return False
        return True

    def _service(self, url: str) -> str | None:
        """Return the service of a URL inside the cluster."""
        host = urlsplit(url).hostname or ""
        for suffix in (".svc", ".svc.cluster.local"):
            if host.endswith(f".{self.cluster.namespace}{suffix}"):
                return host.removesuffix(f".{self.cluster.namespace}{suffix}")
        return None
