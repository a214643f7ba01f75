"""Makes a lock from its inputs: uv resolves once for each platform, and the answers become one.

    Inputs ──uv pip compile──► packages for linux/amd64 ─┐ merged: what differs gets a marker
                          └──► packages for linux/arm64 ─┴──► checked ──► lock

What always holds:

* a package that the project's own lock names keeps one of the hashes that stand there;
* a package that lies in the project's folder comes from there, and is never taken from an index,
  whatever version that has (threat model S10);
* no CUDA gets in where Torch for processors was asked for.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

from modelpack.archive.inputs import Inputs, LocalWheel, Pins
from modelpack.archive.lockfile import LockedPackage, lock_text, read_lock
from modelpack.archive.platforms import Platform
from modelpack.archive.resolver import run_uv
from modelpack.archive.torch import check_backend, torch_arguments
from modelpack.errors import BuildError, DigestMismatchError

_LOCAL = re.compile(r"^[A-Za-z0-9._-]+ @ file://\S*/(?P<file>[^/\s#]+\.whl)(?:#\S*)?", re.MULTILINE)

Resolved = Mapping[str, LockedPackage]


def compile_lock(inputs: Inputs, folder: Path) -> str:
    """Return a new lock, made by uv in ``folder``.

    Raises BuildError when it cannot be made, DigestMismatchError when the index has other files than
    the project's own lock names.
    """
    resolved = _resolve_all(inputs, inputs.preferred, folder)
    if lower := _lower_versions(resolved):
        # Once more, so that platforms agree where they can: one may have had no newer wheel.
        resolved = _resolve_all(inputs, lower, folder)
    packages = _merge(resolved)
    check_backend(packages, inputs.torch_backend)
    return lock_text(inputs.first_line, packages)


def _resolve_all(
    inputs: Inputs, preferred: Sequence[str], folder: Path
) -> dict[Platform, Resolved]:
    resolved: dict[Platform, Resolved] = {}
    for platform in inputs.platforms:
        found = _resolve(inputs, platform, preferred, folder)
        _check_pins(found, inputs.pins, platform)
        resolved[platform] = found
    return resolved


def _lower_versions(resolved: Mapping[Platform, Resolved]) -> list[str]:
    """Return the lowest version of each package when platforms have taken different ones, else []."""
    from packaging.version import Version

    versions: dict[str, set[str]] = {}
    for packages in resolved.values():
        for package in packages.values():
            versions.setdefault(package.name, set()).add(package.version)
    if all(len(found) == 1 for found in versions.values()):
        return []
    return [f"{name}=={min(found, key=Version)}" for name, found in sorted(versions.items())]


def _resolve(
    inputs: Inputs, platform: Platform, preferred: Sequence[str], folder: Path
) -> dict[str, LockedPackage]:
    """Return what uv takes on one platform, by name."""
    pinned = inputs.pins.packages.get(platform, ()) if inputs.pins else ()
    local = _best_wheels(inputs.wheels, platform, inputs.python)
    required = {wheel.name for wheel in inputs.wheels if wheel.is_required}
    requirements = [*inputs.requirements, *(_link(one) for one in local if one.name in required)]
    if inputs.pins is not None and inputs.pins.are_requirements:
        requirements += [f"{one.name}=={one.version}" for one in pinned]
    names = {wheel.name for wheel in local}
    constraints = [f"{one.name}=={one.version}" for one in pinned if one.name not in names]
    constraints += [_link(wheel) for wheel in local]
    with tempfile.TemporaryDirectory(prefix="modelpack-lock-") as scratch:
        options = []
        if constraints:
            options.append(f"--constraints={_written(scratch, 'constraints.txt', constraints)}")
        if preferred:  # uv prefers what stands in the file that it is to write
            options.append(f"--output-file={_written(scratch, 'preferred.txt', preferred)}")
        output = run_uv(
            [*_command(inputs, platform), *options],
            goal=_goal(inputs, platform),
            stdin="\n".join(requirements) + "\n",
            folder=folder if folder.is_dir() else None,
            uses_index=True,
        )
    by_file = {wheel.file_name: wheel for wheel in local}
    text = _LOCAL.sub(lambda match: _pin(by_file[unquote(match["file"])]), output)
    found = {package.name: package for package in read_lock(text)}
    for wheel in inputs.wheels:
        if wheel.name in found.keys() | required and wheel.name not in names:
            raise BuildError(
                f"'{wheel.file_name}' does not run on {platform.name} with Python {inputs.python}",
                hint="put a wheel for that platform beside it: what is yours is not taken from an "
                "index",
            )
    return found


def _command(inputs: Inputs, platform: Platform) -> list[str]:
    return [
        "pip",
        "compile",
        "-",
        "--generate-hashes",
        "--no-header",
        "--no-annotate",
        "--no-emit-index-url",
        "--no-emit-find-links",
        "--only-binary=:all:",
        f"--python-version={inputs.python}",
        f"--python-platform={platform.triple}",
        *torch_arguments(inputs.torch_backend),
    ]


def _goal(inputs: Inputs, platform: Platform) -> str:
    several = f" for {platform.name}" if len(inputs.platforms) > 1 else ""
    return f"lock the requirements{several}"


def _written(folder: str, name: str, lines: Iterable[str]) -> Path:
    file = Path(folder) / name
    file.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return file


def _pin(wheel: LocalWheel) -> str:
    return f"{wheel.name}=={wheel.version}"


def _link(wheel: LocalWheel) -> str:
    return f"{wheel.name} @ {wheel.path.as_uri()}"


def _best_wheels(wheels: Iterable[LocalWheel], platform: Platform, python: str) -> list[LocalWheel]:
    """Return one wheel of each name, the one that fits the platform best."""
    from packaging.utils import parse_wheel_filename

    order = {tag: place for place, tag in enumerate(platform.tags(python))}
    best: dict[str, tuple[int, LocalWheel]] = {}
    for wheel in wheels:
        places = [order[tag] for tag in parse_wheel_filename(wheel.file_name)[3] if tag in order]
        if places and min(places) < best.get(wheel.name, (len(order), wheel))[0]:
            best[wheel.name] = (min(places), wheel)
    return [wheel for _, wheel in best.values()]


def _check_pins(found: dict[str, LockedPackage], pins: Pins | None, platform: Platform) -> None:
    """Leave to each pinned package the hashes of its pin; raises DigestMismatchError for none."""
    for pin in pins.packages.get(platform, ()) if pins else ():
        package = found.get(pin.name)
        if package is None or package.version != pin.version:
            continue  # not needed, or it lies in the project's folder
        both = tuple(sorted(set(package.hashes) & set(pin.hashes)))
        if not both:
            raise DigestMismatchError(
                f"the index has other files of '{pin.name}' {pin.version} than "
                f"'{pins.source if pins else ''}' names",
                hint="find out which of them is right; the hashes of a lock are there for this",
            )
        found[pin.name] = LockedPackage(package.name, package.version, package.marker, both)


def _merge(resolved: Mapping[Platform, Resolved]) -> list[LockedPackage]:
    """Return the packages of all platforms; what is not the same on each gets a marker."""
    if len(resolved) == 1:
        return list(next(iter(resolved.values())).values())
    places: dict[tuple[str, str], list[Platform]] = {}
    for platform, packages in resolved.items():
        for package in packages.values():
            places.setdefault((package.name, package.version), []).append(platform)
    merged = []
    for (name, version), platforms in places.items():
        hashes = {one for platform in platforms for one in resolved[platform][name].hashes}
        is_everywhere = len(platforms) == len(resolved)
        marker = None if is_everywhere else " or ".join(one.marker for one in platforms)
        merged.append(LockedPackage(name, version, marker, tuple(sorted(hashes))))
    return merged
