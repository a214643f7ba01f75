"""Makes the plan of an image from a bundle.

    Entry + manifest + lock + ImageSettings ─┬─plan_image──► ImagePlan
                     base, cuda, platform ───┘

A plan depends on the bundle, the settings and the platform alone: no engine, no network, no clock.
Only the sizes are looked up on this machine.  Nothing of the bundle is run, and all that it says is
checked before it becomes part of a plan.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from modelpack.archive.denied import find_secret
from modelpack.archive.lock import locked_platforms
from modelpack.archive.lockfile import LockedPackage, read_lock
from modelpack.archive.platforms import Platform, host_platform
from modelpack.archive.runtime_wheel import wheel_name
from modelpack.archive.torch import backend_of
from modelpack.archive.wheelhouse import applying, is_complete
from modelpack.config.settings import ImageSettings
from modelpack.errors import RefusedError, SecretFoundError, StoreError, UsageError
from modelpack.image.bases import Base, PythonFrom, carried_cuda, choose_base
from modelpack.image.instructions import check_text
from modelpack.image.plan import (
    BUNDLE_ROOT,
    PORT,
    ImagePlan,
    LayerKind,
    PlannedLayer,
)
from modelpack.image.ports import labels_of, other_ports
from modelpack.image.sizes import runtime_size, sized_packages
from modelpack.image.wrap.planned import plan_for_program
from modelpack.store import CODE_TYPE, DOC_TYPE, Entry, Kind, Store
from modelpack.store.base import WHEELS_PATH
from modelpack.store.names import shown
from modelpack.tag import check_name
from modelpack.version import __version__

_RESERVED_ENV = ("MODELPACK_BUNDLE", "MODELPACK_HOST", "MODELPACK_PORT", "MODELPACK_TAG")
_SECRET_NAME = re.compile(
    # EOS_TOKEN and its like are words of a tokenizer.
    r"(?!(?:BOS|CLS|EOS|MASK|PAD|SEP|STOP|UNK)_TOKEN$)"
    r"(?:.*_)?(?:SECRET|PASSWORD|PASSWD|TOKEN|API_?KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIALS?)"
    r"(?:_ID|_KEY)?",
    re.IGNORECASE,
)
_PASSWORD_IN_URL = re.compile(r"://[^/\s:@]*:[^/\s@]+@")


def plan_image(
    store: Store,
    entry: Entry,
    settings: ImageSettings,
    *,
    base: str | None = None,
    cuda: str | None = None,
    platform: Platform | None = None,
) -> ImagePlan:
    """Plan the image of a bundle for a platform; ``base`` or ``cuda`` stand above the settings.

    ``platform`` is that of this machine by default.  Raises UsageError for settings that cannot be
    and for a platform that the bundle is not locked for, SecretFoundError for a variable that looks
    like a secret, StoreError when the entry is not a bundle.
    """
    if entry.kind is not Kind.BUNDLE:
        raise StoreError(f"'{entry.tag}' is a {entry.kind}, not a bundle")
    platform = platform or host_platform()
    manifest = store.bundle_manifest(entry)
    python = _checked_python(manifest.python)
    lock_text = store.lock_text(entry)
    locked = _checked_platforms(entry, lock_text, platform)
    lock = read_lock(lock_text)
    packages = tuple(applying(lock, platform, python))
    if base is None and cuda is None:
        base, cuda = settings.base, settings.cuda
    versions = _versions(packages)
    chosen, warnings = choose_base(versions, python, base=base, cuda=cuda, platform=platform)
    others, doubts = other_ports(
        manifest.settings if manifest.program is None else {}, settings.env, versions
    )
    is_wheelhouse = bool(manifest.wheels) and is_complete(
        lock, [wheel.path for wheel in manifest.wheels], platform, python
    )
    models = tuple(sorted(check_name(str(model["name"])) for model in manifest.models))
    plan = ImagePlan(
        entry=entry,
        platform=platform,
        base=chosen,
        python=python,
        models=models,
        has_code=bool(manifest.files),
        has_doc=any(layer.media_type == DOC_TYPE for layer in entry.layers),
        system_packages=settings.system_packages,
        env=_env(entry, chosen, settings),
        labels=_labels(entry, chosen, others, is_ours=manifest.program is None),
        layers=(
            *_layers_below(chosen, python=python, settings=settings),
            _packages_layer(packages, platform, python),
            _known_or(LayerKind.SERVER, "server", runtime_size(), "the server"),
            *_bundle_layers(entry, models),
        ),
        runtime_wheel=wheel_name(),
        has_wheels=bool(manifest.wheels),
        is_wheelhouse=is_wheelhouse,
        max_size_bytes=settings.max_size_bytes,
        other_ports=others,
        warnings=(
            *warnings,
            *doubts,
            *_cuda_warning(lock, locked, platform, python),
            *_torch_warning(lock, is_wheelhouse=is_wheelhouse),
        ),
    )
    return plan if manifest.program is None else plan_for_program(plan, manifest.program)


def _checked_python(python: str) -> str:
    if not re.fullmatch(r"3\.\d{1,2}", python):
        raise RefusedError(
            f"the bundle asks for Python '{check_text(python, 'its Python version')}'",
            hint="build it again",
        )
    return python


def _checked_platforms(entry: Entry, lock_text: str, platform: Platform) -> tuple[Platform, ...]:
    """Return what the lock was made for; raises UsageError when that is something else.

    A lock that does not say is taken at its word: its hashes decide when it is installed.
    """
    locked = locked_platforms(lock_text)
    if locked and platform not in locked:
        names = ",".join(shown(one.name) for one in locked)
        wanted = ",".join(sorted({platform.name, *names.split(",")}))
        raise UsageError(
            f"'{entry.tag}' is locked for {names}, not for {platform.name}",
            hint=f"build it with --platform {wanted}, or make the image with --platform {names}",
        )
    return locked


def _versions(packages: Sequence[LockedPackage]) -> dict[str, str]:
    """Return the version of each package by its normalised name."""
    from packaging.utils import canonicalize_name

    return {canonicalize_name(package.name): package.version for package in packages}


def _cuda_warning(
    lock: Sequence[LockedPackage], locked: Sequence[Platform], platform: Platform, python: str
) -> list[str]:
    """Say that CUDA stays away here, when the same lock brings it on another platform.

    Torch has it on linux/amd64 alone, so that an index of both would be one image with a GPU and one
    without.
    """
    if carried_cuda(_versions(tuple(applying(lock, platform, python)))) is not None:
        return []
    for other in locked:
        found = carried_cuda(_versions(tuple(applying(lock, other, python))))
        if found is not None:
            warning = (
                f"the lock brings CUDA {found} for {other.name} and none for {platform.name}: "
                "there it runs on processors"
            )
            return [warning]
    return []


def _torch_warning(lock: Iterable[LockedPackage], *, is_wheelhouse: bool) -> list[str]:
    backend = backend_of(lock)
    if backend is None or is_wheelhouse:
        return []
    warning = (
        f"Torch for '{backend}' is on an index of its own, which pip has to be told of "
        "(PIP_EXTRA_INDEX_URL); or build the bundle with --with-wheels"
    )
    return [warning]


def _env(entry: Entry, base: Base, settings: ImageSettings) -> dict[str, str]:
    for name, value in settings.env.items():
        if name in _RESERVED_ENV:
            raise UsageError(
                f"image.env.{name} is set by the image itself",
                hint="the port of a deployment is set with 'deploy.port'",
            )
        if _is_secret(name, value):
            raise SecretFoundError(
                f"image.env.{name} looks like a secret, and whoever has the image could read it",
                hint="give it to the running service instead, with 'deploy.env' or "
                f"'docker run --env {name}'",
            )
    gpu = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
    return {
        "HOME": BUNDLE_ROOT,
        # Libraries ask for the user's name; the numeric user has none in /etc/passwd.
        "USER": "modelpack",
        "MODELPACK_BUNDLE": BUNDLE_ROOT,
        "MODELPACK_HOST": "0.0.0.0",  # noqa: S104 - in a container this is its own address
        "MODELPACK_PORT": str(PORT),
        "MODELPACK_TAG": str(entry.tag),
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        **(gpu if base.has_gpu else {}),
        **settings.env,
    }


def _is_secret(name: str, value: str) -> bool:
    if not value:
        return False
    has_secret = _PASSWORD_IN_URL.search(value) or find_secret(value.encode())
    return bool(has_secret or _SECRET_NAME.fullmatch(name))


_CAPABILITIES = "com.amazonaws.sagemaker.capabilities"
"""What SageMaker may ask of the image, as it says itself (SageMaker developer guide)."""


def _labels(entry: Entry, base: Base, ports: Mapping[str, int], *, is_ours: bool) -> dict[str, str]:
    """``is_ours``: our server is in it, whose contracts are known; a wrapped program has its own."""
    capabilities = ("accept-bind-to-port", "multi-models") if is_ours else ()
    labels = {
        **{f"{_CAPABILITIES}.{name}": "true" for name in capabilities},
        **labels_of(ports),
        "dev.modelpack.bundle.digest": entry.digest,
        "dev.modelpack.tag": str(entry.tag),
        "dev.modelpack.version": __version__,
        "org.opencontainers.image.title": entry.tag.name,
        "org.opencontainers.image.version": entry.tag.version or "",
    }
    if base.name is not None:  # a folder of this machine means nothing elsewhere
        labels["org.opencontainers.image.base.name"] = base.name
    return dict(sorted(labels.items()))


def _layers_below(base: Base, *, python: str, settings: ImageSettings) -> list[PlannedLayer]:
    """Return what stands below the bundle's own: base, Python, system packages."""
    layers = [_known_or(LayerKind.BASE, "base", base.size_bytes, base.image)]
    if base.python_from is not PythonFrom.BASE:
        name = f"Python {python}"
        layers.append(_known_or(LayerKind.PYTHON, name, None, name))
    if settings.system_packages:
        what = f"system packages ({len(settings.system_packages)})"
        layers.append(PlannedLayer(LayerKind.SYSTEM, what, None, settings.system_packages))
    return layers


