"""What a version needs: from its requirements.txt, wherever its `.mar` has it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from pipelines.buildkit.needs import requirements_of
from pipelines.buildkit.requirements import REQUIREMENTS_MAX
from pipelines.packagers import packager_of
from pipelines.packagers.torchserve.mar import Entry, write_mar
from registry.errors import InvalidInput, Refused
from registry.facts import Artifact, FileFact
from registry.memory import MemoryBlobs
from registry.progress import Silent

MANIFEST = "MAR-INF/MANIFEST.json"
Mar = Callable[[Mapping[str, bytes]], tuple[Artifact, MemoryBlobs]]


@pytest.fixture
def mar() -> Mar:
    """A `.mar` of these files, and where it lies."""

    def make(files: Mapping[str, bytes]) -> tuple[Artifact, MemoryBlobs]:
        facts: list[FileFact] = []
        data = b"".join(write_mar([Entry(path, len(data), (data,)) for path, data in files.items()], facts))
        blobs = MemoryBlobs()
        blob = blobs.put([data], what="", progress=Silent())
        return Artifact(type="mar", source=blob.digest, blob=blob.digest, size=blob.size, files=tuple(facts)), blobs

    return make


def read(artifact: Artifact, blobs: MemoryBlobs) -> tuple[str, ...]:
    with blobs.open(artifact.blob) as reader:
        return requirements_of(artifact, packager_of(artifact), reader)


def manifest(**model: Any) -> bytes:
    return json.dumps({"model": {"modelName": "fraud", **model}, "runtime": "python"}).encode()


def test_the_file_that_the_manifest_names_is_read(mar: Mar) -> None:
    files = {
        "model.pt": b"weights",
        "requirements.txt": b"not-this-one\n",
        "needed.txt": b"# for the handler\nscipy>=1.11\nnumpy\n",
        MANIFEST: manifest(requirementsFile="needed.txt"),
    }
    assert read(*mar(files)) == ("scipy>=1.11", "numpy")


@pytest.mark.parametrize("told", [{}, {"requirementsFile": None}, {"requirementsFile": ""}])
def test_a_mar_may_need_nothing(mar: Mar, told: dict[str, Any]) -> None:
    assert read(*mar({"requirements.txt": b"a", MANIFEST: manifest(**told)})) == ()


def test_only_a_mar_has_requirements(mar: Mar, wine: Any) -> None:
    assert read(wine.artifact, wine.blobs()) == ()
    assert read(*mar({"requirements.txt": b"a"})) == ()


def test_a_training_output_brings_its_requirements_along(tars: Any, pack: Any, zipped: Any) -> None:
    script = [(f"model/{name}", b"") for name in ("constants.pkl", "data.pkl", "code/__torch__.py", "version")]
    output = tars.gz(tars.file("model.pt", zipped(script)), tars.file("code/requirements.txt", b"scipy\n"))
    packed = pack(output, "fraud@1")
    assert read(packed.artifact, packed.blobs()) == ("scipy",)


BAD = {
    "a file that is not there": ({MANIFEST: manifest(requirementsFile="x.txt")}, "does not hold it"),
    "a manifest of no JSON": ({MANIFEST: b"\xff{"}, "cannot be read: pack the model again"),
    "a manifest nested too deep": ({MANIFEST: b"[" * 100_000}, "cannot be read"),
    "a manifest of lists": ({MANIFEST: b'{"model": [1]}'}, "cannot be read"),
    "a name that is a number": ({MANIFEST: b'{"model": {"requirementsFile": 1}}'}, "cannot be read"),
    "a manifest of many bytes": ({MANIFEST: b" " * (2 << 20)}, "are the most"),
    "requirements of many bytes": (
        {"r.txt": b"#" * (REQUIREMENTS_MAX + 1), MANIFEST: manifest(requirementsFile="r.txt")},
        "are the most",
    ),
    "requirements of no text": ({"r.txt": b"\xff", MANIFEST: manifest(requirementsFile="r.txt")}, "r.txt is not UTF-8"),
    "requirements from a folder": (
        {"r.txt": b"a\n./b", MANIFEST: manifest(requirementsFile="r.txt")},
        "Line 2 of r.txt is not a package from an index",
    ),
}


@pytest.mark.parametrize(("files", "told"), BAD.values(), ids=BAD.keys())
def test_requirements_that_cannot_be_read_are_told(mar: Mar, files: Mapping[str, bytes], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        read(*mar(files))


def test_requirements_that_were_changed_are_not_taken(mar: Mar) -> None:
    artifact, _ = mar({"r.txt": b"good", MANIFEST: manifest(requirementsFile="r.txt")})
    changed, blobs = mar({"r.txt": b"evil", MANIFEST: manifest(requirementsFile="r.txt")})
    with blobs.open(changed.blob) as reader, pytest.raises(Refused, match="other bytes"):
        requirements_of(artifact, packager_of(artifact), reader)
