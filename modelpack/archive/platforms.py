"""The platforms that a bundle is locked for, under the names that people and tools give them.

    linux/amd64 ──► Platform ──┬──► x86_64-unknown-linux-gnu        as uv names it
                               ├──► what markers are true there     for a lock of many platforms
                               └──► which wheels run there          best first

Images run Linux with glibc, so there is no other system.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelpack.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from packaging.tags import Tag

_MACHINES = {
    "linux/amd64": "x86_64",
    "linux/arm64": "aarch64",
}
_TRIPLE_END = "-unknown-linux-gnu"
_OLD_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_NEWEST_GLIBC, _OLDEST_GLIBC = 28, 5
"""Minor versions of glibc 2 that wheels may ask for; uv takes the same newest."""


@dataclass(frozen=True, slots=True, order=True)
class Platform:
    """A processor, and Linux on it."""

    machine: str
    """As the kernel names it, such as ``x86_64``."""

    @property
    def name(self) -> str:
        """As container tools name it, such as ``linux/amd64``."""
        known = {machine: name for name, machine in _MACHINES.items()}
        return known.get(self.machine, f"linux/{self.machine}")

    @property
    def triple(self) -> str:
        """As uv names it, such as ``x86_64-unknown-linux-gnu``."""
        return f"{self.machine}{_TRIPLE_END}"

    @property
    def marker(self) -> str:
        """What is true on this processor alone."""
        return f'platform_machine == "{self.machine}"'

    def environment(self, python: str) -> dict[str, str]:
        """Return what markers are evaluated with, for Python ``X.Y``."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{python}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{python}.0",
            "python_version": python,
            "sys_platform": "linux",
        }

    def tags(self, python: str) -> list[Tag]:
        """Return the tags of wheels that run here under CPython ``X.Y``, best first."""
        from packaging.tags import compatible_tags, cpython_tags

        version = tuple(int(part) for part in python.split("."))
        platforms: list[str] = []
        for minor in range(_NEWEST_GLIBC, _OLDEST_GLIBC - 1, -1):
            platforms.append(f"manylinux_2_{minor}_{self.machine}")
            if minor in _OLD_NAMES:
                platforms.append(f"{_OLD_NAMES[minor]}_{self.machine}")
        platforms.append(f"linux_{self.machine}")
        interpreter = f"cp{version[0]}{version[1]}"
        return [
            *cpython_tags(version, platforms=platforms),
            *compatible_tags(version, interpreter, platforms),
        ]


def host_platform() -> Platform:
    """Return the platform that images run on here: Linux, with this machine's processor."""
    machine = platform.machine().lower()
    return Platform({"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine))


def parse_platforms(names: Iterable[str]) -> tuple[Platform, ...]:
    """Return the platforms that ``linux/amd64``, or several with commas between, name.

    Sorted, each once; none named: that of this machine.  Raises UsageError for an unknown one.
    """
    found = set()
    for text in names:
        for name in filter(None, (part.strip().lower() for part in text.split(","))):
            machine = _MACHINES.get(name)
            if machine is None:
                near = did_you_mean(name, _MACHINES)
                raise UsageError(
                    f"'{name[:80]}' is not a platform that a bundle can be locked for",
                    hint=f"did you mean '{near}'?" if near else f"known are {', '.join(_MACHINES)}",
                )
            found.add(Platform(machine))
    return tuple(sorted(found)) or (host_platform(),)


def of_target(target: str) -> tuple[Platform, ...]:
    """Return the platforms of a lock's target: their triples with commas between."""
    return tuple(Platform(triple.removesuffix(_TRIPLE_END)) for triple in target.split(","))


def target_of(platforms: Iterable[Platform]) -> str:
    """Return the target of a lock for the platforms."""
    return ",".join(platform.triple for platform in platforms)
