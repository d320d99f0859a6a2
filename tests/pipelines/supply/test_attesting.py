"""What is attached to an image, and that it is attached once, whatever breaks off in between."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from pipelines.image.images import Destination
from pipelines.image.layout import LayoutDestination
from pipelines.supply.attach import attach
from pipelines.supply.signing import KeySigner
from registry.errors import Conflict, NotFound, Refused
from registry.names import VersionRef


class Broken(Exception):
    """The process ends here."""


class Breaking:
    """A destination whose n-th call does not happen."""

    def __init__(self, inner: Destination, after: int) -> None:
        self._inner, self._left = inner, after

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def call(*arguments: Any) -> Any:
            self._left -= 1
            if self._left < 0:
                raise Broken
            return method(*arguments)

        return call


class Counting:
    """A destination that counts what is sent."""

    def __init__(self, inner: Destination) -> None:
        self._inner = inner
        self.puts: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def call(*arguments: Any) -> Any:
            result = method(*arguments)
            if name == "put":
                self.puts.append(result.digest)
            return result

        return call


def manifest(world: Any, digest: str) -> Any:
    return json.loads(world.destination.manifest("fraud", digest))


def blob(world: Any, digest: str) -> bytes:
    path = world.destination.folder("fraud") / "blobs" / "sha256" / digest.removeprefix("sha256:")
    return bytes(path.read_bytes())


def kinds(world: Any) -> list[str | None]:
    return sorted(str(item.artifact_type) for item in world.destination.referrers("fraud", world.subject.digest))


SBOM, STATEMENT = "application/vnd.cyclonedx+json", "application/vnd.in-toto+json"
ENVELOPE, SIGNATURE = "application/vnd.dsse.envelope.v1+json", "application/vnd.dev.cosign.artifact.sig.v1+json"


def test_without_a_key_sbom_and_provenance_are_attached(world: Any, facts: Any) -> None:
    done = world.attest(progress=facts)
    assert done.signature is None
    assert kinds(world) == [SBOM, STATEMENT]
    for digest, kind in ((done.sbom, SBOM), (done.provenance, STATEMENT)):
        found = manifest(world, digest)
        assert found["artifactType"] == kind
        assert found["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
        assert blob(world, found["config"]["digest"]) == b"{}"
        assert found["subject"]["digest"] == world.subject.digest
        assert found["subject"]["size"] == len(world.destination.manifest("fraud", world.subject.digest))
        (layer,) = found["layers"]
        assert (layer["mediaType"], layer["size"]) == (kind, len(blob(world, layer["digest"])))
    assert blob(world, manifest(world, done.sbom)["layers"][0]["digest"]) == world.bill
    assert "not signed" in facts.told[-1]
    tag = world.subject.digest.replace(":", "-")
    assert world.destination.tagged("fraud", f"{tag}.sig") is None
    assert world.destination.tagged("fraud", f"{tag}.att") is None


def test_with_a_key_they_are_signed_and_cosign_finds_both(world: Any, signer: KeySigner) -> None:
    done = world.attest(signer)
    assert kinds(world) == sorted([SBOM, ENVELOPE, SIGNATURE])
    tag = world.subject.digest.replace(":", "-")
    assert world.destination.tagged("fraud", f"{tag}.sig") == done.signature
    assert world.destination.tagged("fraud", f"{tag}.att") == done.provenance
    (layer,) = manifest(world, done.signature)["layers"]
    payload = blob(world, layer["digest"])
    assert layer["mediaType"] == "application/vnd.dev.cosign.simplesigning.v1+json"
    assert json.loads(payload) == {
        "critical": {
            "identity": {"docker-reference": "oci.local/fraud"},
            "image": {"docker-manifest-digest": world.subject.digest},
            "type": "cosign container image signature",
        },
        "optional": {"creator": "sluice"},
    }
    (layer,) = manifest(world, done.provenance)["layers"]
    assert layer["annotations"] == {
        "dev.cosignproject.cosign/signature": "",
        "predicateType": "https://slsa.dev/provenance/v1",
    }


def test_again_nothing_is_sent(world: Any, signer: KeySigner, tree: Any) -> None:
    for one in (None, signer):
        first, before = world.attest(one), tree(world.destination.folder("fraud"))
        counting = Counting(world.destination)
        assert world._replace(destination=counting).attest(one) == first
        assert counting.puts == []
        assert tree(world.destination.folder("fraud")) == before


def test_the_same_in_another_place_is_the_same(world: Any, new_world: Any, signer: KeySigner, tmp_path: Any) -> None:
    other = new_world(LayoutDestination(tmp_path / "elsewhere"))
    assert other.attest(signer) == world.attest(signer)


def test_it_may_break_off_anywhere_and_ends_the_same(
    new_world: Callable[..., Any], signer: KeySigner, tmp_path: Any, tree: Any
) -> None:
    whole = new_world(LayoutDestination(tmp_path / "whole"))
    wanted = whole.attest(signer)
    for after in range(1_000):
        world = new_world(LayoutDestination(tmp_path / f"broken-{after}"))
        try:
            world._replace(destination=Breaking(world.destination, after)).attest(signer)
        except Broken:
            assert world.attest(signer) == wanted
            assert tree(world.destination.folder("fraud")) == tree(whole.destination.folder("fraud"))
            assert world.verify(signer).good
        else:
            break
    assert 10 < after < 999


def test_a_second_key_signs_beside_the_first_although_tags_never_move(
    world: Any, signer: KeySigner, stranger: KeySigner, facts: Any
) -> None:
    first, second = world.attest(signer), world.attest(stranger, facts)
    assert second.signature != first.signature
    tag = world.subject.digest.replace(":", "-")
    assert world.destination.tagged("fraud", f"{tag}.sig") == first.signature
    assert any("another's, and stays so" in told for told in facts.told)
    assert world.verify(signer).good
    assert world.verify(stranger).good
    assert world.attest(stranger) == second


def test_what_was_attached_without_a_key_is_signed_later(world: Any, signer: KeySigner) -> None:
    plain = world.attest()
    signed = world.attest(signer)
    assert (signed.sbom, signed.image) == (plain.sbom, plain.image)
    assert world.verify(signer).good


def test_a_tag_that_others_took_does_not_keep_us_from_signing(world: Any, signer: KeySigner) -> None:
    junk = attach(world.destination, world.subject, "application/x-junk", b"junk")
    world.destination.tag("fraud", f"{world.subject.digest.replace(':', '-')}.sig", junk)
    done = world.attest(signer)
    assert world.verify(signer).good
    assert world.attest(signer) == done


def test_another_as_quick_takes_the_tag(world: Any, signer: KeySigner, facts: Any) -> None:
    class Quick:
        """Somebody else's tag comes between looking and tagging."""

        def __init__(self, inner: Destination) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def tag(self, model: str, tag: str, digest: str) -> None:
            if tag.endswith(".sig"):
                self._inner.tag(model, tag, world.subject.digest)
            self._inner.tag(model, tag, digest)

    done = world._replace(destination=Quick(world.destination)).attest(signer, facts)
    assert any(f"{done.signature} is found as a referrer alone" in told for told in facts.told)
    assert world.verify(signer).good


