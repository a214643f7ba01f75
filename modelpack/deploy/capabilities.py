"""What of a spec a target does, and what becomes of the rest.

    DeploymentSpec + Capabilities ──unheeded──► warnings     not done, and nobody is worse off
                                        └─────► UsageError   not done would be something else

A setting that is not heeded may be passed over when the service then runs all the same, only with
less comfort: a limit, a number of replicas.  It may not when passing it over would open what
should be closed, leave out a secret, or run on another machine than was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelpack.config.deploying import DeploySettings
from modelpack.deploy.plan import looks_secret
from modelpack.deploy.spec import DeploymentSpec, Fact, fact_field
from modelpack.errors import UsageError

NEVER_PASSED_OVER = frozenset(
    {
        "mode",
        "accelerator",
        "instance",
        "canary_percent",
        "secrets",
        "public",
        "vpc",
        "subnets",
        "security_groups",
        "allow",
    }
)
"""Settings that a target does, or refuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a target heeds of ``DeploySettings``, by the names of its fields."""

    heeds: frozenset[str] = frozenset({"env", "host", "port"})

    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why a setting is not heeded, by field, for the warning or the error."""

    secret_schemes: tuple[str, ...] = ()
    """What may stand before the colon of a secret's reference, such as ``env``."""

    def heeded(self, facts: Mapping[str, Fact]) -> dict[str, Fact]:
        """Return the facts without those of settings that are not heeded."""
        return {key: value for key, value in facts.items() if self._is_heeded(key)}

    def _is_heeded(self, key: str) -> bool:
        name = fact_field(key)
        return name in self.heeds or name not in _SETTINGS


_SETTINGS = frozenset(DeploySettings.__dataclass_fields__)
_ALWAYS_SET = frozenset({"host", "port"})


def unheeded(target: str, capabilities: Capabilities, spec: DeploymentSpec) -> tuple[str, ...]:
    """Return a warning for each setting that the target passes over.

    Raises UsageError for one that must not be passed over, and for a secret whose reference the
    target cannot follow; the reference is not repeated, since it may be the secret itself.
    """
    names = dict.fromkeys(fact_field(key) for key in spec.facts())
    warnings = []
    for name in names:
        if name in capabilities.heeds or name not in _SETTINGS or name in _ALWAYS_SET:
            continue
        reason = capabilities.reasons.get(name, f"the target '{target}' does not do it")
        if name in NEVER_PASSED_OVER:
            raise UsageError(
                f"deploy.{written(name)}: {reason}",
                hint="take it out, or deploy to a target that does it",
            )
        warnings.append(f"{written(name)}: {reason}")
    _check_references(target, capabilities, spec)
    warnings += [
        f"env.{key}: looks like a secret; under 'secrets' it would stand by reference"
        for key in spec.settings.env
        if looks_secret(key)
    ]
    return tuple(warnings)


def written(name: str) -> str:
    """Return the key that people write below ``deploy`` for a field: ``scaling.min``."""
    from modelpack.config.deploying import GROUPS
    from modelpack.config.settings import WRITTEN_KEYS

    key = WRITTEN_KEYS.get(name, name)
    group = next((group for group, members in GROUPS.items() if name in members), None)
    return f"{group}.{key}" if group else key


def _check_references(target: str, capabilities: Capabilities, spec: DeploymentSpec) -> None:
    for variable, reference in spec.settings.secrets.items():
        if reference.partition(":")[0] not in capabilities.secret_schemes:
            known = ", ".join(f"'{scheme}:'" for scheme in capabilities.secret_schemes)
            raise UsageError(
                f"deploy.secrets.{variable}: not a reference that the target '{target}' follows",
                hint=f"references begin with {known}",
            )
