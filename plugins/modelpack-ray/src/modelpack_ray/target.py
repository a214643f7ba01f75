"""The target ``ray``: a bundle as an application of Ray Serve, on the nodes of a running cluster.

    plan      facts wanted, facts that Serve keeps ─► change                         (pure)
    apply     packages ─► application beside the one that answers ─► it runs         ``bringing``
    settle    the route changes hands, the former application goes
    revert    the application on trial goes

Serve keeps the state: each application holds what it was made of and what was healthy before
(``kept``).  In a replica runs the bundle's own server in its own environment (``node``), behind Serve's
proxies.  A dashboard that needs a token gets Ray's own (``rest``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

from modelpack.deploy import (
    Capabilities,
    Clock,
    DeploymentSpec,
    Fact,
    Journal,
    Live,
    Plan,
    Progress,
    Rendered,
    Replicas,
    Revision,
    State,
    Status,
    Target,
    check_name,
)
from modelpack.deploy.references import resolve
from modelpack.errors import CredentialsError, DeploymentNotFoundError
from modelpack_ray.applications import Applications
from modelpack_ray.bringing import bring, drop, revert, settle
from modelpack_ray.loglines import followed, lines_of
from modelpack_ray.options import checked
from modelpack_ray.packages import Pack, Storage, package_of
from modelpack_ray.planning import CAPABILITIES, ROUTE_OWNER, SERVE_RUNS, facts_of, plan_for
from modelpack_ray.proxies import Proxies
from modelpack_ray.rendered import files_of
from modelpack_ray.rest import Dashboard, Json
from modelpack_ray.site import Site
from modelpack_ray.standing import App, Standing, names_in, route_owner, standing_of
from modelpack_ray.wanted import Place, is_name_of, placed_as, route_of, scaled_as


@dataclass(frozen=True, slots=True)
class RayTarget(Target):
    """Deploys to the Ray Serve of a cluster."""

    name: ClassVar[str] = "ray"
    needs_image: ClassVar[bool] = False
    where: ClassVar[tuple[str, ...]] = ("address",)

    given: Mapping[str, str] = field(default_factory=dict)
    """Its options; the address that a variable named is one of them."""
    clock: Clock = field(default_factory=Clock)
    pack: Pack = package_of

    @property
    def options(self) -> Mapping[str, str]:
        """Options from which it can be made again."""
        return self.given

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        """Make the target; raises UsageError for an option or a value that cannot be."""
        return cls(given=checked(cls.name, options))

    # What will happen.

    def capabilities(self, spec: DeploymentSpec) -> Capabilities:  # noqa: ARG002
        """Return what Ray Serve does."""
        return CAPABILITIES

    def read_live(self, spec: DeploymentSpec) -> Live:
        """Return what Serve says of the deployment.

        Raises CredentialsError when no cluster is named or the token does not count.
        """
        found = self._applications.read()
        route = route_of(spec, self._place)
        owner = route_owner(found, route)
        around: dict[str, Fact] = {
            SERVE_RUNS: "yes" if found.get("http_options") else "no",
            ROUTE_OWNER: None if owner is None or is_name_of(owner, spec.name) else owner,
        }
        standing = standing_of(found, spec.name)
        app = standing.now
        if app is None:
            return Live(name=spec.name, surroundings=around)
        applied = self._facts(app, app.kept.spec)
        settings = scaled_as(app.kept.spec.settings, app.config)
        really = DeploymentSpec.from_json(
            {**app.kept.spec.to_json(), "settings": _settings_json(app.kept.spec, settings)}
        )
        return Live(
            name=spec.name,
            state=app.state,
            facts=self._facts(app, really),
            applied=applied,
            surroundings=around,
            revision=app.kept.spec.revision,
            is_settled=standing.is_settled,
        )

    def plan(self, spec: DeploymentSpec, live: Live) -> Plan:
        """Return what would change."""
        return plan_for(self.name, spec, live, self._place, self._http)

    def render(self, spec: DeploymentSpec) -> Rendered:
        """Return the config for Serve's REST API, and a RayService for KubeRay."""
        return Rendered(files=files_of(spec, self._place, self._http, self.given.get("image")))

    # Do it.

    def apply(self, plan: Plan, journal: Journal, progress: Progress) -> Revision:
        """Bring the revision up beside the one that answers; raises DeployError with the reason."""
        spec = plan.spec
        bring(self._site, spec, lambda: resolve(spec.settings.secrets), journal, progress)
        return Revision(
            deployment=spec.name, id=spec.revision, bundle=spec.bundle, target=self.name, spec=spec
        )

    def settle(self, name: str) -> None:
        """Give the route to the new application; the former one drains and goes."""
        settle(self._site, check_name(name))

    def revert(self, name: str) -> None:
        """Take away what is on trial."""
        revert(self._site, check_name(name))

    # See how it is.

    def status(self, name: str) -> Status:
        """Return how the deployment is; raises TagError."""
        check_name(name)
        found = self._applications.read()
        return self._status(found, name)

    def logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[str]:
        """Yield the lines of its replicas; raises DeploymentNotFoundError."""
        application = self._require(name).name
        logs = self._dashboard
        if not follow:
            return iter(lines_of(logs, application, tail))

        def is_there() -> bool:
            return application in self._applications.read()["applications"]

        return followed(lambda: lines_of(logs, application, tail), is_there, self.clock)

    def history(self, name: str) -> tuple[Revision, ...]:
        """Return the revisions that the applications remember, oldest first."""
        standing = self._look(name)
        app = standing.settled or standing.candidate
        past = () if app is None else app.kept.past()
        return tuple(
            Revision(
                deployment=name,
                id=one.spec.revision,
                bundle=one.spec.bundle,
                target=self.name,
                spec=one.spec,
                since=one.since,
            )
            for one in past
        )

    def current(self, name: str) -> DeploymentSpec | None:
        """Return the spec of what answers, or is on trial where nothing answers yet."""
        standing = self._look(name)
        app = standing.settled or standing.candidate
        return None if app is None else app.kept.spec

    def list(self) -> list[Status]:
        """Return every deployment of this cluster, by name."""
        found = self._applications.read()
        return [self._status(found, name) for name in names_in(found)]

    # Remove it.

    def inventory(self, name: str) -> tuple[str, ...]:
        """Return the applications that go."""
        return tuple(f"application/{one}" for one in self._look(name).names)

    def destroy(self, name: str) -> None:
        """Delete its applications; those of others stay.  Raises DeploymentNotFoundError."""
        self._require(name)
        drop(self._site, name, lambda app: True)  # noqa: ARG005

    # What it stands on.

    @property
    def _dashboard(self) -> Dashboard:
        if "address" not in self.given:
            raise CredentialsError(
                "no Ray cluster is named",
                hint="name its dashboard with '--option address=http://HOST:8265', "
                "or set RAY_DASHBOARD_ADDRESS",
            )
        return Dashboard(self.given["address"], self.clock.sleep)

    @property
    def _applications(self) -> Applications:
        return Applications(self._dashboard, self.clock, self._http)

    @property
    def _place(self) -> Place:
        per_node = self.given.get("per_node")
        return Place(
            storage=Storage(self.given.get("packages")),
            route=self.given.get("route"),
            per_node=None if per_node is None else int(per_node),
        )

    @property
    def _http(self) -> Mapping[str, Fact]:
        """Where Serve answers when it is us who start it; to this machine alone, unless told."""
        return {
            "host": self.given.get("http_host", "127.0.0.1"),
            "port": int(self.given.get("http_port", "8000")),
        }

    @property
    def _proxies(self) -> Proxies:
        return Proxies(
            dashboard=self.given.get("address", ""),
            named=self.given.get("serve_url"),
            fetch=lambda url, timeout_s: self.fetch(url, timeout_s=timeout_s),
        )

    @property
    def _site(self) -> Site:
        return Site(
            applications=self._applications,
            packages=self._dashboard,
            place=self._place,
            clock=self.clock,
            knows_route=lambda route, name: self._proxies.know(
                self._applications.read(), route, name
            ),
            pack=self.pack,
        )

    def _facts(self, app: App, spec: DeploymentSpec) -> dict[str, Fact]:
        return {**facts_of(spec, placed_as(self._place, app.config)), "route": app.kept.route}

    def _look(self, name: str) -> Standing:
        return standing_of(self._applications.read(), check_name(name))

    def _require(self, name: str) -> App:
        app = self._look(name).now
        if app is None:
            raise DeploymentNotFoundError(
                f"no deployment '{name}' at target 'ray'",
                hint="run 'modelpack deployments list' to see them",
            )
        return app

    def _status(self, found: Json, name: str) -> Status:
        standing = standing_of(found, name)
        app = standing.now
        if app is None:
            return Status(name=name, target=self.name, state=State.ABSENT)
        base = self._proxies.url(found)
        return Status(
            name=name,
            target=self.name,
            state=app.state,
            bundle=app.kept.spec.bundle,
            revision=app.kept.spec.revision,
            url=None if base is None else base + app.config["route_prefix"].rstrip("/"),
            since=app.kept.since,
            detail=None if app.state is State.RUNNING else app.detail,
            meanwhile=_meanwhile(standing, base),
            replicas=_replicas(app),
        )


def _meanwhile(standing: Standing, base: str | None) -> str | None:
    """Return how what answers is, while something else is on trial beside it."""
    app = standing.settled
    if app is None or standing.candidate is None:
        return None
    at = f" at {base}{app.kept.route}" if base else ""
    return f"revision '{app.kept.spec.revision}' ({app.kept.spec.bundle}) is {app.state}{at}"


def _replicas(app: App) -> Replicas | None:
    settings = app.kept.spec.settings
    if settings.min_replicas == settings.most_replicas:
        return None
    return Replicas(awake=app.running, wanted=app.wanted, most=settings.most_replicas)


def _settings_json(spec: DeploymentSpec, settings: object) -> object:
    from dataclasses import replace

    return replace(spec, settings=settings).to_json()["settings"]  # type: ignore[arg-type]
