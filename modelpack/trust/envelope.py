"""A signature as it is kept and sent: a Sigstore bundle around a DSSE envelope.

    statement (bytes) ──seal(key)──► {mediaType, verificationMaterial: the key's id,
                                      dsseEnvelope: {payloadType, payload, signatures: [one]}}
    JSON ──open_envelope──► Envelope ──is_signed_by(key)──► the statement may be believed

This is the form of OpenSSF model signing v1.0 with a key.  What is signed is not the payload alone
but its type and length as well (DSSE's pre-authentication encoding), so that no other document of
the same bytes passes for a statement.  The id of the key is a hint, covered by nothing: it says
which key to try, never that it fits.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass

from modelpack.errors import RefusedError
from modelpack.manifest import canonical_json
from modelpack.store.names import shown
from modelpack.trust.keys import PublicKey, SigningKey

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
"""Media type of the whole, and artifact type of the referrer that keeps it."""

PAYLOAD_TYPE = "application/vnd.in-toto+json"


@dataclass(frozen=True, slots=True)
class Envelope:
    """A signature that was read and is not believed yet."""

    payload_type: str
    payload: bytes
    signature: bytes
    key_id: str | None
    """Which key it claims to be made with; None: it does not say."""

    def is_signed_by(self, key: PublicKey) -> bool:
        """Say whether the key signed this very payload as what it claims to be."""
        return key.verifies(self.signature, _encoded(self.payload_type, self.payload))


def seal(statement: bytes, key: SigningKey) -> bytes:
    """Sign a statement; return the Sigstore bundle as JSON."""
    return canonical_json(
        {
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": {"publicKey": {"hint": key.id}, "tlogEntries": []},
            "dsseEnvelope": {
                "payloadType": PAYLOAD_TYPE,
                "payload": _text(statement),
                "signatures": [{"sig": _text(key.sign(_encoded(PAYLOAD_TYPE, statement)))}],
            },
        }
    )


def open_envelope(data: bytes) -> Envelope:
    """Read a Sigstore bundle; raises RefusedError for what is none, or not made with a key."""
    try:
        value = json.loads(data)
        if value["mediaType"] != BUNDLE_TYPE:
            raise RefusedError(f"it is of the form '{shown(str(value['mediaType']))}'")
        material = value["verificationMaterial"]
        if "publicKey" not in material:
            raise RefusedError("it was made with a certificate, and modelpack reads keys")
        hint = material["publicKey"].get("hint")
        envelope = value["dsseEnvelope"]
        (signature,) = envelope["signatures"]
        return Envelope(
            payload_type=str(envelope["payloadType"]),
            payload=_bytes(envelope["payload"]),
            signature=_bytes(signature["sig"]),
            key_id=str(hint) if hint else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
        raise RefusedError("it is no Sigstore bundle with one signature") from cause


def _encoded(payload_type: str, payload: bytes) -> bytes:
    """Return what is signed: DSSE's pre-authentication encoding, version 1."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as cause:
        raise ValueError("not base64") from cause
