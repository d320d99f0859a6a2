"""Whether an image is to be trusted: what is changed is seen, and what is hostile is refused."""

from __future__ import annotations

import base64
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.image.content import Content, Data, Kept
from pipelines.image.images import Destination
from pipelines.image.oci import Descriptor
from pipelines.supply.attach import LOOKED_AT, attach, tag_of
from pipelines.supply.cosign import PAYLOAD_MAX, PAYLOAD_TYPE, SIGNATURE, check_payload, payload_of, valid_signatures
from pipelines.supply.envelope import ENVELOPE_TYPE, STATEMENT_TYPE, seal
from pipelines.supply.layers import Layers
from pipelines.supply.provenance import provenance
from pipelines.supply.reading import digest_of, read_blob, read_manifest
from pipelines.supply.signing import KeySigner
from registry.errors import NotFound, Refused

ALL = ("manifest", "config", "labels", "layers", "signature", "provenance", "sbom")
GOOD = dict.fromkeys(ALL, "good")


def blob_file(world: Any, digest: str) -> Any:
    return world.destination.folder("fraud") / "blobs" / "sha256" / digest.removeprefix("sha256:")


def test_an_image_that_is_signed_is_good(world: Any, signer: KeySigner, stranger: KeySigner) -> None:
    world.attest(signer)
    for layers in Layers:
        assert world.verdicts(stranger, signer, layers=layers) == GOOD
        assert world.verify(signer, layers=layers).good
    assert world.verify(signer).image == world.known.image.reference


def test_nothing_is_good_that_nobody_vouches_for(world: Any) -> None:
    bare = world.verify()
    assert not bare.good
    assert world.verdicts() == {**GOOD, "signature": "unchecked", "provenance": "missing", "sbom": "missing"}
    world.attest()
    assert world.verdicts() == {**GOOD, "signature": "unchecked", "provenance": "unchecked", "sbom": "unchecked"}
    assert "no key is trusted" in world.verify().checks[4].detail


def test_a_key_that_is_trusted_wants_signatures(world: Any, signer: KeySigner) -> None:
    world.attest()
    assert world.verdicts(signer) == {**GOOD, "signature": "missing", "provenance": "bad", "sbom": "unchecked"}


def test_another_keys_signatures_do_not_count(world: Any, signer: KeySigner, stranger: KeySigner) -> None:
    world.attest(stranger)
    assert world.verdicts(signer) == {**GOOD, "signature": "missing", "provenance": "bad", "sbom": "unchecked"}
    assert world.verdicts() == {**GOOD, "signature": "unchecked", "provenance": "bad", "sbom": "unchecked"}


# --- what is changed after the image was signed


def test_a_changed_layer_is_seen_by_who_reads_it(world: Any, signer: KeySigner) -> None:
    world.attest(signer)
    layer = world.subject.manifest.layers[-2]
    path = blob_file(world, layer.digest)
    path.write_bytes(bytes(len(path.read_bytes())))
    assert world.verdicts(signer) == GOOD
    assert world.verdicts(signer, layers=Layers.READ) == {**GOOD, "layers": "bad"}
    path.unlink()
    assert world.verdicts(signer) == {**GOOD, "layers": "missing"}
    assert world.verdicts(signer, layers=Layers.READ) == {**GOOD, "layers": "missing"}


def test_a_changed_config_is_seen(world: Any, signer: KeySigner) -> None:
    world.attest(signer)
    path = blob_file(world, world.subject.manifest.config.digest)
    config = path.read_bytes()
    path.write_bytes(config.replace(b"/usr/bin", b"/tmp/bin"))
    assert world.verdicts(signer) == {key: "bad" if key == "config" else "good" for key in ALL if key != "labels"}
    path.unlink()
    assert world.verdicts(signer)["config"] == "missing"


def test_a_changed_manifest_is_seen_and_nothing_more_is_read(world: Any, signer: KeySigner) -> None:
    known = world.known
    world.attest(signer)
    path = blob_file(world, known.reference.digest)
    path.write_bytes(path.read_bytes() + b" ")
    assert world.verdicts(signer) == {"manifest": "bad"}
    path.unlink()
    assert world.verdicts(signer) == {"manifest": "missing"}