def _packages_layer(
    packages: Sequence[LockedPackage], platform: Platform, python: str
) -> PlannedLayer:
    sized = sized_packages(packages, platform, python)
    known = [one.size_bytes for one in sized if one.size_bytes is not None]
    return PlannedLayer(
        LayerKind.PACKAGES,
        f"Python packages ({len(packages)})",
        sum(known) if known or not sized else None,
        tuple(one.name for one in sized if one.size_bytes is None),
        sized,
    )


def _bundle_layers(entry: Entry, models: tuple[str, ...]) -> list[PlannedLayer]:
    layers = []
    for model in models:
        place = f"bundle/models/{model}"
        blobs = [one for one in entry.layers if f"{one.path}/".startswith(f"{place}/")]
        size = sum(blob.size for blob in blobs)
        layers.append(PlannedLayer(LayerKind.MODEL, f"model {model}", size))
    # Wheels are installed from, and stay out of the image.
    service = [
        one
        for one in entry.layers
        if one.media_type in (CODE_TYPE, DOC_TYPE) and one.path != WHEELS_PATH
    ]
    layers.append(PlannedLayer(LayerKind.CODE, "code", sum(blob.size for blob in service)))
    return layers


def _known_or(kind: LayerKind, what: str, size_bytes: int | None, name: str) -> PlannedLayer:
    return PlannedLayer(kind, what, size_bytes, () if size_bytes is not None else (name,))
