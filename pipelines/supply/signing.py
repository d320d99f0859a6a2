"""Keys that sign: one in a file here, one that a KMS holds in kms.py.

A file holds a private key in PEM: PKCS #8 (RFC 5958), encrypted or not, or SEC 1 (RFC 5915). cosign's own encrypted
format is not read, since its cipher (NaCl's secretbox) is in no library that is used here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from pipelines.supply.keys import KINDS, PublicKey, fits, read_file
from registry.aws import Clients
from registry.errors import InvalidInput

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    Key: TypeAlias = EllipticCurvePrivateKey | Ed25519PrivateKey

KMS = "awskms://"
"""What begins the name of a key in AWS KMS, as cosign writes it."""
PASSWORDS = ("SLUICE_SIGNING_PASSWORD", "COSIGN_PASSWORD")
"""The environment variables that may have a key's password, the first one that is set."""
_COSIGN = (b"ENCRYPTED SIGSTORE PRIVATE KEY", b"ENCRYPTED COSIGN PRIVATE KEY")


class Signer(Protocol):
    """Signs for whoever holds its private key."""

    @property
    def public(self) -> PublicKey:
        """What verifies its signatures."""

    def sign(self, payload: bytes) -> bytes:
        """A signature of these bytes, as `PublicKey.verify` takes it.

        Raises:
            Refused: the key may not be used.
            Unavailable: what holds the key does not answer.
        """


class KeySigner:
    """Signs with a private key that is in memory."""

    def __init__(self, key: Key) -> None:
        self._key = key
        self.public = PublicKey(key.public_key())

    @classmethod
    def parse(cls, data: bytes, password: bytes | None, what: str) -> KeySigner:
        """Read a private key in PEM; `what` is what errors call it.

        Raises:
            InvalidInput: it is none, of another kind or format, or the password is not its.
        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        if any(header in data for header in _COSIGN):
            raise InvalidInput(
                f"{what} is in cosign's own encrypted format, which is not read here: make another by `openssl"
                " genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -out sluice.key`; cosign verifies by"
                " its public half, which `sluice public-key` prints."
            )
        encrypted = b"ENCRYPTED" in data
        if encrypted and not password:
            raise InvalidInput(f"{what} is encrypted: put its password into {PASSWORDS[0]}.")
        try:
            key = load_pem_private_key(data, password if encrypted else None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            reason = f"the password in {' or '.join(PASSWORDS)} is not its, or it is damaged" if encrypted else ""
            raise InvalidInput(
                f"{what} cannot be read as a private key{f' ({reason})' if reason else ''}: give one in PEM."
            ) from error
        if not fits(key):
            raise InvalidInput(f"{what} is of a kind that does not sign here: give {KINDS}.")
        return cls(key)  # type: ignore[arg-type]  # `fits` has looked

    def sign(self, payload: bytes) -> bytes:
        """A signature of these bytes; the same bytes have the same one."""
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.hashes import SHA256

        if isinstance(self._key, EllipticCurvePrivateKey):
            # RFC 6979: no random number, so none that could be a bad one
            return self._key.sign(payload, ECDSA(SHA256(), deterministic_signing=True))
        return self._key.sign(payload)


def open_signer(name: str, clients: Callable[[], Clients], environment: Mapping[str, str] = os.environ) -> Signer:
    """The signer by its name in the settings: `awskms:///…`, or a file, whose password is in `environment`.

    `clients` makes AWS's clients, where they are needed.

    Raises:
        InvalidInput: the key cannot be used, or nothing is called that.
        NotFound: there is no such key.
    """
    if name.startswith(KMS):
        from pipelines.supply.kms import KmsSigner

        return KmsSigner.open(name, clients())
    if "://" in name:
        raise InvalidInput(f"{name[:200]!r} is no key: name a file, or a key in AWS KMS as {KMS}/alias/sluice.")
    password = next((environment[one] for one in PASSWORDS if environment.get(one)), "")
    return KeySigner.parse(read_file(Path(name)), password.encode(), name)
