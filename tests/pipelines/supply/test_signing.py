"""Keys in files and in KMS, and what is said where one cannot be used."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from pipelines.supply.keys import PublicKey, read_keys
from pipelines.supply.kms import KmsSigner
from pipelines.supply.signing import KeySigner, open_signer
from registry.aws import Clients
from registry.errors import InvalidInput, NotFound, Refused, SluiceError, Unavailable

PASSWORD = "correct horse"
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
KEYS = {"p256": EC, "ed25519": ED}


def no_clients() -> Clients:
    raise AssertionError("a file needs no AWS")


def pem(key: Any, kind: PrivateFormat = PrivateFormat.PKCS8, password: str = "") -> bytes:
    protection = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    return bytes(key.private_bytes(Encoding.PEM, kind, protection))


@pytest.fixture
def key_file(tmp_path: Path) -> Callable[[bytes], str]:
    def write(data: bytes) -> str:
        path = tmp_path / "sluice.key"
        path.write_bytes(data)
        return str(path)

    return write


@pytest.mark.parametrize("key", KEYS.values(), ids=list(KEYS))
@pytest.mark.parametrize("password", ["", PASSWORD])
def test_a_file_signs_what_its_public_half_verifies(key: Any, password: str, key_file: Any) -> None:
    environment = {"SLUICE_SIGNING_PASSWORD": password}
    signer = open_signer(key_file(pem(key, password=password)), no_clients, environment)
    signature = signer.sign(b"payload")
    public = PublicKey.parse(signer.public.pem, "it")
    assert public.verify(b"payload", signature)
    assert not public.verify(b"payloae", signature)
    assert not public.verify(b"payload", signature[:-1])
    assert not public.verify(b"payload", b"")
    assert signer.sign(b"payload") == signature


def test_openssl_verifies_a_signature(key_file: Any, openssl: Any, tmp_path: Path) -> None:
    signer = open_signer(key_file(pem(EC)), no_clients, {})
    (tmp_path / "key.pub").write_bytes(signer.public.pem)
    (tmp_path / "payload").write_bytes(b"payload")
    (tmp_path / "sig").write_bytes(signer.sign(b"payload"))
    told = openssl("dgst", "-sha256", "-verify", "key.pub", "-signature", "sig", "payload")
    assert told.stdout == "Verified OK\n", told.stderr
    (tmp_path / "payload").write_bytes(b"other")
    assert openssl("dgst", "-sha256", "-verify", "key.pub", "-signature", "sig", "payload").returncode != 0


def test_keys_of_openssl_are_read(openssl: Any, tmp_path: Path) -> None:
    made = openssl(
        *("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-aes256", "-pass", f"pass:{PASSWORD}", "-out", "sluice.key"),
    )
    assert made.returncode == 0, made.stderr
    signer = open_signer(str(tmp_path / "sluice.key"), no_clients, {"COSIGN_PASSWORD": PASSWORD})
    public = openssl("pkey", "-in", "sluice.key", "-passin", f"pass:{PASSWORD}", "-pubout")
    assert signer.public.pem.decode() == public.stdout


def test_a_key_has_the_name_that_openssl_gives_it() -> None:
    public = EC.public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    found = PublicKey(public)
    assert found.name == "sha256:" + sha256(der).hexdigest()
    assert PublicKey.parse(der, "it").pem == found.pem


def test_the_older_form_of_an_ec_key_is_read(key_file: Any) -> None:
    data = pem(EC, PrivateFormat.TraditionalOpenSSL, PASSWORD)
    assert b"EC PRIVATE KEY" in data
    signer = open_signer(key_file(data), no_clients, {"SLUICE_SIGNING_PASSWORD": PASSWORD})
    assert signer.public.name == PublicKey(EC.public_key()).name


def test_a_password_that_is_not_needed_does_no_harm(key_file: Any) -> None:
    assert open_signer(key_file(pem(EC)), no_clients, {"COSIGN_PASSWORD": PASSWORD}).public


def test_sluices_password_comes_before_cosigns(key_file: Any) -> None:
    environment = {"SLUICE_SIGNING_PASSWORD": PASSWORD, "COSIGN_PASSWORD": "another"}
    assert open_signer(key_file(pem(EC, password=PASSWORD)), no_clients, environment).public


COSIGN = b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\neyJrZGYi\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"
BAD_KEYS = {
    "no key": (b"hello", "cannot be read as a private key"),
    "empty": (b"", "cannot be read as a private key"),
    "a public key": (PublicKey(EC.public_key()).pem, "cannot be read as a private key"),
    "damaged": (pem(EC).replace(b"M", b"N"), "cannot be read as a private key"),
    "RSA": (pem(rsa.generate_private_key(65537, 2048)), "of a kind that does not sign here"),
    "P-384": (pem(ec.generate_private_key(ec.SECP384R1())), "of a kind that does not sign here"),
    "cosign's": (COSIGN, "make another by `openssl genpkey"),
    "cosign's old": (COSIGN.replace(b"SIGSTORE", b"COSIGN"), "make another by"),
    "encrypted": (pem(EC, password="another"), "the password in SLUICE_SIGNING_PASSWORD or COSIGN_PASSWORD is not"),
    "large": (b"-" * (65 << 10), "too large for a key"),
}


@pytest.mark.parametrize(("data", "sentence"), BAD_KEYS.values(), ids=list(BAD_KEYS))
def test_what_cannot_sign_is_said_so(data: bytes, sentence: str, key_file: Any) -> None:
    with pytest.raises(InvalidInput, match=sentence) as caught:
        open_signer(key_file(data), no_clients, {"SLUICE_SIGNING_PASSWORD": PASSWORD})
    assert PASSWORD not in str(caught.value)


def test_an_encrypted_key_without_a_password_says_where_it_goes(key_file: Any) -> None:
    with pytest.raises(InvalidInput, match="put its password into SLUICE_SIGNING_PASSWORD"):
        open_signer(key_file(pem(EC, password=PASSWORD)), no_clients, {"COSIGN_PASSWORD": ""})


@pytest.mark.parametrize("name", ["https://example.org/key", "gcpkms://x", "k8s://a/b", "file:///key"])
def test_other_places_are_no_keys(name: str) -> None:
    with pytest.raises(InvalidInput, match="is no key"):
        open_signer(name, no_clients, {})


def test_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="There is no key in"):
        open_signer(str(tmp_path / "none"), no_clients, {})
    with pytest.raises(InvalidInput, match="cannot be read"):
        open_signer(str(tmp_path), no_clients, {})
    with pytest.raises(NotFound, match="There is no key in"):
        read_keys([tmp_path / "none"])


def test_public_keys_are_read_and_nothing_else(tmp_path: Path) -> None:
    good, private, other = tmp_path / "good", tmp_path / "private", tmp_path / "other"
    good.write_bytes(PublicKey(ED.public_key()).pem)
    private.write_bytes(pem(EC))
    rsa_key = rsa.generate_private_key(65537, 2048).public_key()
    other.write_bytes(rsa_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (key,) = read_keys([good])
    assert key.verify(b"x", ED.sign(b"x"))
    for path, sentence in ((private, "is no public key"), (other, "of a kind that is not verified here")):
        with pytest.raises(InvalidInput, match=sentence):
            read_keys([good, path])


@given(st.binary(max_size=300) | st.binary(max_size=100).map(lambda data: b"-----BEGIN PUBLIC KEY-----\n" + data))
def test_any_bytes_are_a_key_or_no_key(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        PublicKey.parse(data, "it")
    with pytest.raises(InvalidInput):
        KeySigner.parse(data, b"password", "it")


@given(st.binary(max_size=100))
def test_any_bytes_are_no_signature(signature: bytes) -> None:
    for key in (EC, ED):
        assert not PublicKey(key.public_key()).verify(b"payload", signature)


# --- KMS


@pytest.fixture
def moto_kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from moto import mock_aws

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with mock_aws():
        monkeypatch.setenv("AWS_REGION", "eu-west-1")
        clients = Clients()
        yield clients
        clients.kms().close()


def make_key(clients: Clients, spec: str = "ECC_NIST_P256", usage: str = "SIGN_VERIFY") -> dict[str, Any]:
    kms = clients.kms()
    key: dict[str, Any] = kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]
    kms.create_alias(AliasName="alias/sluice", TargetKeyId=key["KeyId"])
    return key


def test_kms_signs_by_alias_id_and_arn(moto_kms: Clients) -> None:
    key = make_key(moto_kms)
    names = ("alias/sluice", key["KeyId"], key["Arn"], key["Arn"].replace(f"key/{key['KeyId']}", "alias/sluice"))
    signers = [open_signer(f"awskms:///{name}", lambda: moto_kms) for name in names]
    assert len({signer.public.name for signer in signers}) == 1
    for signer in signers:
        assert signers[0].public.verify(b"payload", signer.sign(b"payload"))


@pytest.mark.parametrize(
    ("spec", "usage"), [("RSA_2048", "SIGN_VERIFY"), ("ECC_NIST_P384", "SIGN_VERIFY"), ("RSA_2048", "ENCRYPT_DECRYPT")]
)
def test_kms_keys_of_other_kinds_do_not_sign(moto_kms: Clients, spec: str, usage: str) -> None:
    make_key(moto_kms, spec, usage)
    with pytest.raises(InvalidInput, match="ECC_NIST_P256"):
        open_signer("awskms:///alias/sluice", lambda: moto_kms)


def test_a_key_that_kms_does_not_have(moto_kms: Clients) -> None:
    with pytest.raises(NotFound, match="There is no key alias/other in KMS"):
        open_signer("awskms:///alias/other", lambda: moto_kms)


@pytest.mark.parametrize(
    "name",
    [
        "awskms://",
        "awskms:///",
        "awskms:///fraud",
        "awskms://localhost:4566/alias/x",
        "awskms:///alias/",
        "awskms:///a b",
    ],
)
def test_what_names_no_key_in_kms(name: str) -> None:
    with pytest.raises(InvalidInput, match="names no key in KMS"):
        open_signer(name, lambda: Clients())


class FakeKms:
    """KMS as its reference tells it: a long message comes as its digest."""

    def __init__(self, error: Exception | None = None, forged: bytes = b"") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.asked: list[str] = []
        self._error, self._forged = error, forged

    def get_public_key(self, *, KeyId: str) -> dict[str, Any]:  # noqa: N803  # boto3's names
        der = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return {"PublicKey": der, "SigningAlgorithms": ["ECDSA_SHA_256"]}

    def sign(self, **asked: Any) -> dict[str, Any]:
        message, kind = asked["Message"], asked["MessageType"]
        self.asked.append(kind)
        if self._error:
            raise self._error
        assert asked["SigningAlgorithm"] == "ECDSA_SHA_256"
        assert len(message) == 32 if kind == "DIGEST" else len(message) <= 4096
        how = Prehashed(SHA256()) if kind == "DIGEST" else SHA256()
        return {"Signature": self._forged or self.key.sign(message, ec.ECDSA(how))}


@pytest.mark.parametrize(("size", "kind"), [(1, "RAW"), (4096, "RAW"), (4097, "DIGEST"), (200_000, "DIGEST")])
def test_kms_signs_what_is_longer_than_it_takes(size: int, kind: str) -> None:
    kms = FakeKms()
    signer = KmsSigner(kms, "alias/sluice")
    payload = b"x" * size
    assert PublicKey(kms.key.public_key()).verify(payload, signer.sign(payload))
    assert kms.asked == [kind]


def test_a_signature_of_another_key_is_not_taken() -> None:
    forged = EC.sign(b"payload", ec.ECDSA(SHA256()))
    with pytest.raises(Refused, match="does not verify"):
        KmsSigner(FakeKms(forged=forged), "alias/sluice").sign(b"payload")


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("AccessDeniedException", 400, Refused),
        ("DisabledException", 400, Refused),
        ("KMSInvalidStateException", 400, Refused),
        ("InvalidKeyUsageException", 400, InvalidInput),
        ("UnrecognizedClientException", 400, InvalidInput),
        ("NotFoundException", 400, NotFound),
        ("SomethingElse", 400, SluiceError),
    ],
)
def test_what_kms_refuses_is_told(code: str, status: int, kind: type[SluiceError]) -> None:
    from botocore.exceptions import ClientError

    error = ClientError(
        {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Sign"
    )
    with pytest.raises(kind):
        KmsSigner(FakeKms(error), "alias/sluice").sign(b"payload")


def test_kms_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import EndpointConnectionError

    import registry.aws
    from registry.retry import retrying

    monkeypatch.setattr(registry.aws, "retrying", lambda: retrying(2, sleep=lambda _: None))
    kms = FakeKms(EndpointConnectionError(endpoint_url="https://kms.example"))
    with pytest.raises(Unavailable, match=r"KMS at https://kms\.example cannot be reached"):
        KmsSigner(kms, "alias/sluice").sign(b"payload")
    assert len(kms.asked) == 2
