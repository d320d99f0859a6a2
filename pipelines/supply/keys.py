"""Public keys, and what they verify.

The schemes are those that cosign takes (cosign, SIGNATURE_SPEC.md, "Signature Schemes"): ECDSA on P-256 with SHA-256,
a signature being DER (RFC 3279, section 2.2.3), and Ed25519 (RFC 8032).
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from registry.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    Key: TypeAlias = EllipticCurvePublicKey | Ed25519PublicKey

KEY_MAX = 64 << 10
"""Bytes of a file with a key."""
KINDS = "an ECDSA key on the curve P-256, or an Ed25519 key"


class PublicKey:
    """A key that verifies signatures."""

    def __init__(self, key: Key) -> None:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        self._key = key
        self.pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        """PKIX in PEM (RFC 7468, section 13), as cosign's `cosign.pub`."""
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.name = "sha256:" + sha256(der).hexdigest()
        """The digest of its DER, as `openssl pkey -pubin -outform DER | sha256sum` tells it."""

    @classmethod
    def parse(cls, data: bytes, what: str) -> PublicKey:
        """Read a public key in PEM or DER; `what` is what errors call it.

        Raises:
            InvalidInput: it is none, or of another kind.
        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

        load = load_pem_public_key if data.lstrip().startswith(b"-----") else load_der_public_key
        try:
            key = load(data)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise InvalidInput(f"{what} is no public key: give one in PEM, as cosign.pub is.") from error
        if not fits(key):
            raise InvalidInput(f"{what} is of a kind that is not verified here: give {KINDS}.")
        return cls(key)  # type: ignore[arg-type]  # `fits` has looked

    def verify(self, payload: bytes, signature: bytes) -> bool:
        """Whether the signature is this key's, of this payload."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
        from cryptography.hazmat.primitives.hashes import SHA256

        try:
            if isinstance(self._key, EllipticCurvePublicKey):
                self._key.verify(signature, payload, ECDSA(SHA256()))
            else:
                self._key.verify(signature, payload)
        except InvalidSignature:
            return False
        return True


def fits(key: object) -> bool:
    """Whether a key, public or private, is of a kind that is used here."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    if isinstance(key, EllipticCurvePublicKey | EllipticCurvePrivateKey):
        return key.curve.name == "secp256r1"
    return isinstance(key, Ed25519PublicKey | Ed25519PrivateKey)


def read_keys(paths: Iterable[Path]) -> tuple[PublicKey, ...]:
    """The public keys in files, one in each.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it holds something else.
    """
    return tuple(PublicKey.parse(read_file(path), str(path)) for path in paths)


def read_file(path: Path) -> bytes:
    """A file with a key.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it cannot be read, or is too large for a key.
    """
    try:
        with path.open("rb") as file:
            data = file.read(KEY_MAX + 1)
    except FileNotFoundError as error:
        raise NotFound(f"There is no key in {path}: correct [signing] in sluice.toml.") from error
    except OSError as error:
        raise InvalidInput(f"The key in {path} cannot be read ({error.strerror}): let it be read.") from error
    if len(data) > KEY_MAX:
        raise InvalidInput(f"{path} is too large for a key: correct [signing] in sluice.toml.")
    return data
