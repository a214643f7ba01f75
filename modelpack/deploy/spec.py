"""What shall run: one deployment of one bundle, as a value.

    Entry (store) + DeploySettings (config) ──► DeploymentSpec ──► facts ──► revision id

``facts`` are what a plan compares: everything that decides what runs, and nothing that only says
how long we wait for it.  Two specs with the same facts are the same revision.  What is not set is
no fact, so that a setting which is added to modelpack changes no revision that stands.  A secret
is in there by its reference alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from modelpack.config.settings import (
    DeploySettings,
    ServerSettings,
    settings_from,
    settings_from_env,
)
from modelpack.errors import DeployError, UsageError
from modelpack.manifest import canonical_json, sha256_digest
from modelpack.tag import Tag, check_name

Fact = str | int | float | None
"""One thing that is known about a deployment; None: not set."""

_PLAIN = ("host", "port", "cpu", "memory_bytes", "env", "ready_timeout_s")
"""Settings that a stored spec has always held; the others stand there when they are set."""

_NO_FACTS = ("target", "bake_s", "ready_timeout_s")
"""Settings that say where, or how long we wait."""

RESERVED_ENV = (
    "MODELPACK_BUNDLE",
    "MODELPACK_DEPLOYMENT",
    "MODELPACK_HOST",
    "MODELPACK_PORT",
    "MODELPACK_PORT_GROUP",
    "MODELPACK_PORT_KEEPER",
    "MODELPACK_SLEEPS",
    "MODELPACK_TAG",
)
"""Variables that the targets set themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSpec:
    """A wanted deployment.  Raises TagError for a bad name, UsageError for a bad variable."""

    name: str
    """Name of the deployment, unique at its target."""

    bundle: str
    """Tag of the bundle with its version, such as ``digits:7c1f0b2e9a44``."""

    digest: str
    """Manifest digest of the bundle: what the tag stood for when this was made."""

    image: str | None = None
    """Image reference, for targets that run images."""

    settings: DeploySettings = field(default_factory=DeploySettings)
    """Address, limits and environment."""

    def __post_init__(self) -> None:
        check_name(self.name)
        if Tag.parse(self.bundle).version is None:
            raise UsageError(
                f"the bundle '{self.bundle}' of a deployment has no version",
                hint="resolve the tag in the store first",
            )
        for variable in RESERVED_ENV:
            if variable in self.settings.env or variable in self.settings.secrets:
                where = "env" if variable in self.settings.env else "secrets"
                raise UsageError(
                    f"deploy.{where}.{variable} is set by the target",
                    hint="use 'deploy.host' and 'deploy.port' for the address of a deployment",
                )
        try:
            settings_from_env(ServerSettings(), self.settings.env)
        except ValueError as cause:
            raise UsageError(f"deploy.env.{cause}", hint="the server could not start so") from cause

    @property
    def revision(self) -> str:
        """Twelve hex digits that name this very state of the deployment."""
        return sha256_digest(canonical_json(self.facts())).removeprefix("sha256:")[:12]

    @property
    def version(self) -> str:
        """Version of the bundle."""
        return self.bundle.partition(":")[2]

    def facts(self) -> dict[str, Fact]:
        """Return what decides what runs, one flat fact a key, unset ones left out."""
        settings = self.settings
        facts: dict[str, Fact] = {
            "bundle": self.bundle,
            "digest": self.digest,
            "image": self.image,
            "host": settings.host,
            "port": settings.port,
            # Nine decimals are what container engines keep.
            "cpu": None if settings.cpu is None else round(float(settings.cpu), 9),
            "memory_bytes": settings.memory_bytes,
        }
        facts |= {f"env.{key}": value for key, value in sorted(settings.env.items())}
        for name, value in _set_beyond(settings, (*_PLAIN, *_NO_FACTS)).items():
            facts |= _as_facts(name, value)
        return {key: value for key, value in facts.items() if value is not None}

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, from which ``from_json`` makes an equal spec."""
        settings = self.settings
        return {
            "name": self.name,
            "bundle": self.bundle,
            "digest": self.digest,
            "image": self.image,
            "settings": {name: _plain(getattr(settings, name)) for name in _PLAIN}
            | _set_beyond(settings, (*_PLAIN, "target")),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DeploymentSpec:
        """Read what ``to_json`` wrote; raises DeployError when it is damaged."""
        try:
            settings = settings_from(DeploySettings, value["settings"])
            return cls(
                name=value["name"],
                bundle=value["bundle"],
                digest=value["digest"],
                image=value["image"],
                settings=settings,
            )
        except (KeyError, TypeError, ValueError, AttributeError, UsageError) as cause:
            raise DeployError(
                "the stored description of a deployment cannot be read",
                hint="deploy it again; a newer modelpack may have written it",
            ) from cause

    def canonical(self) -> str:
        """Return the one text form, canonical JSON, that engines keep for us."""
        return canonical_json(self.to_json()).decode()


def fact_field(key: str) -> str:
    """Return the field of the settings behind a fact: ``env.NAME`` is of ``env``."""
    return _FAMILIES.get(key.partition(".")[0], key.partition(".")[0])


_FAMILIES = {"secret": "secrets", "label": "labels"}


def _set_beyond(settings: DeploySettings, others: tuple[str, ...]) -> dict[str, Any]:
    """Return the settings that differ from their defaults, but for the others, as plain JSON."""
    default = DeploySettings()
    names = [item.name for item in fields(settings) if item.name not in others]
    return {
        name: _plain(value)
        for name in names
        if (value := getattr(settings, name)) != getattr(default, name)
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _as_facts(name: str, value: Any) -> dict[str, Fact]:
    """Return a setting as flat facts: a list as one text, a mapping as one fact a key."""
    if isinstance(value, Mapping):
        word = next((word for word, of in _FAMILIES.items() if of == name), name)
        return {f"{word}.{key}": one for key, one in sorted(value.items())}
    if isinstance(value, list):
        return {name: " ".join(value)}
    if isinstance(value, bool):
        return {name: "yes" if value else "no"}
    return {name: value}
