"""Signatures, and what they are asked for.

keys        the PEM files             envelope    Sigstore bundle, DSSE
statement   what is signed            files       the SHA-256 of every file
signatures  made, found, judged       policy      ``trust.yaml``: whom this machine trusts
code        models that run code      gate        ``check``: may this be done?

    sign(store, entry, load_private_key(FILE, ask))     a signature beside the entry
    signature_state(store, entry)                       every signature, and what it is worth
    check(store, entry, "serve")                        returns, or raises RefusedError
    verify(store, entry, [load_public_key(FILE)])       every byte, then every signature

Nothing here runs anything of an entry.
"""

from __future__ import annotations

from modelpack.trust.code import CodeModel, code_models
from modelpack.trust.gate import Report, check, verify
from modelpack.trust.keys import (
    PublicKey,
    SigningKey,
    load_private_key,
    load_public_key,
    new_key,
)
from modelpack.trust.policy import Action, Policy, load_policy, policy_file
from modelpack.trust.signatures import (
    Signature,
    State,
    attach_signature,
    sign,
    signature_state,
)

__all__ = [
    "Action",
    "CodeModel",
    "Policy",
    "PublicKey",
    "Report",
    "Signature",
    "SigningKey",
    "State",
    "attach_signature",
    "check",
    "code_models",
    "load_policy",
    "load_private_key",
    "load_public_key",
    "new_key",
    "policy_file",
    "sign",
    "signature_state",
    "verify",
]
