"""A cluster, and how a deployment comes to stand on it: what ``bringing`` and ``waiting`` are given.

RayTarget ──options──► Site: applications · packages · place · clock · proxies

Not here: what is done with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from modelpack.deploy import Clock, DeploymentSpec
from modelpack_ray.applications import Applications
from modelpack_ray.packages import package_of
from modelpack_ray.standing import Standing, standing_of
from modelpack_ray.wanted import Place


class Packages(Protocol):
    """Keeps packages: a dashboard, or a stand-in."""

    def has_package(self, name: str) -> bool:
        """Return whether it has one."""

    def put_package(self, name: str, data: bytes) -> None:
        """Take one."""


@dataclass(frozen=True, slots=True)
class Site:
    """A cluster, and how a deployment comes to stand on it."""

    applications: Applications
    packages: Packages
    place: Place
    clock: Clock
    knows_route: Callable[[str, str], bool]
    """Whether the proxies send a route to an application; True where none can be asked."""
    pack: Callable[[DeploymentSpec], bytes] = package_of

    def look(self, name: str) -> Standing:
        """Return what stands of a deployment."""
        return standing_of(self.applications.read(), name)