def test_another_versions_image_is_not_this_ones(world: Any, new_world: Any, kit: Any, signer: KeySigner) -> None:
    """An image that a trusted key signed, under a version whose facts are others."""
    world.attest(signer)
    artifact = world.known.artifact.model_copy(update={"blob": "sha256:" + "1" * 64})
    known = world.known._replace(artifact=artifact)
    found = kit.verify_image(world.destination, known, [signer.public], Layers.PRESENT, kit.Silent())
    verdicts = {check.what: check.verdict.value for check in found.checks}
    assert verdicts == {**GOOD, "labels": "bad", "provenance": "bad", "sbom": "unchecked"}
    assert "dev.sluicegate.artifact" in found.checks[2].detail
    assert "another artifact" in found.checks[5].detail


def test_an_sbom_that_the_provenance_does_not_name_is_not_believed(world: Any, signer: KeySigner) -> None:
    attach(world.destination, world.subject, "application/vnd.cyclonedx+json", b'{"bomFormat":"CycloneDX"}')
    statement = provenance(world.subject, digest_of(world.bill))
    attach(world.destination, world.subject, ENVELOPE_TYPE, seal(statement.to_bytes(), signer))
    assert world.verdicts(signer)["provenance"] == "good"
    assert world.verdicts(signer)["sbom"] == "unchecked"
    world.attest(signer)
    assert world.verdicts(signer) == GOOD


def test_an_sbom_whose_bytes_are_gone_is_not_good(world: Any, signer: KeySigner) -> None:
    world.attest(signer)
    blob_file(world, digest_of(world.bill)).unlink()
    assert world.verdicts(signer)["sbom"] == "unchecked"


def test_a_provenance_of_another_image_is_not_this_ones(world: Any, signer: KeySigner) -> None:
    """What a trusted key signed of one image, attached to another."""
    other = world.subject.descriptor.model_copy(update={"digest": "sha256:" + "2" * 64})
    statement = provenance(world.subject._replace(descriptor=other), digest_of(world.bill))
    attach(world.destination, world.subject, ENVELOPE_TYPE, seal(statement.to_bytes(), signer))
    found = world.verify(signer).checks[5]
    assert found.verdict.value == "bad"
    assert "of another image" in found.detail


# --- what others may write into a registry


def signed_layer(world: Any, payload: bytes, signature: str, **changes: Any) -> dict[str, Any]:
    world.destination.put("fraud", Data(payload))
    return {
        "mediaType": PAYLOAD_TYPE,
        "digest": digest_of(payload),
        "size": len(payload),
        "annotations": {SIGNATURE: signature},
        **changes,
    }


def push_signature(world: Any, *layers: Any, **changes: Any) -> str:
    empty = world.destination.put("fraud", Data(b"{}"))
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": empty.digest, "size": 2},
        "layers": list(layers),
        **changes,
    }
    digest: str = world.destination.push("fraud", json.dumps(manifest).encode()).digest
    world.destination.tag("fraud", tag_of(world.subject.digest, "sig"), digest)
    return digest


def found(world: Any, *signers: KeySigner) -> list[Any]:
    return list(
        valid_signatures(world.destination, "fraud", world.subject.digest, [signer.public for signer in signers])
    )


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_a_signature_as_cosign_writes_it_is_found_by_its_tag(world: Any, signer: KeySigner) -> None:
    """No subject, no type, spaces in the payload, annotations of a log and of the signer's."""
    payload = json.dumps(
        {
            "critical": {
                "identity": {"docker-reference": ""},
                "image": {"docker-manifest-digest": world.subject.digest},
                "type": "cosign container image signature",
            },
            "optional": None,
        },
        indent=2,
    ).encode()
    layer = signed_layer(world, payload, b64(signer.sign(payload)))
    layer["annotations"]["dev.sigstore.cosign/bundle"] = "{}"
    digest = push_signature(world, layer)
    assert [(one.digest, one.key.name) for one in found(world, signer)] == [(digest, signer.public.name)]
    world.attest(signer)
    assert world.destination.tagged("fraud", tag_of(world.subject.digest, "sig")) == digest
    assert world.verify(signer).good


def payload(digest: str, **changes: Any) -> bytes:
    critical = {
        "identity": {"docker-reference": "x"},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
        **changes,
    }
    return json.dumps({"critical": critical, "optional": {}}).encode()


