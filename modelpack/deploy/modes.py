"""Targets with several services behind them: one mode for each, found by its word.

    deploy.mode: ecs ──Modes.load──► Mode (imported when it is first needed)
    spec + allowed ──Modes.asked──► (word, why), or None: the target chooses by its own rules

A mode has no state: what it acts on it is given.  What a service does of a spec stands in its class.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import ClassVar, Generic, TypeVar, cast

from modelpack.deploy.capabilities import Capabilities
from modelpack.deploy.plugin import refuse_unknown
from modelpack.deploy.spec import DeploymentSpec
from modelpack.errors import DeployError, UsageError, did_you_mean


class Mode(ABC):
    """One service of a platform; has no state."""

    word: ClassVar[str]
    """What ``deploy.mode`` says, such as ``ecs``."""

    title: ClassVar[str] = ""
    """Its name for people."""

    heeds: ClassVar[frozenset[str]] = frozenset()
    """Fields of ``DeploySettings`` that it does."""

    reasons: ClassVar[Mapping[str, str]] = {}
    """Why it does not do others, by field."""

    schemes: ClassVar[tuple[str, ...]] = ()
    """What may stand before the colon of a secret's reference."""

    options: ClassVar[Mapping[str, str]] = {}
    """Options of the target that it knows beside those of all modes, and what they mean."""

    @property
    def capabilities(self) -> Capabilities:
        """What it does of a spec, and of the rest, why not."""
        return Capabilities(heeds=self.heeds, reasons=self.reasons, secret_schemes=self.schemes)


M = TypeVar("M", bound=Mode)


@dataclass(frozen=True)
class Modes(Generic[M]):
    """The modes of a target, by their words, such as ``Modes[AwsMode]({"ecs": …})``."""

    paths: Mapping[str, str]
    """By word: ``module:Class``."""

    def load(self, word: str) -> M:
        """Return the mode of a word; imports it.  Raises DeployError for a word that is none."""
        if word not in self.paths:
            raise DeployError(
                f"there is no mode '{word}' here, it has {', '.join(self.paths)}",
                hint="a newer plugin may have made the deployment; upgrade this one",
            )
        module, _, name = self.paths[word].partition(":")
        found = getattr(import_module(module), name)()
        if not isinstance(found, Mode):
            raise TypeError(f"{self.paths[word]} is no mode")
        return cast("M", found)

    def asked(self, spec: DeploymentSpec, allowed: Sequence[str]) -> tuple[str, str] | None:
        """Return the word of a mode that leaves no choice, and why; None: there is one.

        allowed  words of the modes that the target has; of one alone there is no choice

        Raises UsageError for a mode that the target has not.
        """
        word = spec.settings.mode
        if word is None:
            return (allowed[0], "asked for by the target") if len(allowed) == 1 else None
        if word not in allowed:
            near = did_you_mean(word, allowed)
            raise UsageError(
                f"deploy.mode: '{word}' is none of this target",
                hint=f"did you mean '{near}'?" if near else f"it has {', '.join(allowed)}",
            )
        return word, "asked for"

    def refuse_unknown(
        self,
        target: str,
        options: Mapping[str, str],
        common: Collection[str],
        allowed: Sequence[str],
    ) -> None:
        """Raise UsageError for an option that is neither common nor of a mode that the target has."""
        known = set(common).union(*(self.load(word).options for word in allowed))
        refuse_unknown(target, options, known)

    def refuse_foreign(self, mode: M, options: Mapping[str, str], common: Collection[str]) -> None:
        """Raise UsageError for an option that another mode has, and this one passes over."""
        for option in options:
            if option in common or option in mode.options:
                continue
            others = [word for word in self.paths if option in self.load(word).options]
            named = " or ".join(f"'{word}'" for word in others)
            raise UsageError(
                f"option '{option}' is for the mode {named}, and this is '{mode.word}'",
                hint=f"leave it out, or set 'deploy.mode' to {named}",
            )
