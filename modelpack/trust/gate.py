"""May this be done with that bundle?  Asked before it is done.

    check(store, entry, "serve") ──► policy: the rule for its name
                                       ├─ a model runs code, and that is refused ──► CodeModelError
                                       └─ a signature is required, none counts ────► UntrustedError
    verify(store, entry, keys) ────► every byte, every signature ──► Report

A signature **counts** when it is valid, its key may sign that name and has not run out, and it covers
name and version, unless the policy says of the key that the files are enough.  Nothing of the
bundle is run, and without a policy nothing is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from modelpack.errors import CodeModelError, UntrustedError
from modelpack.progress import SILENT, Progress
from modelpack.store import Entry, Store, Verified
from modelpack.trust.keys import PublicKey
from modelpack.trust.policy import ACTIONS, Action, Policy, TrustedKey, load_policy
from modelpack.trust.signatures import Signature, signature_state


def check(
    store: Store,
    entry: Entry,
    action: Action,
    *,
    refuses_code_models: bool = False,
    policy: Policy | None = None,
    now: datetime | None = None,
) -> None:
    """Return when the action may be done with the entry.

    refuses_code_models  rule out models that run code as they are loaded, whatever the policy says
    policy               default: that of the policy file
    now                  default: the clock

    Raises UntrustedError, CodeModelError, ConfigError for a policy with mistakes, and what
    reading the entry raises.
    """
    policy = policy if policy is not None else load_policy()
    rule = policy.rule_for(entry)
    if refuses_code_models or rule.refuses_code_models:
        refuse_code_models(store, entry, policy if rule.refuses_code_models else None)
    if action in rule.require_signature:
        now = now or datetime.now(UTC)
        found = signature_state(store, entry, policy.load_keys(), now=now)
        counting_signature(entry, found, policy, now.date())


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What ``verify`` found of an entry whose bytes are whole."""

    entry: Entry
    verified: Verified
    signatures: tuple[Signature, ...]
    policy: Policy
    problem: UntrustedError | None
    """Why its signatures are not enough; None when they are, or when none is asked for."""

    @property
    def required_for(self) -> tuple[Action, ...]:
        """What the policy allows only with a signature."""
        required = self.policy.rule_for(self.entry).require_signature
        return tuple(action for action in ACTIONS if action in required)

    def to_json(self) -> dict[str, Any]:
        """Return the facts as JSON values."""
        return {
            "kind": str(self.entry.kind),
            "tag": str(self.entry.tag),
            "digest": self.entry.digest,
            "files": self.verified.files,
            "size_bytes": self.verified.size,
            "signatures": [one.to_json() for one in self.signatures],
            "required_for": list(self.required_for),
            "problem": self.problem.message if self.problem else None,
        }


def verify(
    store: Store,
    entry: Entry,
    keys: Sequence[PublicKey] = (),
    *,
    policy: Policy | None = None,
    progress: Progress = SILENT,
    now: datetime | None = None,
) -> Report:
    """Read every byte of an entry again, then judge its signatures against every file.

    With ``keys`` one of them must have signed it.  Without, the keys of the policy are asked: a
    signature must count where the policy requires one, and when there are any by these keys, one
    must hold.  What is wrong with the signatures is in the report, not raised.

    Raises DigestMismatchError for bytes that are not those that were stored.
    """
    policy = policy if policy is not None else load_policy()
    now = now or datetime.now(UTC)
    verified = store.verify(entry, progress)
    found = signature_state(store, entry, keys or policy.load_keys(), is_deep=True, now=now)
    problem: UntrustedError | None = None
    try:
        if keys:
            _require_valid(entry, found, " or ".join(f"'{key.name}'" for key in keys))
        elif policy.rule_for(entry).require_signature:
            counting_signature(entry, found, policy, now.date())
        elif any(one.key is not None for one in found):
            _require_valid(entry, found, "a key of the policy")
    except UntrustedError as error:
        problem = error
    return Report(
        entry=entry, verified=verified, signatures=tuple(found), policy=policy, problem=problem
    )


def counting_signature(
    entry: Entry, found: Sequence[Signature], policy: Policy, today: date
) -> Signature:
    """Return the first signature that counts by the policy; raises UntrustedError.

    found  what ``signature_state`` says with the keys of the policy
    today  the day (UTC) on which keys must count
    """
    by_id: dict[str, list[TrustedKey]] = {}
    for key in policy.keys if found else ():
        by_id.setdefault(key.load().id, []).append(key)
    reasons = []
    for one in found:
        if one.key is None:
            continue
        against = [_against(one, key, entry, today) for key in by_id.get(one.key_id or "", ())]
        if None in against:
            return one
        reasons += [str(reason) for reason in against[-1:]]
    if not reasons:
        reasons = ["none is by a key of the policy" if found else "it has none"]
    raise UntrustedError(
        f"no signature of '{entry.tag}' counts: {reasons[-1]}",
        hint=f"the policy '{policy.source}' requires one; see 'modelpack verify'",
    )


def _against(signature: Signature, key: TrustedKey, entry: Entry, today: date) -> str | None:
    """Return why a signature does not count as one of that key; None when it does."""
    if not signature.is_valid:
        return f"that by '{key.name}' is {signature.state}, {signature.why}"
    if not key.is_for(entry):
        return f"the key '{key.name}' is not for that name"
    if key.until is not None and today > key.until:
        return f"the key '{key.name}' counted until {key.until}"
    if not (signature.is_whole or key.files_only):
        return f"that by '{key.name}' covers the files alone, not name and version"
    return None


def _require_valid(entry: Entry, found: Sequence[Signature], who: str) -> None:
    if any(one.is_valid for one in found):
        return
    judged = [one for one in found if one.key is not None]
    why = f"that by '{judged[-1].key}' is {judged[-1].state}, {judged[-1].why}" if judged else ""
    why = why or (f"none is by {who}" if found else "it has none")
    raise UntrustedError(
        f"no signature of '{entry.tag}' holds: {why}",
        hint="get it again from who made it, or ask them which key they sign with",
    )


def refuse_code_models(store: Store, entry: Entry, policy: Policy | None = None) -> None:
    """Raise CodeModelError when a model of the entry runs code as it is loaded.

    policy  which one refuses them; None: the user does, by a flag
    """
    from modelpack.trust.code import code_models

    if models := code_models(store, entry):
        by = f"the policy '{policy.source}'" if policy else "--no-code-models"
        raise CodeModelError(
            f"'{entry.tag}' holds models that run code as they are loaded: "
            f"{', '.join(str(model) for model in models)}",
            hint=f"{by} refuses them; a model in ONNX form runs none",
        )
