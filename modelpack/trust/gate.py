"""May this be done with that bundle?  Asked before it is done.

    check(store, entry, "serve") ──► policy: the rule for its name
                                       ├─ a model runs code, and that is refused ──► CodeModelError
                                       └─ a signature is required, none counts ────► UntrustedError

A signature counts when it is valid, its key may sign that name and has not run out, and it covers
name and version, unless the policy says of the key that the files are enough.  Nothing of the
bundle is run, and without a policy nothing is read but the file that is not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from modelpack.errors import CodeModelError, UntrustedError
from modelpack.store import Entry, Store
from modelpack.trust.policy import Action, Policy, TrustedKey, load_policy
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
        require_signature(store, entry, policy, now=now)


def require_signature(
    store: Store, entry: Entry, policy: Policy, *, now: datetime | None = None
) -> Signature:
    """Return a signature of the entry that counts by the policy; raises UntrustedError."""
    now = now or datetime.now(UTC)
    keys = {key.name: key for key in policy.keys}
    loaded = [key.load() for key in policy.keys if key.counts_for(entry, now.date())]
    found = signature_state(store, entry, loaded, now=now)
    if counting := next((one for one in found if _counts(one, keys)), None):
        return counting
    raise UntrustedError(
        f"no signature of '{entry.tag}' counts: {_why_not(policy, found, now)}",
        hint=f"the policy '{policy.source}' requires one; see 'modelpack verify {entry.tag}'",
    )


def refuse_code_models(store: Store, entry: Entry, policy: Policy | None) -> None:
    """Raise CodeModelError when a model of the entry runs code as it is loaded."""
    from modelpack.trust.code import code_models

    if models := code_models(store, entry):
        by = f"the policy '{policy.source}'" if policy else "--no-code-models"
        raise CodeModelError(
            f"'{entry.tag}' holds models that run code as they are loaded: "
            f"{', '.join(str(model) for model in models)}",
            hint=f"{by} refuses them; a model in ONNX form runs none",
        )


def _counts(signature: Signature, keys: dict[str, TrustedKey]) -> bool:
    return signature.is_valid and (signature.is_whole or keys[signature.key or ""].files_only)


def _why_not(policy: Policy, found: Sequence[Signature], now: datetime) -> str:
    if not found:
        return "it has none"
    if late := [key for key in policy.keys if key.until is not None and now.date() > key.until]:
        ids = {key.load().id: key for key in late}
        for one in found:
            if one.key_id in ids:
                return f"the key '{ids[one.key_id].name}' counted until {ids[one.key_id].until}"
    for one in found:
        if one.is_valid:
            return f"that by '{one.key}' covers the files alone, not name and version"
        if one.key is not None:
            return f"that by '{one.key}' is {one.state}, {one.why}"
    others = {key.load().id: key for key in policy.keys}
    for one in found:
        if one.key_id in others:
            return f"the key '{others[one.key_id].name}' is not for that name"
    return "none is by a key of the policy"
