"""What Prometheus' operator is told: where metrics are, and when to ring.

    option monitoring=NAMESPACE ──► ServiceMonitor, PrometheusRule

The operator takes both by labels that its installation names (``release`` in many): what stands
under ``deploy.labels`` is on them, too.  The alerts are those of "Monitor a service", each for this
deployment alone.

Facts: Prometheus Operator, API reference, ``monitoring.coreos.com/v1`` (a ServiceMonitor's series get
the labels ``namespace``, ``service`` and ``pod``).
"""

from __future__ import annotations

from modelpack_kubernetes.scaling import IN_FLIGHT
from modelpack_kubernetes.wanted import PORT_NAME, Wanted
from modelpack_kubernetes.words import INSTANCE_LABEL, Json

_INTERVAL = "15s"


def objects(wanted: Wanted) -> list[Json]:
    """Return both objects, or none without the option."""
    if wanted.options.monitoring is None:
        return []
    return [_monitor(wanted), _rule(wanted)]


def _monitor(wanted: Wanted) -> Json:
    port = "metrics" if "metrics" in wanted.other_ports else PORT_NAME
    # By the pod's own port: a load balancer's Service does not show that of the metrics.
    endpoint = {"targetPort": port, "path": "/metrics", "interval": _INTERVAL}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": wanted.metadata(),
        "spec": {
            # Not by managed-by: on objects of a chart that is Helm's own word.
            "selector": {"matchLabels": {INSTANCE_LABEL: wanted.name}},
            "namespaceSelector": {"matchNames": [wanted.namespace]},
            "endpoints": [endpoint],
        },
    }


def _rule(wanted: Wanted) -> Json:
    rules = [
        {
            "alert": alert,
            "expr": expression.replace("@", _matchers(wanted)),
            "for": held,
            "labels": {"severity": severity, "deployment": wanted.name},
            "annotations": {"summary": f"{wanted.deployment}: {summary}"},
        }
        for alert, expression, held, severity, summary in _ALERTS
    ]
    group = {"name": f"modelpack-{wanted.name}", "rules": rules}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": wanted.metadata(),
        "spec": {"groups": [group]},
    }


def _matchers(wanted: Wanted) -> str:
    return f'namespace="{wanted.namespace}",service="{wanted.name}"'


# Name, PromQL (``@`` stands for the matchers), how long it must hold, severity, what is wrong.
_ALERTS = (
    (
        "ModelpackRequestsFail",
        (
            "sum by (api) (rate(modelpack_failed_requests_total{@}[5m]))"
            " / sum by (api) (rate(modelpack_requests_total{@}[5m])) > 0.01"
        ),
        "5m",
        "critical",
        "more than 1 % of the requests to {{ $labels.api }} fail, its log says why",
    ),
    (
        "ModelpackOverloaded",
        'sum by (api) (rate(modelpack_refused_requests_total{@,reason="overloaded"}[5m])) > 0',
        "5m",
        "warning",
        "{{ $labels.api }} refuses requests, it needs more replicas",
    ),
    (
        "ModelpackAlmostFull",
        "sum(rate(modelpack_batch_duration_seconds_sum{@}[10m])) / sum(modelpack_runners{@}) > 0.8",
        "15m",
        "warning",
        "its runners are busy four fifths of the time",
    ),
    (
        "ModelpackSlowAnswers",
        (
            "histogram_quantile(0.99, sum by (api, le)"
            " (rate(modelpack_request_duration_seconds_bucket{@}[5m]))) > 0.5"
        ),
        "10m",
        "warning",
        "one of a hundred requests to {{ $labels.api }} takes more than half a second",
    ),
    (
        "ModelpackRunnersAreLost",
        "sum by (kind) (increase(modelpack_runner_restarts_total{@}[15m])) > 3",
        "1m",
        "warning",
        "runners crash or hang, its log says which",
    ),
    (
        "ModelpackNothingCanRun",
        "sum(modelpack_runners{@}) == 0",
        "1m",
        "critical",
        "it has no runner and is not ready",
    ),
    (
        "ModelpackRequestsWait",
        f"sum({IN_FLIGHT}{{@}}) > 0 and sum(rate(modelpack_requests_total{{@}}[5m])) == 0",
        "5m",
        "critical",
        "requests wait and none is answered",
    ),
)
