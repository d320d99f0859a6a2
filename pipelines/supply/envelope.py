"""Signed statements: DSSE, "Dead Simple Signing Envelope" 1.0.2 (secure-systems-lab/dsse, protocol.md, envelope.md)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.image.canonical import canonical
from pipelines.supply.keys import PublicKey
from pipelines.supply.signing import Signer
from registry.errors import Refused

ENVELOPE_TYPE = "application/vnd.dsse.envelope.v1+json"
STATEMENT_TYPE = "application/vnd.in-toto+json"
ENVELOPE_MAX = 1 << 20
"""Bytes of an envelope, or of a statement that is in none."""
_SIGNATURES_MAX = 16


class _Signature(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    sig: str


class _Envelope(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    payload_type: str = Field(alias="payloadType")
    payload: str
    signatures: Annotated[tuple[_Signature, ...], Field(min_length=1, max_length=_SIGNATURES_MAX)]


def seal(statement: bytes, signer: Signer) -> bytes:
    """An envelope with a statement and its signature, as canonical JSON."""
    signature = signer.sign(_encoded(STATEMENT_TYPE, statement))
    # an empty key id, as cosign writes it: whoever verifies tries the keys that are trusted
    signatures = [{"keyid": "", "sig": base64.b64encode(signature).decode()}]
    payload = base64.b64encode(statement).decode()
    return canonical({"payloadType": STATEMENT_TYPE, "payload": payload, "signatures": signatures})


def unseal(data: bytes, keys: Sequence[PublicKey]) -> bytes:
    """The statement in an envelope, which one of `keys` must have signed.

    Raises:
        Refused: it is no envelope of a statement, or none of them did.
    """
    if len(data) > ENVELOPE_MAX:
        raise Refused(f"An envelope has {len(data)} bytes, where {ENVELOPE_MAX} are the most: delete it.")
    try:
        envelope = _Envelope.model_validate_json(data)
    except ValidationError as error:
        raise Refused(
            "An attestation is no envelope that can be read: delete it, and attest the image again."
        ) from error
    if envelope.payload_type != STATEMENT_TYPE:
        raise Refused(f"An envelope holds {envelope.payload_type[:80]!r}, no statement: delete it.")
    payload = decoded(envelope.payload)
    signed = _encoded(envelope.payload_type, payload)
    signatures = [decoded(one.sig) for one in envelope.signatures]
    if not any(key.verify(signed, signature) for key in keys for signature in signatures):
        raise Refused("No trusted key has signed the attestation: attest the image again, or trust the key.")
    return payload


def decoded(text: str) -> bytes:
    """Bytes from base64 (RFC 4648, section 4).

    Raises:
        Refused: it is something else.
    """
    try:
        return base64.b64decode(text.encode(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused("A signature or what it signs is not in base64: delete it, and sign the image again.") from error


def _encoded(kind: str, payload: bytes) -> bytes:
    """What is signed: PAE of type and payload."""
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
