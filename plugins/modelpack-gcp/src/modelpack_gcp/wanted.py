"""What a deployment asks of Google, in the words of this package.

    DeploymentSpec ──wanted_from──► Wanted ──► run_body, vertex_body ──► requests

A ``Wanted`` has nothing of a project in it: the same spec gives the same one everywhere.  Names and
labels are made fit for Google here: resource ids have letters, digits and dashes (Google AIP-122),
labels small letters, digits, ``_`` and ``-``, 63 at most (Resource Manager, "Labels overview").
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from modelpack.deploy import DeploymentSpec, DeploySettings, refuse_others
from modelpack.errors import UsageError
from modelpack_gcp import options

PREFIX = "modelpack"
NAME_LABEL = "modelpack-deployment"
TARGET_LABEL = "modelpack-target"

GIB = 1024**3
MIB = 1024**2

_MOST_LETTERS = 40
"""Of a service's name: with a tag in front it is one label of a host name, 63 at most, and a hash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One deployment of one bundle."""

    name: str
    bundle: str
    """``NAME:VERSION``."""
    revision: str
    target: str
    settings: DeploySettings = field(default_factory=DeploySettings)
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Name of all that Google holds of it."""
        return resource_id(self.name)

    @property
    def region(self) -> str | None:
        """Region, as far as spec and options say it."""
        return self.settings.region or self.options.get("region")

    def labels(self) -> dict[str, str]:
        """Return the labels that everything of the deployment has; its own stand above the user's."""
        given = {label_key(key): label_value(one) for key, one in self.settings.labels.items()}
        return given | {NAME_LABEL: self.id, TARGET_LABEL: self.target}

    def refuse_names(self, own: re.Pattern[str], whose: str) -> None:
        """Raise UsageError for a variable whose name a service keeps for itself."""
        for group, names in (("env", self.settings.env), ("secrets", self.settings.secrets)):
            for name in names:
                if own.fullmatch(name):
                    raise UsageError(
                        f"deploy.{group}.{name}: {whose} sets '{name}' itself",
                        hint="give it another name, or leave it out",
                    )

    def flag(self, option: str) -> bool:
        """Return whether an option says yes; raises UsageError for what is neither yes nor no."""
        return options.flag(option, self.options.get(option, "no"))

    def choice(self, option: str, words: tuple[str, ...]) -> str:
        """Return which of the words an option says, by default the first; raises UsageError."""
        return options.choice(option, self.options.get(option, words[0]), words)

    def whole(self, option: str, default: int, least: int, most: int) -> int:
        """Return an option that is a whole number; raises UsageError."""
        said = self.options.get(option)
        return default if said is None else options.whole(option, said, least, most)


def wanted_from(
    spec: DeploymentSpec, *, target: str, given: Mapping[str, str] | None = None
) -> Wanted:
    """Return what a spec asks for; ``given`` are the options of the target."""
    return Wanted(
        name=spec.name,
        bundle=spec.bundle,
        revision=spec.revision,
        target=target,
        settings=spec.settings,
        options=dict(given or {}),
    )


def refuse_foreign(
    what: str, name: str, labels: Mapping[str, str] | None, target: str | None = None
) -> None:
    """Raise ConflictError unless something of Google was made for a deployment, by a target."""
    marks = labels or {}
    made_for = name if marks.get(NAME_LABEL) == resource_id(name) else None
    refuse_others(what, name, made_for, target=target, made_by=marks.get(TARGET_LABEL))


def resource_id(name: str) -> str:
    """Return the name of a deployment as Google takes it: letters, digits and single dashes.

    Where that changes it, or it is too long, six digits of its hash keep two deployments apart.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name).strip("-")
    if plain != name or len(PREFIX) + 1 + len(plain) > _MOST_LETTERS:
        hashed = hashlib.sha256(name.encode()).hexdigest()[:6]
        plain = f"{plain[: _MOST_LETTERS - len(PREFIX) - 8].strip('-')}-{hashed}"
    return f"{PREFIX}-{plain}"


def label_key(text: str) -> str:
    """Return text as the key of a label, which begins with a letter."""
    key = label_value(text)
    return (key if key[:1].isalpha() else f"x-{key}")[:63]


def label_value(text: str) -> str:
    """Return text as the value of a label."""
    return re.sub(r"[^a-z0-9_-]", "-", text.lower())[:63]
