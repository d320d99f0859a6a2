"""What other programs make of what is attached: cosign, skopeo and openssl, on a real registry.

Debian has a cosign from release 13 on, which runs on 12 too. Its skopeo verifies such signatures from 13 on; 12's finds
them, and says that verifying was taken out of it.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from pipelines.image.images import Destination
from pipelines.image.remote.places import open_destination
from pipelines.supply.cosign import valid_signatures
from pipelines.supply.keys import read_keys
from pipelines.supply.layers import Layers
from pipelines.supply.signing import KeySigner, Signer
from registry.facts import Delivery

pytestmark = pytest.mark.slow

Done = subprocess.CompletedProcess[str]
PASSWORD = "correct horse"
UNSIGNED = "A signature was required, but no signature exists"
TAKEN_OUT = "Debian-local change: sigstore disabled"
LOCAL = ("--allow-http-registry", "--insecure-ignore-tlog=true")


@pytest.fixture
def place(docker_registry: Any) -> str:
    """Where nothing was pushed yet."""
    return f"{docker_registry.host}/p{uuid4().hex[:12]}"


@pytest.fixture
def remote(place: str) -> Destination:
    return open_destination(place)


@pytest.fixture
def world(new_world: Any, remote: Destination) -> Any:
    """A version whose image is in the registry."""
    return new_world(remote)


@pytest.fixture(params=["p256", "ed25519"])
def any_signer(request: pytest.FixtureRequest) -> KeySigner:
    made = {"p256": lambda: ec.generate_private_key(ec.SECP256R1()), "ed25519": ed25519.Ed25519PrivateKey.generate}
    return KeySigner(made[request.param]())


@pytest.fixture
def public(tmp_path: Path) -> Callable[[Signer], Path]:
    """A file with the public half of a key."""

    def write(signer: Signer) -> Path:
        path = tmp_path / f"{signer.public.name[7:19]}.pub"
        path.write_bytes(signer.public.pem)
        return path

    return write


def program(name: str, sentence: str, home: Path) -> Callable[..., Done]:
    """Runs a program that has to be on PATH, with an empty home."""
    if not shutil.which(name):
        pytest.skip(sentence)

    def run(*arguments: object) -> Done:
        environment = {**os.environ, "HOME": str(home), "COSIGN_PASSWORD": PASSWORD}
        command = [name, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=home, env=environment)

    return run


# --- cosign


@pytest.fixture
def cosign(tmp_path: Path) -> Callable[..., Done]:
    return program("cosign", "Put cosign 2 or 3 on PATH (Debian 13 has it) to see it verify our signatures.", tmp_path)


def test_cosign_verifies_what_the_key_has_signed_and_nothing_else(
    world: Any, cosign: Any, public: Any, any_signer: KeySigner, signer: KeySigner
) -> None:
    image = world.known.image.reference
    assert cosign("verify", *LOCAL, "--key", public(any_signer), image).returncode != 0
    world.attest(any_signer)
    done = cosign("verify", *LOCAL, "--key", public(any_signer), image)
    assert done.returncode == 0, done.stderr
    (told,) = json.loads(done.stdout)
    assert told["critical"]["image"]["docker-manifest-digest"] == world.subject.digest
    assert cosign("verify", *LOCAL, "--key", public(signer), image).returncode != 0


def test_cosign_verifies_the_provenance(world: Any, cosign: Any, public: Any, any_signer: KeySigner) -> None:
    world.attest(any_signer)
    wanted = ("verify-attestation", *LOCAL, "--type", "slsaprovenance1")
    done = cosign(*wanted, "--key", public(any_signer), world.known.image.reference)
    assert done.returncode == 0, done.stderr
    statement = json.loads(base64.b64decode(json.loads(done.stdout)["payload"]))
    assert statement["predicate"]["buildDefinition"]["externalParameters"]["model"] == "fraud"
    other = KeySigner(ec.generate_private_key(ec.SECP256R1()))
    assert cosign(*wanted, "--key", public(other), world.known.image.reference).returncode != 0


def test_what_cosign_signed_is_good_here(world: Any, cosign: Any, tmp_path: Path, signer: KeySigner) -> None:
    made = cosign("generate-key-pair")
    assert made.returncode == 0, made.stderr
    newer = ("--new-bundle-format=false", "--use-signing-config=false")  # cosign 3 writes another format, too
    signed = cosign(
        *("sign", "--yes", "--tlog-upload=false", "--allow-http-registry"),
        *(newer if "--use-signing-config" in cosign("sign", "--help").stdout else ()),
        *("--key", "cosign.key", world.known.image.reference),
    )
    assert signed.returncode == 0, signed.stderr
    (theirs,) = read_keys([tmp_path / "cosign.pub"])
    found = list(valid_signatures(world.destination, "fraud", world.subject.digest, [signer.public, theirs]))
    assert [one.key.name for one in found] == [theirs.name]
    world.attest(signer)
    assert world.verify(signer, layers=Layers.READ).good


# --- skopeo


@pytest.fixture
def skopeo(tmp_path: Path) -> Callable[..., Done]:
    return program("skopeo", "Put skopeo on PATH to see that it takes what is signed and nothing else.", tmp_path)


@pytest.fixture
def pull(skopeo: Any, place: str, tmp_path: Path) -> Callable[..., Done]:
    """Pulls an image as a machine does whose policy is to take what `wanted` says, and nothing else, from here
    (containers-policy.json(5), containers-registries.d(5))."""

    def run(reference: str, wanted: dict[str, Any], to: Path | None = None) -> Done:
        policy, config = tmp_path / "policy.json", tmp_path / "registries.d"
        policy.write_text(json.dumps({"default": [{"type": "reject"}], "transports": {"docker": {place: [wanted]}}}))
        config.mkdir(exist_ok=True)
        host = place.partition("/")[0]
        (config / "here.yaml").write_text(f"docker:\n  {host}:\n    use-sigstore-attachments: true\n")
        return skopeo(
            *("--policy", policy, "--registries.d", config, "copy", "--src-tls-verify=false"),
            *(f"docker://{reference}", f"dir:{to or tmp_path / uuid4().hex}"),
        )

    return run


def signed_by(key: Path, identity: dict[str, str] | None = None) -> dict[str, Any]:
    return {"type": "sigstoreSigned", "keyPath": str(key), "signedIdentity": identity or {"type": "matchRepository"}}


def verifies(done: Done) -> Done:
    if TAKEN_OUT in done.stderr:
        pytest.skip("Put a skopeo on PATH that verifies sigstore's signatures; Debian 12's has that taken out.")
    return done


@pytest.mark.parametrize("delivery", Delivery)
def test_skopeo_finds_the_signature(
    delivery: Delivery, new_world: Any, kit: Any, remote: Destination, pull: Any, public: Any, tmp_path: Path
) -> None:
    images, signer = kit.images_of_tests, KeySigner(ec.generate_private_key(ec.SECP256R1()))
    base = images.InRegistry(images.make_base(tmp_path / "server"))
    world = new_world(remote, delivery=delivery, base=base)
    assert UNSIGNED in pull(world.known.image.reference, signed_by(public(signer))).stderr
    world.attest(signer)
    assert UNSIGNED not in pull(world.known.image.reference, signed_by(public(signer))).stderr


def test_skopeo_pulls_what_the_key_has_signed_and_nothing_else(
    world: Any, pull: Any, public: Any, any_signer: KeySigner, signer: KeySigner
) -> None:
    image = world.known.image.reference
    world.attest(any_signer)
    pulled = verifies(pull(image, signed_by(public(any_signer))))
    assert pulled.returncode == 0, pulled.stderr
    other = pull(image, signed_by(public(signer)))
    assert other.returncode != 0
    assert "cryptographic signature verification failed" in other.stderr


def test_skopeo_looks_at_the_name_in_the_signature(
    world: Any, pull: Any, public: Any, place: str, signer: KeySigner
) -> None:
    world.attest(signer)
    image, key = world.known.image.reference, public(signer)
    right = {"type": "exactRepository", "dockerRepository": f"{place}/fraud"}
    pulled = verifies(pull(image, signed_by(key, right)))
    assert pulled.returncode == 0, pulled.stderr
    wrong = pull(image, signed_by(key, {**right, "dockerRepository": f"{place}/other"}))
    assert wrong.returncode != 0
    assert "is not accepted" in wrong.stderr


def test_openssl_verifies_what_skopeo_brought_along(
    world: Any, pull: Any, public: Any, openssl: Any, tmp_path: Path, signer: KeySigner
) -> None:
    """By the specification alone, with nothing of ours: skopeo writes down the signature as it understood it."""
    world.attest(signer)
    pulled = pull(world.known.image.reference, {"type": "insecureAcceptAnything"}, tmp_path / "pulled")
    assert pulled.returncode == 0, pulled.stderr
    kind, _, told = (tmp_path / "pulled" / "signature-1").read_bytes().partition(b"\n")
    assert kind == b"\x00sigstore-json"
    found = json.loads(told)
    assert found["mimeType"] == "application/vnd.dev.cosign.simplesigning.v1+json"
    (tmp_path / "payload").write_bytes(base64.b64decode(found["payload"]))
    signature = found["annotations"]["dev.cosignproject.cosign/signature"]
    (tmp_path / "sig").write_bytes(base64.b64decode(signature))
    done = openssl("dgst", "-sha256", "-verify", public(signer), "-signature", "sig", "payload")
    assert done.stdout == "Verified OK\n", done.stderr
    named = json.loads((tmp_path / "payload").read_bytes())["critical"]["image"]["docker-manifest-digest"]
    assert named == world.subject.digest


# --- the registry itself


def test_again_nothing_is_sent_to_the_registry(world: Any, docker_registry: Any, signer: KeySigner) -> None:
    first = world.attest(signer)
    before = len(docker_registry.requests())
    assert world.attest(signer) == first
    asked = docker_registry.requests()[before:]
    assert {request.partition(" ")[0] for request in asked} <= {"GET", "HEAD"}
    assert world.verify(signer, layers=Layers.READ).good
    kinds = {item.artifact_type for item in world.destination.referrers("fraud", world.subject.digest)}
    assert len(kinds) == 3
