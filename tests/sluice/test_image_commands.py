"""What the commands on images do and print, on a real bucket and in a folder of images."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, PublicFormat

from registry.aws import Clients

PASSWORD = "correct horse"


@pytest.fixture
def built(sluice, workspace):
    """Version 1 of wine is built."""
    for command in (("register", "wine-2026-11-10", "--model", "wine"), ("package", "wine@1"), ("build", "wine@1")):
        done = sluice(*command)
        assert done.code == 0, done.err
    return workspace


@pytest.fixture
def key(tmp_path, monkeypatch):
    """The key that signs, as the settings name it."""
    made = ec.generate_private_key(ec.SECP256R1())
    protection = BestAvailableEncryption(PASSWORD.encode())
    (tmp_path / "sluice.key").write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection))
    monkeypatch.setenv("SLUICE_SIGNING", json.dumps({"key": str(tmp_path / "sluice.key")}))
    monkeypatch.setenv("SLUICE_SIGNING_PASSWORD", PASSWORD)
    return made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def verdicts(done):
    return {check["what"]: check["verdict"] for check in done.json["checks"]}


GOOD = dict.fromkeys(("manifest", "config", "labels", "layers", "signature", "provenance", "sbom"), "good")


def test_attest_attaches_and_signs_and_again_changes_nothing(sluice, built, key, tree):
    first = sluice("attest", "wine@1", "--json")
    assert first.code == 0, first.err
    assert set(first.json) == {"ref", "image", "sbom", "provenance", "signature"}
    assert first.json["image"] == sluice("show", "wine@1", "--json").json["facts"]["image"]["reference"]
    before = tree(built.folder / "images")

    again = sluice("attest", "wine@latest", "--json")

    assert again.json == first.json
    assert tree(built.folder / "images") == before
    shown = sluice("attest", "wine@1").out
    assert all(first.json[what] in shown for what in ("image", "sbom", "provenance", "signature"))


@pytest.fixture
def tree():
    def read(folder):
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    return read


def test_what_was_signed_is_verified_by_the_key_that_signs_or_by_those_that_are_trusted(
    sluice, refusal, built, key, tmp_path, monkeypatch
):
    assert sluice("attest", "wine@1").code == 0
    for layers in ("read", "present"):
        done = sluice("verify", "wine@1", "--image", "--layers", layers, "--json")
        assert done.code == 0, done.err
        assert verdicts(done) == GOOD
        assert done.json["good"]
    shown = sluice("verify", "wine@1", "--image").out
    assert shown.count("wine@1") == len(GOOD)

    (tmp_path / "sluice.pub").write_bytes(key)
    monkeypatch.setenv("SLUICE_SIGNING", json.dumps({"trusted": [str(tmp_path / "sluice.pub")]}))
    assert sluice("verify", "wine@1", "--image").code == 0

    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    (tmp_path / "sluice.pub").write_bytes(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    done = sluice("verify", "wine@1", "--image", "--json")
    assert done.code == 4
    assert verdicts(done) == {**GOOD, "signature": "missing", "provenance": "bad", "sbom": "unchecked"}
    assert "is not to be trusted as it is: see signature, provenance, sbom." in done.err


def test_without_a_key_nothing_is_signed_and_nothing_is_good(sluice, built):
    done = sluice("attest", "wine@1", "--json")
    assert done.json["signature"] is None
    assert "none: no key is set under [signing]" in sluice("attest", "wine@1").out
    looked = sluice("verify", "wine@1", "--image", "--json")
    assert looked.code == 4
    assert verdicts(looked) == {**GOOD, "signature": "unchecked", "provenance": "unchecked", "sbom": "unchecked"}


def test_sbom_prints_what_is_attached(sluice, built):
    printed = sluice("sbom", "wine@1")
    assert printed.code == 0, printed.err
    assert printed.json["bomFormat"] == "CycloneDX"
    (model,) = [one for one in printed.json["components"] if one["type"] == "machine-learning-model"]
    assert (model["name"], model["version"]) == ("wine", "1")
    manifest = sluice("attest", "wine@1", "--json").json["sbom"]
    blobs = built.folder / "images" / "wine" / "blobs" / "sha256"
    layer = json.loads((blobs / manifest.removeprefix("sha256:")).read_bytes())["layers"][0]["digest"]
    assert json.loads((blobs / layer.removeprefix("sha256:")).read_bytes()) == printed.json


def test_the_public_key_is_printed_for_others(sluice, workspace, key):
    assert sluice("public-key").out.encode() == key


def test_a_version_that_is_not_built_cannot_be_attested(sluice, refusal, workspace):
    assert sluice("register", "wine-2026-11-10", "--model", "wine").code == 0
    for command in (("attest", "wine@1"), ("sbom", "wine@1"), ("verify", "wine@1", "--image")):
        assert "is not built yet: run `sluice build wine@1` first" in refusal(5, *command)


def test_keys_that_cannot_be_used_are_told(sluice, refusal, workspace, key, monkeypatch):
    monkeypatch.setenv("SLUICE_SIGNING_PASSWORD", "wrong")
    said = refusal(2, "public-key")
    assert "the password in SLUICE_SIGNING_PASSWORD or COSIGN_PASSWORD is not its" in said
    assert "wrong" not in said
    monkeypatch.delenv("SLUICE_SIGNING_PASSWORD")
    assert "put its password into SLUICE_SIGNING_PASSWORD" in refusal(2, "public-key")
    monkeypatch.setenv("SLUICE_SIGNING", json.dumps({"key": "nowhere.key"}))
    assert "There is no key in nowhere.key" in refusal(3, "public-key")
    monkeypatch.delenv("SLUICE_SIGNING")
    assert "No key signs images" in refusal(2, "public-key")


@pytest.fixture
def kms(workspace, monkeypatch):
    """KMS beside the stack, which has none; gives what a key is called there."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://{}:{}".format(*server.get_host_and_port()))
    client = Clients().kms()
    made = client.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    client.create_alias(AliasName="alias/sluice", TargetKeyId=made)
    client.close()
    yield "awskms:///alias/sluice"
    server.stop()


def test_a_key_in_kms_signs(sluice, built, kms, monkeypatch):
    monkeypatch.setenv("SLUICE_SIGNING", json.dumps({"key": kms}))
    done = sluice("attest", "wine@1", "--json")
    assert done.code == 0, done.err
    looked = sluice("verify", "wine@1", "--image", "--json")
    assert looked.code == 0, looked.err
    assert verdicts(looked) == GOOD
    assert sluice("attest", "wine@1", "--json").json == done.json
    assert sluice("public-key").out.startswith("-----BEGIN PUBLIC KEY-----")
