"""What is worth knowing of a deployment on Cloud Run before it is made: pure.

Wanted ──notes──► size, who reaches it, what Cloud Run does otherwise
       ──warnings──► what somebody may not have meant
       ──cost──► what the least number of replicas costs, where a table says so
"""

from __future__ import annotations

from modelpack.deploy import Cost
from modelpack_gcp import run_body
from modelpack_gcp.prices import of_instances
from modelpack_gcp.sizes import run_size
from modelpack_gcp.wanted import Wanted


def notes(wanted: Wanted) -> list[str]:
    """Return what is worth knowing; raises UsageError for what cannot be."""
    settings, size = wanted.settings, run_size(wanted.settings)
    wanted.flag("inside")  # heeded by the probe alone, and refused before anything is done
    found = [f"an instance has {size.describe()}", *_limits(wanted), *_who_reaches_it(wanted)]
    if wanted.flag("grpc"):
        found.append("it speaks gRPC alone, on its address and port 443 over TLS")
    if "service_account" not in wanted.options:
        found.append(
            "it runs as the default service account of Compute Engine; "
            "'--option service_account=EMAIL' gives it one with fewer rights"
        )
    if settings.secrets:
        found.append(
            "what it runs as must be let read its secrets (roles/secretmanager.secretAccessor)"
        )
    if settings.min_replicas == 0:
        found.append("nothing is kept while nobody asks, and nothing is paid for")
    elif cost(wanted) is None:
        found.append("what it costs is in no table of ours: see cloud.google.com/run/pricing")
    return found


def warnings(wanted: Wanted) -> list[str]:
    """Return what somebody may not have meant."""
    if not wanted.settings.public or run_body.invokers(wanted):
        return []
    is_open = run_body.way_in(wanted) == "all"
    who = "anybody on the internet" if is_open else "whoever reaches it"
    return [f"public without '--option invokers=…': {who} may call it"]


def cost(wanted: Wanted) -> Cost | None:
    """Return what the least number of replicas costs; None where no table says."""
    return of_instances(
        run_size(wanted.settings),
        wanted.settings.min_replicas,
        region=wanted.region,
        by_instance=run_body.is_whole(wanted),
        is_redundant=wanted.flag("zonal_redundancy"),
    )


def _limits(wanted: Wanted) -> list[str]:
    """Return where Cloud Run does less than is asked for."""
    settings, found = wanted.settings, []
    if settings.ready_timeout_s > run_body.MOST_START_S:
        found.append(f"Cloud Run gives a revision {run_body.MOST_START_S} s to be ready, no more")
    if (settings.in_flight or 0) > run_body.MOST_AT_ONCE:
        found.append(
            f"Cloud Run gives an instance {run_body.MOST_AT_ONCE} requests at once at most"
        )
    return found


def _who_reaches_it(wanted: Wanted) -> list[str]:
    """Return where it answers and to whom; nothing where that is everywhere to everybody."""
    way, is_public = run_body.way_in(wanted), wanted.settings.public
    if way == "all" and is_public:
        return []
    where = {
        "all": "on the internet",
        "balancer": "inside the project's network and through a load balancer",
        "internal": "inside the project's network alone",
    }
    return [f"it answers {where[way]}, to {'whoever asks' if is_public else 'who may invoke it'}"]