def test_what_another_release_attached_stays(world: Any, signer: KeySigner, monkeypatch: pytest.MonkeyPatch) -> None:
    import pipelines.supply.provenance as module

    done = world.attest(signer)
    monkeypatch.setattr(module, "version", lambda _: "99.0")
    assert world.attest(signer) == done


def test_an_image_that_is_not_where_images_go_is_told(world: Any, tmp_path: Any) -> None:
    elsewhere = world._replace(destination=LayoutDestination(tmp_path / "none"))
    with pytest.raises(NotFound, match="is not where images go now"):
        elsewhere.attest()


def test_a_version_that_is_not_built_is_told(world: Any) -> None:
    with pytest.raises(NotFound):
        world._replace(ref=VersionRef.parse("fraud@2")).attest()
    source = world.known.version.source.model_copy(update={"uri": "s3://training/other/model.tar.gz"})
    ref = world.registry.register("fraud", source, actor="tests").version.ref
    with pytest.raises(Conflict, match=f"{ref} is not built yet: run `sluice build {ref}` first"):
        world._replace(ref=ref).attest()


def test_an_image_that_was_changed_is_not_attested(world: Any, signer: KeySigner) -> None:
    digest = world.subject.digest
    path = world.destination.folder("fraud") / "blobs" / "sha256" / digest.removeprefix("sha256:")
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(Refused):
        world.attest(signer)
