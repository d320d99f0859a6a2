"""Images of the example models: the packagers and the builder together."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gitops.release import Runtime
from gitops.runtimes import MODEL_ROOT, RUNTIMES
from pipelines.image.assembly import BuildRequest
from pipelines.image.builder import Builder
from pipelines.image.layout import LayoutDestination, LayoutImage
from pipelines.image.recipes import StoredRecipes
from pipelines.packagers import packager_of
from registry.errors import Refused
from registry.memory import MemoryBlobs, MemoryStore
from registry.progress import Silent

Base = Callable[[Runtime], LayoutImage]


def build(packed: Any, base: Base, folder: Path, data: bytes | None = None) -> dict[str, tuple[str, bytes]]:
    """The files of the built image, each with the digest of its layer, by path; the artifact may be another one."""
    packager = packager_of(packed.artifact)
    request = BuildRequest(ref=packed.ref, artifact=packed.artifact, created="2026-11-20T12:30:00Z", labels={})
    blobs = packed.blobs() if data is None else Changed(data)
    images = LayoutDestination(folder)
    built = Builder(blobs, StoredRecipes(MemoryStore()), images, Silent()).build(
        request, packager, base(packager.runtime)
    )
    found = {}
    manifest = json.loads(images.manifest(packed.ref.model, built.reference.digest))
    for layer in manifest["layers"]:
        place = images.folder(packed.ref.model) / "blobs/sha256" / layer["digest"].removeprefix("sha256:")
        with tarfile.open(fileobj=io.BytesIO(place.read_bytes())) as tar:
            for info in tar:
                if file := tar.extractfile(info):
                    found[info.name] = (layer["digest"], file.read())
    return found


class Changed(MemoryBlobs):
    """A store whose bytes were changed."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = data

    def open(self, digest: str) -> Any:
        return io.BytesIO(self._data)


@pytest.mark.parametrize("name", ["digits", "wine"])
def test_the_model_lies_where_its_server_looks(
    name: str, base: Base, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    packed = request.getfixturevalue(name)
    packager = packager_of(packed.artifact)
    layout = packager.layout(packed.ref, packed.artifact)
    root = MODEL_ROOT.removeprefix("/")
    found = {path: data for path, (_, data) in build(packed, base, tmp_path).items()}
    assert found.pop("etc/os-release")
    for path, data in layout.config.items():
        assert found.pop(f"{root}/{path}") == data
    told = {f"{root}/{layout.folder}/{file.path}": file.sha256 for file in packed.artifact.files}
    assert {path: "sha256:" + hashlib.sha256(data).hexdigest() for path, data in found.items()} == told
    assert any(MODEL_ROOT in argument for argument in RUNTIMES[packager.runtime].command(name))


def test_the_handler_lies_in_another_layer_than_the_weights(digits: Any, base: Base, tmp_path: Path) -> None:
    found = build(digits, base, tmp_path)
    weights, handler = ({layer for path, (layer, _) in found.items() if path.endswith(end)} for end in (".pt", ".py"))
    assert weights
    assert handler
    assert not weights & handler


@pytest.mark.parametrize("name", ["digits", "wine"])
def test_an_artifact_that_was_changed_gives_no_image(
    name: str, base: Base, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    packed = request.getfixturevalue(name)
    for place in (len(packed.data) // 3, len(packed.data) // 2):
        data = bytearray(packed.data)
        data[place] ^= 1
        with pytest.raises(Refused, match=r"\.$"):
            build(packed, base, tmp_path / str(place), bytes(data))
        assert not (tmp_path / str(place) / name / "index.json").exists()
