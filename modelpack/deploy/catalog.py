"""Finds targets by name, through the entry-point group ``modelpack.targets``.

    BUILT_IN + installed distributions ──► name ──► class ──from_options──► Target

A target that will not load is reported by its name and stops nothing else: only who asks for it
hears of it.  The built-in targets are listed here as they are in ``pyproject.toml`` (a test
compares the two), so that a plain checkout has them too; nobody can take their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from modelpack.deploy.plugin import Target
from modelpack.errors import DeployError, TargetNotFoundError, did_you_mean

GROUP = "modelpack.targets"

BUILT_IN = (
    EntryPoint("local", "modelpack.deploy.local:LocalTarget", GROUP),
    EntryPoint("docker", "modelpack.deploy.docker:DockerTarget", GROUP),
)

BROUGHT_BY = {
    "aks": "modelpack-azure",
    "aws": "modelpack-aws",
    "aws-ec2": "modelpack-aws",
    "aws-ecs": "modelpack-aws",
    "aws-lambda": "modelpack-aws",
    "aws-sagemaker": "modelpack-aws",
    "azure": "modelpack-azure",
    "azure-container-apps": "modelpack-azure",
    "azure-ml": "modelpack-azure",
    "gcp": "modelpack-gcp",
    "gcp-cloud-run": "modelpack-gcp",
    "gcp-vertex": "modelpack-gcp",
    "gke": "modelpack-gcp",
    "heroku": "modelpack-heroku",
    "kubernetes": "modelpack-kubernetes",
    "ray": "modelpack-ray",
}
"""Targets of distributions of our own, so that one that is not installed can be named."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """The targets that are there, by name."""

    points: Mapping[str, EntryPoint]
    problems: tuple[str, ...] = ()
    """What is wrong with entry points that cannot be used."""

    @classmethod
    def of(cls, found: Iterable[EntryPoint]) -> Catalog:
        """Make a catalog of the built-in targets and those that were found."""
        points = {point.name: point for point in BUILT_IN}
        problems = []
        for point in sorted(found, key=lambda point: (point.name, point.value)):
            known = points.setdefault(point.name, point)
            if known.value != point.value:
                problems.append(
                    f"two targets are named '{point.name}': '{known.value}' is used, "
                    f"'{point.value}' is not"
                )
        return cls(points, tuple(problems))

    @property
    def names(self) -> list[str]:
        """The names, sorted."""
        return sorted(self.points)

    def load(self, name: str) -> type[Target]:
        """Return the class of a target; raises TargetNotFoundError, DeployError."""
        if name not in self.points:
            raise self._not_found(name)
        point = self.points[name]
        try:
            found: type[Target] = point.load()
        except Exception as cause:  # a plugin may fail in any way at all
            raise DeployError(
                f"the target '{name}' ({point.value}) does not load: {_first_line(cause)}",
                hint=_UPDATE,
            ) from cause
        if what := _lacks(found):
            raise DeployError(f"the target '{name}' ({point.value}) {what}", hint=_UPDATE)
        return found

    def _not_found(self, name: str) -> TargetNotFoundError:
        if name in BROUGHT_BY:
            package = BROUGHT_BY[name]
            return TargetNotFoundError(
                f"the target '{name}' is not installed, '{package}' brings it",
                hint=f"pip install {package}",
            )
        near = did_you_mean(name, sorted({*self.names, *BROUGHT_BY}))
        known = f"the targets here are {', '.join(self.names)}"
        return TargetNotFoundError(
            f"no target '{name}'", hint=f"did you mean '{near}'? {known}" if near else known
        )


def installed() -> Catalog:
    """Return the catalog of this Python environment; imports no target."""
    return Catalog.of(entry_points(group=GROUP))


def target(name: str, options: Mapping[str, str] | None = None) -> Target:
    """Return the target of that name, ready for use.

    Raises TargetNotFoundError, DeployError when it does not load, UsageError for a bad option and
    ToolMissingError when what it drives is not there.
    """
    return installed().load(name).from_options(options or {})


_UPDATE = "update or remove the distribution that brings it"


def _lacks(found: object) -> str:
    """Return what a class is not, or does not have, of a target; empty: nothing."""
    if not isinstance(found, type):
        return ""
    if not issubclass(found, Target):
        return "is no 'modelpack.deploy.Target'"
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    return f"has no {', '.join(missing)}" if missing else ""


def _first_line(cause: Exception) -> str:
    lines = str(cause).splitlines()
    return f"{type(cause).__name__}: {lines[0]}" if lines else type(cause).__name__
