"""Who gets which share of an endpoint's calls.

    put      the endpoint as a whole: traffic, tags, identity
    move     other shares, and with them the marks of what is healthy and what is meant to run
    mirror   a copy of some calls for the new deployment, whose answers nobody sees, watched
    canary   a share for the new deployment, watched; or left so until the next deploy
    let_go   deployments that have no part in it are deleted, with their rules of scaling

Azure mirrors at most half of the calls, and to a deployment alone that has no share of them (Azure
Machine Learning, "Safe rollout for online endpoints").
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from modelpack.deploy import Entry, Progress, Sight, State
from modelpack.errors import DeployError
from modelpack_azure import ml_body
from modelpack_azure.arm import Json
from modelpack_azure.ml_body import API, deployment_name
from modelpack_azure.ml_seen import Site, properties_of
from modelpack_azure.modes import Place, Standing
from modelpack_azure.strict import require

_POLL_S = 15.0


@dataclass(frozen=True, slots=True)
class Shares:
    """The calls of one endpoint."""

    place: Place
    site: Site
    stands_on: tuple[str, str]
    """Location and identity of the endpoint."""
    now: Mapping[str, int] = field(default_factory=dict)
    """Percent by deployment, without those that get none."""

    @classmethod
    def of(cls, place: Place, site: Site, endpoint: Json) -> Shares:
        """Return the shares as an endpoint has them."""
        identities = (endpoint.get("identity") or {}).get("userAssignedIdentities") or {}
        stands_on = (str(endpoint.get("location")), next(iter(identities), ""))
        traffic = properties_of(endpoint).get("traffic") or {}
        return cls(place, site, stands_on, {key: one for key, one in traffic.items() if one})

    def put(
        self,
        entry: Entry,
        shares: Mapping[str, int],
        *,
        settled: tuple[str, ...],
        now: str | None,
        mirror: Mapping[str, int] | None = None,
    ) -> None:
        """Write the endpoint with these shares and marks; safe to repeat."""
        location, identity = self.stands_on
        body = ml_body.endpoint(
            entry.spec.name,
            self.place.target,
            entry.spec.settings,
            location=location,
            identity=identity,
            shares=shares,
            mirror=mirror,
            settled=settled,
            now=now,
        )
        self.place.calls.put(self.site.endpoint, API, require("OnlineEndpoint", body))

    def move(
        self, standing: Standing, entry: Entry, shares: Mapping[str, int], *, settle: bool
    ) -> None:
        """Set the shares, and that the revision of ``entry`` is meant to run."""
        marks = standing.settled
        if settle and marks[-1:] != (entry.mark,):
            marks = (*marks, entry.mark)
        self.put(entry, shares, settled=marks, now=entry.mark)

    def mirror(
        self,
        standing: Standing,
        entry: Entry,
        new: str,
        look: Callable[[], Sight],
        progress: Progress,
    ) -> None:
        """Send a copy of some calls to the new deployment and watch it, where that is asked for."""
        percent, seconds = ml_body.mirror_of(entry.options), entry.spec.settings.bake_s
        if not percent or seconds is None or new in self.now:
            return
        with progress.step(f"send a copy of {percent} % of the calls to '{new}'"):
            self.put(
                entry,
                self.now,
                settled=standing.settled,
                now=entry.mark,
                mirror={new: percent},
            )
            self._watch(new, seconds, look)

    def canary(
        self,
        standing: Standing,
        entry: Entry,
        pair: tuple[str, str],
        look: Callable[[], Sight],
        progress: Progress,
    ) -> None:
        """Give the new one of a pair its share and watch it; raises DeployError if it does not hold."""
        former, new = pair
        settings = entry.spec.settings
        percent = int(settings.canary_percent or 0)
        shares = {former: 100 - percent, new: percent}
        with progress.step(f"give {percent} % of the calls to '{new}'"):
            self.move(standing, entry, shares, settle=settings.bake_s is None)
        if settings.bake_s is not None:
            with progress.step(f"watch '{new}' for {settings.bake_s:g} s"):
                self._watch(new, settings.bake_s, look)

    def _watch(self, new: str, seconds: float, look: Callable[[], Sight]) -> None:
        clock = self.place.clock
        deadline = clock.now() + seconds
        while (left := deadline - clock.now()) > 0:
            clock.sleep(min(left, _POLL_S))
            sight = look()
            if sight.state is not State.RUNNING:
                raise DeployError(f"'{new}' does not hold: {sight.detail or sight.state}")


def let_go(place: Place, site: Site, standing: Standing, *, but: Collection[str]) -> None:
    """Delete all deployments but some, with their rules of scaling."""
    for one in standing.found[1]:
        if one["name"] not in but:
            site.drop_rules(place, str(one["name"]))
            place.calls.delete(f"{site.endpoint}/deployments/{one['name']}", API)


__all__ = ["Shares", "deployment_name", "let_go"]
