"""Who reaches the service, and by which way.

    Service        inside the cluster; without a way in of its own, ``network.public`` and
                   ``network.allow`` make it a load balancer of the cloud
    Ingress        with the option ``ingress``, or
    HTTPRoute      with ``gateway``: the way in from outside
    NetworkPolicy  who may call a pod: its namespace and what stands for the API server; the way in;
                   Prometheus; the addresses of ``network.allow``; everybody when it is public

Private unless it is said otherwise.  Who a service itself may call is not limited.

Facts: Kubernetes documentation, "Service" (``loadBalancerSourceRanges``, ``appProtocol``), "Network
Policies" (what a node sends to its own pods is always let in; selectors see pods, not clients
behind a proxy; ``kubernetes.io/metadata.name``); Gateway API, "HTTPRoute"; ingress-nginx,
"Annotations" (``whitelist-source-range``).
"""

from __future__ import annotations

from modelpack.errors import UsageError
from modelpack_kubernetes.wanted import PORT_NAME, SERVICE_PORT, Wanted
from modelpack_kubernetes.words import Json

_NAMESPACE = "kubernetes.io/metadata.name"
_SYSTEM = "kube-system"
"""Where the agents stand by which API servers of clouds reach pods, for ``…/proxy`` requests."""

_NGINX = "nginx"


def check(wanted: Wanted) -> None:
    """Raise UsageError for ways in that nobody asked for, or that cannot be kept narrow."""
    options, settings = wanted.options, wanted.settings
    way = "ingress" if options.ingress is not None else "gateway"
    if options.ingress is None and options.gateway is None:
        return
    if not wanted.is_open:
        raise UsageError(
            f"option '{way}': opens a service that 'network.public' keeps in the cluster",
            hint="set network.public to true, or network.allow to who may call",
        )
    if settings.allow and options.ingress != _NGINX:
        raise UsageError(
            f"deploy.network.allow: a proxy such as this {way} hides who calls",
            hint="limit it there, and set network.public; 'ingress=nginx' is told by us",
        )


def service(wanted: Wanted) -> Json:
    """Return the Service before the pods of both tracks."""
    ports: list[Json] = [
        {
            "name": PORT_NAME,
            "port": SERVICE_PORT,
            "targetPort": PORT_NAME,
            "protocol": "TCP",
            "appProtocol": "http",
        }
    ]
    words = {"grpc": "kubernetes.io/h2c", "metrics": "http"}
    ports += [
        {
            "name": name,
            "port": number,
            "targetPort": name,
            "protocol": "TCP",
            "appProtocol": words[name],
        }
        for name, number in wanted.other_ports.items()
        if not (name == "metrics" and _is_balanced(wanted))
    ]
    spec: Json = {"type": "ClusterIP", "selector": wanted.selector(), "ports": ports}
    if _is_balanced(wanted):
        spec["type"] = "LoadBalancer"
        if wanted.settings.allow:
            spec["loadBalancerSourceRanges"] = list(wanted.settings.allow)
            # Kept as they are, so that the NetworkPolicy sees who calls.
            spec["externalTrafficPolicy"] = "Local"
    return {"apiVersion": "v1", "kind": "Service", "metadata": wanted.metadata(), "spec": spec}


def network_policy(wanted: Wanted) -> Json:
    """Return who may call the pods."""
    port = {"port": PORT_NAME, "protocol": "TCP"}
    others = {name: {"port": name, "protocol": "TCP"} for name in wanted.other_ports}
    callers: list[Json] = [
        {"podSelector": {}},
        {"namespaceSelector": {"matchLabels": {_NAMESPACE: _SYSTEM}}},
    ]
    options, settings = wanted.options, wanted.settings
    if options.ingress is not None or options.gateway is not None:
        callers.append({"namespaceSelector": {}})  # where its proxy stands is not known
    else:
        callers += [{"ipBlock": {"cidr": block}} for block in settings.allow]
    to = [port, *(others[name] for name in others if name != "metrics")]
    rules: list[Json] = [{"from": callers, "ports": to}]
    if settings.public and not settings.allow:  # proxies of clouds are no pods of any namespace
        rules = [{"ports": to}]
    if options.monitoring is not None:
        scraper = {"namespaceSelector": {"matchLabels": {_NAMESPACE: options.monitoring}}}
        rules.append({"from": [scraper], "ports": [others.get("metrics", port)]})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": wanted.metadata(),
        "spec": {
            "podSelector": {"matchLabels": wanted.selector()},
            "policyTypes": ["Ingress"],
            "ingress": rules,
        },
    }


def way_in(wanted: Wanted) -> Json | None:
    """Return the Ingress or the HTTPRoute; None: there is none.  Raises UsageError."""
    check(wanted)
    if wanted.options.ingress is not None:
        return _ingress(wanted)
    return _route(wanted) if wanted.options.gateway is not None else None


def _ingress(wanted: Wanted) -> Json:
    options, annotations = wanted.options, {}
    if wanted.settings.allow:
        key = "nginx.ingress.kubernetes.io/whitelist-source-range"
        annotations[key] = ",".join(wanted.settings.allow)
    backend = {"service": {"name": wanted.name, "port": {"name": PORT_NAME}}}
    rule: Json = {"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    if options.hostname is not None:
        rule = {"host": options.hostname, **rule}
    spec: Json = {"ingressClassName": options.ingress, "rules": [rule]}
    if options.tls is not None:
        hosts = [options.hostname] if options.hostname is not None else []
        spec["tls"] = [{"hosts": hosts, "secretName": options.tls}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": wanted.metadata(**annotations),
        "spec": spec,
    }


def _route(wanted: Wanted) -> Json:
    options = wanted.options
    parent: Json = {"name": str(options.gateway).rpartition("/")[2]}
    if options.gateway_namespace is not None:
        parent["namespace"] = options.gateway_namespace
    spec: Json = {
        "parentRefs": [parent],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [{"name": wanted.name, "port": SERVICE_PORT}],
            }
        ],
    }
    if options.hostname is not None:
        spec["hostnames"] = [options.hostname]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": wanted.metadata(),
        "spec": spec,
    }


def _is_balanced(wanted: Wanted) -> bool:
    """Return whether the Service itself is the way in."""
    options = wanted.options
    return wanted.is_open and options.ingress is None and options.gateway is None
