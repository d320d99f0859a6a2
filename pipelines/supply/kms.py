"""Signing with a key that never leaves AWS KMS (AWS KMS API reference, "GetPublicKey", "Sign")."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Protocol

from pipelines.supply.keys import PublicKey
from registry.aws import Answered, Clients, ask
from registry.errors import InvalidInput, NotFound, Refused

_SERVICE = "KMS"
_SCHEME = "ECDSA_SHA_256"
_RAW_MAX = 4096
"""Bytes of a message that KMS takes; of a longer one it takes the digest."""
_NAME = re.compile(
    r"awskms:///("
    r"alias/[A-Za-z0-9/_-]{1,250}"
    r"|(?:mrk-)?[0-9a-f][0-9a-f-]{31,35}"
    r"|arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(?:key/[A-Za-z0-9-]{1,64}|alias/[A-Za-z0-9/_-]{1,250})"
    r")"
)


class Kms(Protocol):
    """What is used of boto3's client for KMS."""

    def get_public_key(self, *, KeyId: str) -> Mapping[str, Any]:  # noqa: N803  # boto3's names
        """The public half of a key, as `PublicKey` in DER."""

    def sign(
        self,
        *,
        KeyId: str,  # noqa: N803
        Message: bytes,  # noqa: N803
        MessageType: str,  # noqa: N803
        SigningAlgorithm: str,  # noqa: N803
    ) -> Mapping[str, Any]:
        """A signature, as `Signature` in DER."""


class KmsSigner:
    """Signs with a key of AWS KMS: `ECC_NIST_P256`, for `SIGN_VERIFY`."""

    def __init__(self, client: Kms, key: str) -> None:
        self._client, self._key = client, key
        told = _asked(key, client.get_public_key, KeyId=key)
        if _SCHEME not in told.get("SigningAlgorithms", ()):
            raise InvalidInput(
                f"{key} in KMS does not sign by {_SCHEME}: give a key of the spec ECC_NIST_P256 for SIGN_VERIFY."
            )
        self.public = PublicKey.parse(told["PublicKey"], f"{key} in KMS")

    @classmethod
    def open(cls, name: str, clients: Clients) -> KmsSigner:
        """A key by its name: `awskms:///alias/…`, or the key's id or ARN, or the alias's ARN, in its place.

        Raises:
            InvalidInput: no key is called that, or it is of another kind.
            NotFound: there is no such key.
            Refused: it may not be used.
            Unavailable: KMS does not answer.
        """
        match = _NAME.fullmatch(name)
        if not match:
            raise InvalidInput(
                f"{name[:300]!r} names no key in KMS: write awskms:///alias/sluice, or the key's id or ARN instead of"
                " the alias; another endpoint goes into AWS_ENDPOINT_URL_KMS."
            )
        return cls(clients.kms(), match[1])

    def sign(self, payload: bytes) -> bytes:
        """A signature of these bytes; one request.

        Raises:
            Refused: the key may not be used, or what came back is no signature of its.
            Unavailable: KMS does not answer.
        """
        raw = len(payload) <= _RAW_MAX
        told = _asked(
            self._key,
            self._client.sign,
            KeyId=self._key,
            Message=payload if raw else sha256(payload).digest(),
            MessageType="RAW" if raw else "DIGEST",
            SigningAlgorithm=_SCHEME,
        )
        signature: bytes = told["Signature"]
        if not self.public.verify(payload, signature):
            raise Refused(f"What KMS signed with {self._key} does not verify: check the endpoint, and the key.")
        return signature


def _asked(key: str, function: Any, **fields: object) -> Mapping[str, Any]:
    try:
        answer: Mapping[str, Any] = ask(_SERVICE, function, **fields)
    except Answered as error:
        if error.code == "NotFoundException":
            raise NotFound(f"There is no key {key} in KMS in this account and region: correct [signing].") from error
        if error.code in ("DisabledException", "KMSInvalidStateException"):
            raise Refused(f"The key {key} in KMS is not enabled: enable it, or sign with another.") from error
        if error.code == "InvalidKeyUsageException" or error.code == "UnsupportedOperationException":
            raise InvalidInput(f"The key {key} in KMS does not sign: give an ECC_NIST_P256 for SIGN_VERIFY.") from error
        raise
    return answer
