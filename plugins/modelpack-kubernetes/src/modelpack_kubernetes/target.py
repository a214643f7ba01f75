"""The target ``kubernetes``: Deployments, services of KServe and of Knative, in one namespace.

    plan      objects wanted ──dry run──► what the cluster would change, whose fields those are  (pure)
    apply     image ─► secret ─► every object, server-side applied ─► rolled out, or why not
    settle    a canary is watched, then gets all ─► the revision is noted ─► what is left over goes
    revert    the objects of what was healthy last again, or nothing at all

The cluster keeps the state: what stands is in the annotations of its workload, what was healthy in
ControllerRevisions.  A service is asked through the API server, so no way in from here is needed.

What always holds: an object that somebody else made is not touched; a field that somebody else owns
is taken only where the plan says so or consent is given; everything of a deployment has its labels,
and by them all of it goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from modelpack.deploy import (
    SILENT,
    Answer,
    Capabilities,
    Clock,
    DeploymentSpec,
    Journal,
    Live,
    Plan,
    Progress,
    Rendered,
    Revision,
    State,
    Status,
    Target,
    check_name,
    refuse_unknown,
)
from modelpack.deploy.pushing import Push, push_image
from modelpack.errors import DeployError, DeploymentNotFoundError
from modelpack_kubernetes import bringing, leasing, loglines, planning
from modelpack_kubernetes.asking import Asking
from modelpack_kubernetes.capable import capabilities_of
from modelpack_kubernetes.cluster import Cluster, Connect
from modelpack_kubernetes.connecting import current, from_kubeconfig, require_file
from modelpack_kubernetes.kept import Entry, Kept, of_the_manifests
from modelpack_kubernetes.kinds import DEPLOYMENT
from modelpack_kubernetes.looking import sight_of
from modelpack_kubernetes.options import OPTIONS as MANIFEST_OPTIONS
from modelpack_kubernetes.options import read
from modelpack_kubernetes.output import files
from modelpack_kubernetes.places import is_pushed, reference_of
from modelpack_kubernetes.standing import (
    Stand,
    Standing,
    canary_count,
    every,
    look,
    objects_of,
)
from modelpack_kubernetes.values import serial_of

OPTIONS: Mapping[str, str] = {
    **MANIFEST_OPTIONS,
    "base": "base of the image, where one is pushed",
    "context": "context of the kubeconfig; default: its current one",
    "kubeconfig": "file that says where clusters are; default: $KUBECONFIG, ~/.kube/config",
}
"""Options by name, with a line about each."""


@dataclass(frozen=True, slots=True)
class KubernetesTarget(Target):
    """Deploys to one namespace of one cluster."""

    name: ClassVar[str] = "kubernetes"
    needs_image: ClassVar[bool] = True
    where: ClassVar[tuple[str, ...]] = ("context", "kubeconfig", "namespace")

    connect: Connect = field(default_factory=from_kubeconfig)
    """Makes the client, at its first use."""
    given: Mapping[str, str] = field(default_factory=dict)
    """Its options."""
    push: Push = push_image
    clock: Clock = field(default_factory=Clock)
    _kept: dict[str, Cluster] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def options(self) -> Mapping[str, str]:
        """Options from which it can be made again: context and namespace are among them."""
        return dict(self.given)

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        """Make the target; context and namespace are those of the kubeconfig, where not given.

        Raises UsageError.
        """
        refuse_unknown(cls.name, options, OPTIONS)
        require_file(options.get("kubeconfig"))
        found = current(options.get("kubeconfig"), options.get("context"))
        given = {**found, **options}
        read(given)
        connect = from_kubeconfig(given.get("kubeconfig"), given.get("context"))
        return cls(connect=connect, given=given)

    # What will happen.

    def capabilities(self, spec: DeploymentSpec) -> Capabilities:
        """Return what of the settings is done."""
        return capabilities_of(spec)

    def read_live(self, spec: DeploymentSpec) -> Live:
        """Return what stands, and what the cluster says that this spec would change.

        Raises CredentialsError, ConflictError for objects of others, and UsageError or DeployError
        for what the cluster does not take.
        """
        standing = look(self.cluster, spec.name)
        entry = self._entry(spec, standing)
        return planning.read(self.cluster, standing, entry, self._state(standing))

    def plan(self, spec: DeploymentSpec, live: Live) -> Plan:
        """Return what would change, by the objects of the cluster."""
        reference = reference_of(spec, self.given)
        image = str(live.surroundings.get("image") or reference)
        options, serial = of_the_manifests(self.given), live.surroundings.get(planning.SERIAL, 1)
        entry = Entry(spec=spec, image=image, options=options, serial=int(str(serial)))
        return planning.plan(self.name, entry, live, self.capabilities(spec), is_pushed(self.given))

    def render(self, spec: DeploymentSpec) -> Rendered:
        """Return the manifests, as YAML, a kustomization or a chart (``--option format=…``)."""
        from modelpack_kubernetes.wanted import wanted_from

        return Rendered(files=files(wanted_from(spec, self.given)))

    # Do it.

    def hold(self, name: str) -> AbstractContextManager[object]:
        """Hold the Lease of a deployment; raises ConflictError."""
        return leasing.held(self.cluster, name)

    def apply(self, plan: Plan, journal: Journal, progress: Progress) -> Revision:
        """Apply every object and wait until it runs.

        Raises DeployError with the cluster's reason, ConflictError for fields of others.
        """
        spec = plan.spec
        standing = look(self.cluster, spec.name)
        entry = self._entry(spec, standing)
        if is_pushed(self.given) and "@" not in entry.image:
            entry = self._push(entry, journal, progress)
        stand = standing.stand_of(entry)
        bringing.bring(
            self.cluster,
            stand,
            planned=plan.changes,
            journal=journal,
            progress=progress,
            clock=self.clock,
        )
        return Revision(
            deployment=spec.name, id=spec.revision, bundle=spec.bundle, target=self.name, spec=spec
        )

    def settle(self, name: str) -> None:
        """Watch a canary as long as was asked for, note the revision, remove what is left over.

        Raises DeployError when a canary does not do well; the former one has all requests then.
        """
        standing = look(self.cluster, name)
        item = standing.newest
        if item is None or item.entry is None:
            return
        entry = item.entry
        stand = standing.stand_of(entry)
        bake_s = entry.spec.settings.bake_s
        if stand.beside is not None and bake_s is not None:
            try:
                bringing.bake(self.cluster, stand, bake_s, self.clock)
                stand = Stand(entry=entry)
                bringing.bring(
                    self.cluster,
                    stand,
                    planned=(),
                    journal=Journal(),
                    progress=SILENT,
                    clock=self.clock,
                )
            except DeployError:
                self.revert(name)
                raise
        bringing.keep(self.cluster, standing, stand)

    def revert(self, name: str) -> None:
        """Put back what was found healthy last, or leave nothing."""
        bringing.go_back(self.cluster, name, self.clock)

    # See how it is.

    def fetch(self, url: str, *, body: bytes | None = None, timeout_s: float) -> Answer:
        """Ask a service through the API server; raises OSError when it is not reached."""
        answer = self._asking.fetch(url, body=body, timeout_s=timeout_s)
        if answer is not None:
            return answer
        return super(KubernetesTarget, self).fetch(url, body=body, timeout_s=timeout_s)

    def status(self, name: str) -> Status:
        """Return how the deployment is; raises TagError."""
        standing = look(self.cluster, name)
        item = standing.newest
        if item is None:
            return Status(name=name, target=self.name, state=State.ABSENT)
        sight = sight_of(self.cluster, item)
        entry, kept = item.entry, standing.settled
        url = sight.url
        if item.kind is DEPLOYMENT:
            url = self._asking.url_of(item.value["metadata"]["name"])
        if sight.state is State.RUNNING and (url is None or not self._asking.reaches(url)):
            url = None
        since = sight.since or item.value["metadata"]["creationTimestamp"]
        if kept is not None and standing.is_settled:
            since = kept.since
        return Status(
            name=name,
            target=self.name,
            state=sight.state,
            bundle=None if entry is None else entry.spec.bundle,
            revision=None if entry is None else entry.spec.revision,
            url=url,
            since=str(since),
            restarts=sight.restarts,
            detail=sight.detail or _share(standing),
            meanwhile=_meanwhile(standing),
        )

    def logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[str]:
        """Yield the lines of all pods; raises DeploymentNotFoundError."""
        if look(self.cluster, name).newest is None:
            raise self._absent(name)
        return loglines.lines(
            self.cluster,
            lambda: look(self.cluster, name),
            follow=follow,
            tail=tail,
            sleep=self.clock.sleep,
        )

    def history(self, name: str) -> tuple[Revision, ...]:
        """Return the revisions that the cluster keeps, oldest first."""
        return tuple(
            Revision(
                deployment=name,
                id=one.entry.spec.revision,
                bundle=one.entry.spec.bundle,
                target=self.name,
                spec=one.entry.spec,
                since=one.since,
                note=_note(one),
            )
            for one in look(self.cluster, name).kept
        )

    def current(self, name: str) -> DeploymentSpec | None:
        """Return the spec of what was applied last."""
        item = look(self.cluster, name).newest
        return None if item is None or item.entry is None else item.entry.spec

    def list(self) -> list[Status]:
        """Return the deployments of the namespace."""
        return [self.status(name) for name in every(self.cluster)]

    # Remove it.

    def inventory(self, name: str) -> tuple[str, ...]:
        """Return every object of the deployment."""
        found = objects_of(self.cluster, name)
        return tuple(kind.title(one["metadata"]["name"]) for kind, one in found)

    def destroy(self, name: str) -> None:
        """Remove every object, and wait until they are gone; raises DeploymentNotFoundError."""
        look(self.cluster, name)  # raises for one that somebody else made
        if not bringing.remove(self.cluster, name, self.clock):
            raise self._absent(name)

    @property
    def cluster(self) -> Cluster:
        """The cluster; its client is made when it is first asked."""
        if "cluster" not in self._kept:
            self._kept["cluster"] = Cluster(self.connect, read(self.given).namespace)
        return self._kept["cluster"]

    @property
    def _asking(self) -> Asking:
        return Asking(self.cluster)

    def _entry(self, spec: DeploymentSpec, standing: Standing) -> Entry:
        reference = reference_of(spec, self.given)
        image = standing.image_of(spec, reference) or reference
        serial, options = serial_of(self.cluster, spec), of_the_manifests(self.given)
        return Entry(spec=spec, image=image, options=options, serial=serial)

    def _push(self, entry: Entry, journal: Journal, progress: Progress) -> Entry:
        pushed = journal.step(
            f"push/image/{entry.image}",
            lambda: {
                "digest": self.push(
                    entry.spec,
                    entry.image,
                    find_login=lambda _: None,
                    base=self.given.get("base"),
                    progress=progress,
                ).digest
            },
            once=True,
        )
        if pushed is None:
            raise DeployError(f"the registry gave no digest for '{entry.image}'")
        image = f"{entry.image}@{pushed['digest']}"
        return replace(entry, image=image)

    def _state(self, standing: Standing) -> State:
        item = standing.newest
        return State.ABSENT if item is None else sight_of(self.cluster, item).state

    def _absent(self, name: str) -> DeploymentNotFoundError:
        return DeploymentNotFoundError(
            f"no deployment '{check_name(name)}' at target '{self.name}'",
            hint="run 'modelpack deployments list' to see them",
        )


def _note(kept: Kept) -> str | None:
    if kept.beside is not None:
        return "a canary"
    return None if kept.entry.serial == 1 else "other values of its secrets"


def _share(standing: Standing) -> str | None:
    """Return which share a canary that stays has."""
    kept = standing.settled
    if standing.canary is None or kept is None or kept.beside is None:
        return None
    former = kept.beside
    count = canary_count(former.wanted, kept.entry.spec.settings.canary_percent or 1)
    total = count + max(1, former.spec.settings.min_replicas)
    return f"a canary: {count} of {total} replicas, beside '{former.spec.bundle}'"


def _meanwhile(standing: Standing) -> str | None:
    """Return what serves while something else is on trial."""
    kept = standing.settled
    if kept is None or standing.is_settled:
        return None
    former = kept.entry.spec
    return f"nobody has found it healthy yet; '{former.bundle}' was before it"
