"""Tiny wheels, made here, and bundles that bring them: nothing is fetched for these tests."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelpack.archive.lockfile import LockedPackage, lock_text
from modelpack.archive.platforms import Platform
from modelpack.config.settings import ImageSettings
from modelpack.image import ImagePlan, plan_image
from modelpack.manifest import RUNTIME_REQUIREMENTS, BundleManifest, FileRecord
from modelpack.store import Store

AMD64 = Platform("x86_64")
OWN_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class TinyWheel:
    """A wheel that was made for a test."""

    name: str
    version: str
    file_name: str
    data: bytes

    @property
    def locked(self) -> LockedPackage:
        digest = f"sha256:{hashlib.sha256(self.data).hexdigest()}"
        return LockedPackage(self.name, self.version, None, (digest,))


def tiny_wheel(
    name: str,
    version: str = "1.0",
    files: Mapping[str, bytes] | None = None,
    *,
    requires: Iterable[str] = (),
    scripts: Iterable[str] = (),
    programs: Iterable[str] = (),
    tag: str = "py3-none-any",
    record: str | None = None,
) -> TinyWheel:
    """Make a wheel of these files; ``programs`` of them are executable, ``record`` is its RECORD."""
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    module = name.replace("-", "_")
    contents = dict({f"{module}/__init__.py": b"VALUE = 1\n"} if files is None else files)
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    contents[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}".encode()
    )
    contents[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n".encode()
    )
    if scripts:
        lines = "".join(f"{script} = {module}:main\n" for script in scripts)
        contents[f"{info}/entry_points.txt"] = f"[console_scripts]\n{lines}".encode()
    contents[f"{info}/RECORD"] = (record or _record(contents, f"{info}/RECORD")).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, data in contents.items():
            entry = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = (0o100755 if path in set(programs) else 0o100644) << 16
            archive.writestr(entry, data)
    return TinyWheel(name, version, f"{stem}-{tag}.whl", buffer.getvalue())


def _record(contents: Mapping[str, bytes], own: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for path, data in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        writer.writerow([path, f"sha256={digest}", len(data)])
    writer.writerow([own, "", ""])
    return text.getvalue()


def runtime_wheels() -> list[TinyWheel]:
    """Return an empty package for each that the server needs."""
    from packaging.requirements import Requirement

    found = []
    for text in RUNTIME_REQUIREMENTS:
        requirement = Requirement(text)
        lowest = next(one.version for one in requirement.specifier if one.operator == ">=")
        found.append(tiny_wheel(requirement.name, lowest))
    return found


@pytest.fixture
def make_wheel() -> Callable[..., TinyWheel]:
    return tiny_wheel


PlanOf = Callable[..., ImagePlan]


@pytest.fixture
def wheels_plan(store: Store, tmp_path: Path) -> PlanOf:
    """Return a function that plans the image of a bundle which brings these wheels.

    They lie in the folder ``project`` too.  ``brings`` is the name of the only one, or False for none.
    """

    def make(
        *wheels: TinyWheel,
        python: str = OWN_PYTHON,
        code: bytes = b"",
        runtime: bool = True,
        first_line: str = "# a lock",
        platform: Platform = AMD64,
        packages: Iterable[LockedPackage] | None = None,
        brings: bool | str = True,
    ) -> ImagePlan:
        root = tmp_path / "project"
        root.mkdir(exist_ok=True)
        (root / "service.py").write_bytes(code)
        brought = [*wheels, *(runtime_wheels() if runtime else ())]
        places = {}
        for wheel in brought:
            places[wheel.file_name] = root / wheel.file_name
            places[wheel.file_name].write_bytes(wheel.data)
        needed = [wheel.locked for wheel in brought[len(wheels) :]]
        lock = lock_text(first_line, [*(packages or (one.locked for one in wheels)), *needed])
        manifest = BundleManifest(
            service="service:Tiny",
            model=None,
            python=python,
            files=(_file_record("service.py", code),),
            models=(),
            lock_sha256=hashlib.sha256(lock.encode()).hexdigest(),
            apis=(),
            wheels=tuple(
                _file_record(one.file_name, one.data)
                for one in sorted(brought, key=lambda one: one.file_name)
                if brings in (True, one.name)
            ),
        )
        added = store.add_bundle(
            "tiny",
            manifest,
            root=root,
            lock=lock,
            wheels={one.path: places[one.path] for one in manifest.wheels},
        )
        return plan_image(store, added.entry, ImageSettings(), platform=platform)

    return make


def _file_record(path: str, data: bytes) -> FileRecord:
    digest = hashlib.sha256(data).hexdigest()
    return FileRecord(path=path, mode=0o644, size=len(data), sha256=digest)


@pytest.fixture
def image_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test a cache of its own; uv keeps the one that it has."""
    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Heard:
    """Writes down what is said."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        self.steps.append(text)
        yield


@pytest.fixture
def heard() -> Heard:
    return Heard()