PAYLOADS = {
    "of another image": lambda digest: payload("sha256:" + "0" * 64),
    "of another type": lambda digest: payload(digest, type="atomic container signature"),
    "without an image": lambda digest: payload(digest, image={}),
    "of a number": lambda digest: payload(digest, image={"docker-manifest-digest": 1}),
    "of another algorithm": lambda digest: payload(digest, image={"docker-manifest-digest": "sha512:" + "0" * 128}),
    "in other letters": lambda digest: payload(digest, image={"Docker-Manifest-Digest": digest}),
    "of no JSON": lambda digest: digest.encode(),
    "nested deep": lambda digest: b"[" * 100_000,
    "empty": lambda digest: b"",
    "a list": lambda digest: b"[]",
}


@pytest.mark.parametrize("make", PAYLOADS.values(), ids=list(PAYLOADS))
def test_what_a_trusted_key_signed_is_looked_at(make: Any, world: Any, signer: KeySigner) -> None:
    data = make(world.subject.digest)
    push_signature(world, signed_layer(world, data, b64(signer.sign(data))))
    assert found(world, signer) == []
    assert world.verdicts(signer)["signature"] == "missing"
    with pytest.raises(Refused):
        check_payload(data, world.subject.digest)


def test_a_payload_is_bounded(world: Any, signer: KeySigner) -> None:
    small = payload_of(world.known.reference)
    largest, larger = (small + b" " * (size - len(small)) for size in (PAYLOAD_MAX, PAYLOAD_MAX + 1))
    push_signature(world, signed_layer(world, larger, b64(signer.sign(larger))))
    assert found(world, signer) == []
    world.attest(signer)
    assert len(found(world, signer)) == 1
    wanted = Descriptor(media_type=PAYLOAD_TYPE, digest=digest_of(largest), size=len(largest))
    world.destination.put("fraud", Data(largest))
    assert read_blob(world.destination, "fraud", wanted, PAYLOAD_MAX) == largest


LAYERS: dict[str, Any] = {
    "no signature": {"annotations": {}},
    "no annotations": {"annotations": None},
    "no base64": {"annotations": {SIGNATURE: "!!"}},
    "an empty one": {"annotations": {SIGNATURE: ""}},
    "letters of no ASCII": {"annotations": {SIGNATURE: "ü" * 8}},
    "another type": {"mediaType": "application/json"},
    "a wrong size": {"size": 1},
    "a huge size": {"size": (1 << 63) - 1},
    "a digest that is not there": {"digest": "sha256:" + "3" * 64},
}


@pytest.mark.parametrize("changes", LAYERS.values(), ids=list(LAYERS))
def test_a_bad_signature_is_none(changes: Any, world: Any, signer: KeySigner) -> None:
    data = payload_of(world.known.reference)
    push_signature(world, {**signed_layer(world, data, b64(signer.sign(data))), **changes})
    assert found(world, signer) == []


@pytest.mark.parametrize("changes", LAYERS.values(), ids=list(LAYERS))
def test_a_bad_signature_hides_no_good_one(changes: Any, world: Any, signer: KeySigner) -> None:
    data = payload_of(world.known.reference)
    good = signed_layer(world, data, b64(signer.sign(data)))
    digest = push_signature(world, {**good, **changes}, good)
    assert [one.digest for one in found(world, signer)] == [digest]


def test_signatures_in_one_manifest_are_bounded(world: Any, signer: KeySigner, stranger: KeySigner) -> None:
    data = payload_of(world.known.reference)
    other = signed_layer(world, data, b64(stranger.sign(data)))
    good = signed_layer(world, data, b64(signer.sign(data)))
    push_signature(world, *[other] * LOOKED_AT, good)
    assert found(world, signer) == []
    world.attest(signer)
    assert len(found(world, signer)) == 1


def test_referrers_are_bounded_and_junk_among_them_hides_nothing(world: Any, signer: KeySigner) -> None:
    for number in range(LOOKED_AT - 2):
        attach(world.destination, world.subject, ENVELOPE_TYPE, b"junk %d" % number)
    attach(world.destination, world.subject, STATEMENT_TYPE, b"{}")
    world.attest(signer)
    assert world.verify(signer).good


MANIFESTS = {
    "no JSON": b"{",
    "no manifest": b"{}",
    "a list": b"[]",
    "nested deep": b"[" * 100_000,
    "empty": b"",
    "no text": b"\xff\xfe",
    "large": b" " * (5 << 20),
}


class Lying:
    """A registry that gives other bytes than were asked for."""

    def __init__(self, inner: Destination, manifests: bytes | None = None, blobs: Any = None) -> None:
        self._inner, self._manifests, self._blobs = inner, manifests, blobs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def manifest(self, model: str, digest: str) -> bytes:
        return self._inner.manifest(model, digest) if self._manifests is None else self._manifests

    def content(self, model: str, descriptor: Descriptor) -> Content:
        if self._blobs is None:
            return self._inner.content(model, descriptor)
        return Kept(descriptor.digest, descriptor.size, lambda start: self._blobs())


