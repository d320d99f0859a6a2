"""What a provenance says of how an image was made."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.image.compression import Compression
from pipelines.supply.provenance import BUILD_TYPE, BUILDER, Statement, provenance
from registry.errors import Refused
from registry.facts import Delivery

SBOM = "sha256:" + "5" * 64


def told(world: Any) -> Any:
    return json.loads(provenance(world.subject, SBOM).to_bytes())


def sha256(digest: str) -> dict[str, str]:
    return {"sha256": digest.removeprefix("sha256:")}


def test_it_is_a_statement_about_the_image(world: Any) -> None:
    statement, image = told(world), world.known.reference
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert statement["subject"] == [{"name": image.repository, "digest": sha256(image.digest)}]


def test_it_tells_what_went_in(world: Any, kit: Any) -> None:
    build, known = told(world)["predicate"]["buildDefinition"], world.known
    assert build["buildType"] == BUILD_TYPE
    assert build["externalParameters"] == {
        "model": "fraud",
        "version": 1,
        "runtime": "torchserve",
        "delivery": "image",
        "compression": "none",
        "platform": "linux/amd64",
    }
    assert build["resolvedDependencies"] == [
        {
            "name": "training-output",
            "uri": "s3://training/output/fraud-2026-11/model.tar.gz",
            "digest": sha256(known.artifact.source),
            "annotations": {"job": kit.ARN, "gitCommit": kit.COMMIT},
        },
        {"name": "artifact", "digest": sha256(known.artifact.blob)},
        {"name": "base", "digest": sha256(known.image.base)},
    ]


def test_it_tells_who_built_it_and_names_the_sbom_but_no_time(world: Any) -> None:
    run = told(world)["predicate"]["runDetails"]
    assert run["builder"]["id"] == BUILDER
    assert list(run["builder"]["version"]) == ["sluicegate"]
    assert run["byproducts"] == [
        {"name": "sbom", "digest": sha256(SBOM), "mediaType": "application/vnd.cyclonedx+json"}
    ]
    assert set(run) == {"builder", "byproducts"}


@pytest.mark.parametrize("compression", Compression)
def test_it_tells_how_layers_were_compressed(new_world: Any, compression: Compression) -> None:
    build = told(new_world(compression=compression))["predicate"]["buildDefinition"]
    assert build["externalParameters"]["compression"] == compression.value


def test_a_base_in_a_registry_has_a_name(new_world: Any, kit: Any, tmp_path: Any) -> None:
    images = kit.images_of_tests
    base = images.InRegistry(images.make_base(tmp_path / "server"))
    build = told(new_world(delivery=Delivery.VOLUME, base=base))["predicate"]["buildDefinition"]
    assert build["externalParameters"]["delivery"] == "volume"
    named = build["resolvedDependencies"][2]
    assert named["uri"].endswith("?repository_url=registry.example/servers/torchserve")
    assert named["digest"] == sha256(base.reference.digest)


def test_what_is_written_is_read_again(world: Any) -> None:
    made = provenance(world.subject, SBOM)
    read = Statement.parse(made.to_bytes())
    assert read == made
    assert read.sboms() == {SBOM}
    read.check_subject(world.subject.digest)
    read.check_facts(world.known)


def changed(world: Any, old: str, new: str) -> Statement:
    data = provenance(world.subject, SBOM).to_bytes().decode()
    assert old in data
    return Statement.parse(data.replace(old, new).encode())


def test_another_release_of_sluice_tells_the_same(world: Any) -> None:
    made = provenance(world.subject, SBOM)
    release = made.predicate.run_details.builder.version["sluicegate"]
    other = changed(world, f'"sluicegate":"{release}"', '"sluicegate":"99.0"')
    assert other != made
    assert other.same(made)
    assert not changed(world, '"version":1', '"version":2').same(made)
    assert not provenance(world.subject, "sha256:" + "6" * 64).same(made)


@pytest.mark.parametrize("old", [BUILDER, BUILD_TYPE])
def test_another_builder_is_refused(world: Any, old: str) -> None:
    with pytest.raises(Refused, match="not by Sluice"):
        changed(world, old, "https://evil.example").check_subject(world.subject.digest)


def test_another_subject_is_refused(world: Any) -> None:
    with pytest.raises(Refused, match="of another image"):
        provenance(world.subject, SBOM).check_subject("sha256:" + "0" * 64)


def test_other_facts_are_refused_by_name(world: Any) -> None:
    for old, new, name in (
        ('"version":1', '"version":2', "version"),
        ('"model":"fraud"', '"model":"other"', "model"),
        ('"delivery":"image"', '"delivery":"volume"', "delivery"),
        ('"name":"base"', '"name":"elsewhere"', "base"),
        (world.known.artifact.blob.removeprefix("sha256:"), "0" * 64, "artifact"),
    ):
        with pytest.raises(Refused, match=f"another {name} than the registry"):
            changed(world, old, new).check_facts(world.known)


BAD = {
    "nothing": b"",
    "no object": b"[]",
    "no JSON": b"{",
    "deep": b"[" * 100_000,
    "another type": b'{"_type":"https://in-toto.io/Statement/v0.1","subject":[],"predicateType":"x","predicate":{}}',
    "no predicate": b'{"_type":"https://in-toto.io/Statement/v1","subject":[]}',
    "large": b" " * (2 << 20),
    "no text": b"\xff\xfe",
}


@pytest.mark.parametrize("data", BAD.values(), ids=list(BAD))
def test_what_is_no_provenance_is_refused(data: bytes) -> None:
    with pytest.raises(Refused, match="no provenance that can be read"):
        Statement.parse(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["_type", "subject", "predicateType", "predicate", "x"]), JSON) | JSON)
def test_any_json_is_a_provenance_or_refused(value: object) -> None:
    with pytest.raises(Refused):
        Statement.parse(json.dumps(value).encode())


@given(data=st.data())
def test_a_provenance_with_anything_in_it_is_read_or_refused(data: st.DataObject) -> None:
    whole: Any = {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": "https://slsa.dev/provenance/v1",
        "subject": [{"digest": {"sha256": "0" * 64}}],
        "predicate": {
            "buildDefinition": {"buildType": "x", "externalParameters": {}, "resolvedDependencies": []},
            "runDetails": {"builder": {"id": "x"}, "byproducts": []},
        },
    }
    place, path = whole, data.draw(st.lists(st.sampled_from(range(4)), min_size=1, max_size=4))
    for step in path:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = keys[step % len(keys)]
        if not isinstance(place[key], dict | list) or not place[key]:
            break
        above, place = place, place[key]
        if data.draw(st.booleans()):
            above[key] = data.draw(JSON)
            break
    try:
        read = Statement.parse(json.dumps(whole).encode())
    except Refused:
        return
    assert isinstance(read.sboms(), frozenset)
    with pytest.raises(Refused):
        read.check_subject("sha256:" + "1" * 64)
