"""Whom this machine trusts with what: the file ``trust.yaml``.

    keys:
      release:
        file: release.pub             relative to this file
        names: [digits, "fraud-*"]    what it may sign; default: everything
        until: 2027-12-31             the last day on which it counts; default: for ever
        files_only: true              signatures without name and version count too
    rules:                            the first that fits counts
      - names: ["lab-*"]
        require_signature: [deploy]
      - names: ["*"]
        require_signature: [serve, pull, deploy, containerize]
        code_models: refuse

It is ``$MODELPACK_TRUST``, else ``$MODELPACK_HOME/trust.yaml``, and never a file of a project or bundle:
what is judged has no say in it.  A model is named ``models/NAME``.  Without the file nothing is
required.  A file that is named by the variable and is not there, and one with a mistake, stops
every command that asks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from modelpack import paths
from modelpack.errors import ConfigError, Mistake, did_you_mean
from modelpack.store import Entry, Kind

if TYPE_CHECKING:
    from modelpack.config.document import Document, KeyPath
    from modelpack.trust.keys import PublicKey

Action = Literal["serve", "pull", "deploy", "containerize"]
"""What is done with an entry; ``serve`` stands for everything that runs its code here."""

ACTIONS: tuple[Action, ...] = get_args(Action)
POLICY_FILE = "trust.yaml"
VARIABLE = "MODELPACK_TRUST"
MAX_FILE_BYTES = 1024 * 1024

_KEY_KEYS = ("file", "names", "until", "files_only")
_RULE_KEYS = ("names", "require_signature", "code_models")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A key whose signatures count."""

    name: str
    file: Path
    names: tuple[str, ...] = ("*",)
    """Patterns of what it may sign."""
    until: date | None = None
    """The last day (UTC) on which it counts."""
    files_only: bool = False
    """True when a signature counts that covers the files, but not name and version."""

    def load(self) -> PublicKey:
        """Return the key itself; raises NotFoundError and UsageError."""
        from modelpack.trust.keys import load_public_key

        return load_public_key(self.file, self.name)

    def is_for(self, entry: Entry) -> bool:
        """Say whether it may sign the entry."""
        return matches(self.names, entry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What is asked of the entries of some names."""

    names: tuple[str, ...]
    require_signature: frozenset[Action] = frozenset()
    refuses_code_models: bool = False
    """True when models that run code as they are loaded are refused, whatever is done."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the file says; without one, nothing."""

    source: Path | None = None
    keys: tuple[TrustedKey, ...] = ()
    rules: tuple[Rule, ...] = ()

    def rule_for(self, entry: Entry) -> Rule:
        """Return the first rule that fits; one that asks for nothing when none does."""
        fitting = (rule for rule in self.rules if matches(rule.names, entry))
        return next(fitting, Rule(names=("*",)))

    def load_keys(self) -> list[PublicKey]:
        """Return the keys themselves; raises NotFoundError and UsageError."""
        return [key.load() for key in self.keys]


def matches(patterns: Sequence[str], entry: Entry) -> bool:
    """Say whether one of the patterns fits the name of a bundle, or ``models/NAME`` of a model."""
    name = f"models/{entry.tag.name}" if entry.kind is Kind.MODEL else entry.tag.name
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def policy_file() -> Path:
    """Return where the policy is looked for."""
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser().absolute()
    return paths.home_dir() / POLICY_FILE


def load_policy(file: Path | None = None) -> Policy:
    """Return what the policy file says; raises ConfigError with all its mistakes."""
    is_asked_for = file is not None or bool(os.environ.get(VARIABLE))
    file = file or policy_file()
    if not is_asked_for and not os.path.lexists(file):
        return Policy()

    from modelpack.config.yaml_file import read_yaml

    document = read_yaml(_text(file), str(file))
    policy = _Reader(document, file).policy()
    if document.mistakes:
        raise ConfigError(sorted(document.mistakes, key=lambda m: (m.line or 0, m.column or 0)))
    return policy


def _text(file: Path) -> str:
    """Return the text of the file; whatever stops that refuses, for silence would allow all."""
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ConfigError([Mistake(str(file), None, None, "larger than 1 MiB")])
        return data.decode("utf-8-sig")
    except OSError as cause:
        what = f"the trust policy cannot be read: {(cause.strerror or 'failed').lower()}"
        hint = f"nothing is trusted until it can; '{VARIABLE}' says where it is"
        raise ConfigError([Mistake(str(file), None, None, what)], hint=hint) from cause
    except UnicodeDecodeError as cause:
        raise ConfigError([Mistake(str(file), None, None, "not UTF-8 text")]) from cause


class _Reader:
    """Makes a policy of a document; what is wrong becomes a mistake at its place."""

    def __init__(self, document: Document, file: Path) -> None:
        self.document = document
        self.file = file

    def policy(self) -> Policy:
        top = self.mapping(self.document.values, (), ("keys", "rules"))
        keys = self.mapping(_given(top.get("keys"), {}), ("keys",))
        rules = _given(top.get("rules"), [])
        if not isinstance(rules, list):
            self.mistake(("rules",), "must be a list of rules")
            rules = []
        return Policy(
            self.file,
            tuple(self.key(name, value) for name, value in keys.items()),
            tuple(self.rule(number, value) for number, value in enumerate(rules)),
        )

    def key(self, name: str, value: object) -> TrustedKey:
        at = ("keys", name)
        words = self.mapping(value, at, _KEY_KEYS)
        file = words.get("file")
        if not isinstance(file, str) or not file:
            self.mistake((*at, "file"), "must name the file of a public key")
            file = ""
        files_only = words.get("files_only", False)
        if not isinstance(files_only, bool):
            self.mistake((*at, "files_only"), "must be true or false")
        return TrustedKey(
            name=name,
            file=self.file.parent / Path(file).expanduser(),
            names=self.patterns(words.get("names", ["*"]), (*at, "names")),
            until=self.day(words.get("until"), (*at, "until")),
            files_only=files_only is True,
        )

    def rule(self, number: int, value: object) -> Rule:
        at = ("rules", number)
        words = self.mapping(value, at, _RULE_KEYS)
        code_models = words.get("code_models", "allow")
        if code_models not in ("allow", "refuse"):
            self.mistake((*at, "code_models"), "must be 'allow' or 'refuse'")
        if "names" not in words:
            self.mistake(at, "a rule needs 'names', such as [\"*\"]")
        return Rule(
            names=self.patterns(words.get("names", ["*"]), (*at, "names")),
            require_signature=self.actions(_given(words.get("require_signature"), []), at),
            refuses_code_models=code_models == "refuse",
        )

    def actions(self, value: object, at: KeyPath) -> frozenset[Action]:
        at = (*at, "require_signature")
        if not isinstance(value, list):
            self.mistake(at, f"must be a list of {', '.join(ACTIONS)}")
            return frozenset()
        for number, one in enumerate(value):
            if one not in ACTIONS:
                near = did_you_mean(str(one), ACTIONS)
                meant = f", did you mean '{near}'?" if near else f": one of {', '.join(ACTIONS)}"
                self.mistake((*at, number), f"no action '{_shown(one)}'{meant}")
        return frozenset(action for action in ACTIONS if action in value)

    def patterns(self, value: object, at: KeyPath) -> tuple[str, ...]:
        if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
            self.mistake(at, 'must be a list of names or patterns, such as [digits, "fraud-*"]')
            return ()
        return tuple(value)

    def day(self, value: object, at: KeyPath) -> date | None:
        if value is None:
            return None
        try:
            if not isinstance(value, str) or not _DATE.fullmatch(value):
                raise ValueError
            return datetime.strptime(value, "%Y-%m-%d").date()
        except ValueError:
            self.mistake(at, "must be a day, such as 2027-12-31")
            return None

    def mapping(
        self, value: object, at: KeyPath, known: Sequence[str] | None = None
    ) -> dict[str, object]:
        """Return keys and values; with ``known``, every other key is a mistake."""
        if not isinstance(value, dict):
            self.mistake(at, "must hold keys and values")
            return {}
        for key in value:
            if known is not None and key not in known:
                near = did_you_mean(key, known)
                meant = (
                    f", did you mean '{near}'?" if near else f", must be one of {', '.join(known)}"
                )
                self.mistake((*at, key), f"unknown key{meant}")
        return dict(value)

    def mistake(self, at: KeyPath, what: str) -> None:
        from modelpack.config.document import dotted

        self.document.mistake(at, f"{dotted(at)}: {what}" if at else what)


def _given(value: object, default: object) -> object:
    """Return the default for a key with nothing after it, which is a key left out."""
    return default if value is None else value


def _shown(value: object) -> str:
    from modelpack.config.document import clipped

    return clipped(str(value))