@pytest.mark.parametrize("data", MANIFESTS.values(), ids=list(MANIFESTS))
def test_a_registry_that_lies_about_manifests_is_not_believed(data: bytes, world: Any, signer: KeySigner) -> None:
    world.attest(signer)
    known = world.known
    lying = Lying(world.destination, manifests=data)
    with pytest.raises(Refused):
        read_manifest(lying, "fraud", known.reference.digest)
    with pytest.raises(Refused):
        read_manifest(Lying(world.destination, manifests=data), "fraud", digest_of(data))
    assert world._replace(destination=lying).verdicts(signer) == {"manifest": "bad"}


def test_a_registry_that_never_ends_costs_no_memory(world: Any, signer: KeySigner) -> None:
    def endless() -> Iterator[bytes]:
        chunk = bytes(1 << 20)
        while True:
            yield chunk

    world.attest(signer)
    lying = world._replace(destination=Lying(world.destination, blobs=endless))
    tracemalloc.start()
    try:
        verdicts = lying.verdicts(signer, layers=Layers.READ)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {verdicts[what] for what in ("config", "layers", "signature", "provenance", "sbom")} <= {
        "bad",
        "missing",
        "unchecked",
    }
    assert peak < 32 << 20


def test_a_list_of_referrers_that_cannot_be_read_is_refused(world: Any, signer: KeySigner) -> None:
    class Unlisted(Lying):
        def referrers(self, model: str, digest: str) -> Any:
            raise Refused("the registry gives no list")

    with pytest.raises(Refused, match="gives no list"):
        world._replace(destination=Unlisted(world.destination)).verify(signer)


def test_referrers_that_are_listed_wrongly_are_left_out(world: Any, signer: KeySigner) -> None:
    """Listed as the image's, and about another one, or not there at all."""
    world.attest(signer)
    subject = world.subject
    other = subject.descriptor.model_copy(update={"digest": "sha256:" + "4" * 64})
    foreign = attach(world.destination, subject._replace(descriptor=other), "application/vnd.cyclonedx+json", b"{}")

    class Listing(Lying):
        def referrers(self, model: str, digest: str) -> Any:
            item = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1}
            wrong = [Descriptor(**item, digest=one) for one in (foreign, "sha256:" + "5" * 64, subject.digest)]
            return (*wrong, *self._inner.referrers(model, digest))

    assert world._replace(destination=Listing(world.destination)).verify(signer).good


def test_what_is_not_there_is_told(world: Any) -> None:
    wanted = Descriptor(media_type=PAYLOAD_TYPE, digest="sha256:" + "6" * 64, size=3)
    with pytest.raises(NotFound):
        read_blob(world.destination, "fraud", wanted, 10)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["critical", "optional"]), JSON) | JSON)
def test_any_json_is_no_payload(value: object) -> None:
    with pytest.raises(Refused):
        check_payload(json.dumps(value).encode(), "sha256:" + "0" * 64)


@given(st.binary(max_size=300))
def test_any_bytes_are_no_payload(data: bytes) -> None:
    with pytest.raises(Refused):
        check_payload(data, "sha256:" + "0" * 64)


def test_a_manifest_with_anything_in_it_is_no_traceback(world: Any, signer: KeySigner, kit: Any) -> None:
    """Whatever the manifest under the tag holds, it is a signature or it is not."""
    data = payload_of(world.known.reference)
    layer = signed_layer(world, data, b64(signer.sign(data)))
    world.attest(signer)
    inner = world.destination

    @given(
        st.fixed_dictionaries(
            {"schemaVersion": JSON, "config": JSON, "layers": st.lists(JSON | st.just(layer), max_size=3)},
            optional={"subject": JSON, "artifactType": JSON, "annotations": JSON},
        )
    )
    def look(manifest: Any) -> None:
        told = json.dumps(manifest).encode()

        class Tagged(Lying):
            def tagged(self, model: str, tag: str) -> str:
                return digest_of(told)

            def manifest(self, model: str, digest: str) -> bytes:
                return told if digest == digest_of(told) else self._inner.manifest(model, digest)

        assert world._replace(destination=Tagged(inner)).verify(signer).good  # the referrer is still there

    look()
