"""Images in folders: never half there, tags that never move, and readable by what others read layouts with."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipelines.image.compression import Compression
from pipelines.image.content import Data, Kept, Made
from pipelines.image.layout import LayoutDestination, LayoutImage
from pipelines.image.oci import Descriptor, canonical
from registry.errors import Conflict, InvalidInput, NotFound, Refused, SluiceError
from registry.names import VersionRef


@pytest.fixture
def images(tmp_path: Path) -> LayoutDestination:
    return LayoutDestination(tmp_path / "images")


def test_a_tag_never_moves(model: Any, base: LayoutImage, images: LayoutDestination, recipes: Any) -> None:
    one = model()
    first, second = (one.build(base, images, recipes, labels={"x": text}).reference.digest for text in "ab")
    images.tag("fraud", "v7", first)
    before = (images.folder("fraud") / "index.json").read_bytes()
    with pytest.raises(Conflict, match=r"already has another image named v7, and tags are never moved: .*\.$"):
        images.tag("fraud", "v7", second)
    images.tag("fraud", "v7", first)
    assert (images.folder("fraud") / "index.json").read_bytes() == before
    assert images.tagged("fraud", "v7") == first
    assert images.tagged("fraud", "v8") is None
    with pytest.raises(NotFound):
        images.tag("fraud", "v8", "sha256:" + "1" * 64)
    with pytest.raises(NotFound):
        images.tag("other", "v8", first)


def test_what_refers_to_an_image_is_listed(
    kit: Any, model: Any, base: LayoutImage, images: LayoutDestination, recipes: Any
) -> None:
    built = model().build(base, images, recipes)
    images.tag("fraud", "v7", built.reference.digest)
    images.put("fraud", Data(b"{}"))
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": kit.digest_of(b"{}"), "size": 2}
    subject = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": built.reference.digest, "size": 1}
    told = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.example",
        "config": empty,
        "layers": [empty],
        "subject": subject,
    }
    for _ in range(2):
        reference = images.push("fraud", canonical(told))
    (found,) = images.referrers("fraud", built.reference.digest)
    assert (found.digest, found.artifact_type) == (reference.digest, "application/vnd.example")
    assert images.referrers("fraud", reference.digest) == ()
    assert LayoutImage(images.folder("fraud")).manifest() == images.manifest("fraud", built.reference.digest)


def test_builders_at_once_lose_no_tag(
    kit: Any, model: Any, base: LayoutImage, images: LayoutDestination, recipes: Any, tmp_path: Path
) -> None:
    one = model()
    start = threading.Barrier(8)
    failures: list[BaseException] = []

    def run(number: int) -> None:
        start.wait()
        try:
            ref = VersionRef(model="fraud", number=number)
            built = one.build(base, LayoutDestination(tmp_path / "images"), recipes, ref=ref, labels={"n": str(number)})
            LayoutDestination(tmp_path / "images").tag("fraud", f"v{number}", built.reference.digest)
        except BaseException as error:  # noqa: BLE001  # told by the test, not by the thread
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    folder = images.folder("fraud")
    for number in range(1, 9):
        digest = images.tagged("fraud", f"v{number}")
        assert kit.Read(folder, digest).config["config"]["Labels"]["n"] == str(number)
    assert len(json.loads((folder / "index.json").read_bytes())["manifests"]) == 8
    assert not list(folder.rglob(".part-*"))


def test_a_blob_is_whole_or_not_there(images: LayoutDestination, tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"some"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        images.put("m", Made(broken))
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".scratch"] == []


def test_another_builders_file_is_left_alone_while_it_lives(images: LayoutDestination) -> None:
    def slow() -> Iterator[bytes]:
        yield b"one "
        assert images.put("m", Data(b"another")).size == 7
        yield b"two"

    blob = images.put("m", Made(slow))
    assert (images.folder("m") / "blobs/sha256" / blob.digest.removeprefix("sha256:")).read_bytes() == b"one two"


def test_bytes_under_a_digest_are_these_and_are_not_read_twice(kit: Any, images: LayoutDestination) -> None:
    reads: list[int] = []

    def content(data: bytes, size: int | None = None) -> Kept:
        def read(start: int) -> Iterator[bytes]:
            reads.append(start)
            return iter((data[start:],))

        return Kept(kit.digest_of(b"right"), 5 if size is None else size, read)

    for wrong in (content(b"wrong"), content(b"righ"), content(b"right", 4)):
        with pytest.raises(Refused, match="holds other bytes than its name says"):
            images.put("m", wrong)
    assert not images.has("m", kit.digest_of(b"right"))
    reads.clear()
    for _ in range(2):
        assert images.put("m", content(b"right")) == (kit.digest_of(b"right"), 5)
    assert reads == [0]
    descriptor = Descriptor(media_type="x", digest=kit.digest_of(b"right"), size=5)
    assert b"".join(images.content("m", descriptor).chunks(2)) == b"ght"


INDEX = "application/vnd.oci.image.index.v1+json"
Spoil = Callable[[LayoutImage, Path], LayoutImage]


def _index_of(text: str) -> Spoil:
    def spoil(base: LayoutImage, folder: Path) -> LayoutImage:
        (folder / "index.json").write_text(text)
        return LayoutImage(folder)

    return spoil


def _platforms(kind: str) -> Spoil:
    def spoil(base: LayoutImage, folder: Path) -> LayoutImage:
        index = json.loads((folder / "index.json").read_bytes())
        index["manifests"][0]["mediaType"] = kind
        return _index_of(json.dumps(index))(base, folder)

    return spoil


def _twice(base: LayoutImage, folder: Path) -> LayoutImage:
    layout = LayoutDestination(folder.parent)
    other = layout.push(folder.name, json.dumps(json.loads(base.manifest()), indent=1).encode())
    layout.tag(folder.name, "other", other.digest)
    return LayoutImage(folder)


def _huge(base: LayoutImage, folder: Path) -> LayoutImage:
    layout = LayoutDestination(folder.parent)
    blob = layout.put(folder.name, Data(b" " * (5 << 20)))
    entry = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": blob.digest, "size": 10}
    return _index_of(json.dumps({"manifests": [entry]}))(base, folder)


BASES: Mapping[str, tuple[type[SluiceError], str, Spoil]] = {
    "no folder": (NotFound, "no OCI image layout", lambda _, folder: LayoutImage(folder / "nowhere")),
    "a file": (NotFound, "no OCI image layout", lambda _, folder: LayoutImage(folder / "oci-layout")),
    "no such tag": (NotFound, "no base image", lambda _, folder: LayoutImage(folder, "nothing")),
    "no image": (NotFound, "no base image", _index_of('{"schemaVersion": 2, "manifests": []}')),
    "two images and no tag": (InvalidInput, "holds 2 images: add the tag", _twice),
    "a broken index": (Refused, "not an OCI image index", _index_of("{")),
    "an index of something else": (Refused, "not an OCI image index", _index_of('{"manifests": [{"digest": "../x"}]}')),
    "several platforms": (Refused, "several platforms", _platforms(INDEX)),
    "several platforms of Docker's": (
        Refused,
        "several platforms",
        _platforms("application/vnd.docker.distribution.manifest.list.v2+json"),
    ),
    "a manifest of many bytes": (Refused, "which none needs", _huge),
}


@pytest.mark.parametrize(("kind", "told", "spoil"), BASES.values(), ids=BASES.keys())
def test_a_layout_that_holds_no_base_is_told(
    kind: type[SluiceError], told: str, spoil: Spoil, base: LayoutImage, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=told) as caught:
        spoil(base, tmp_path / "bases" / "server").manifest()
    assert type(caught.value) is kind
    assert str(caught.value).endswith((".", "`."))


@pytest.mark.parametrize("text", ["", "docker://x", "oci", "oci:", "oci::tag", "/a/folder"])
def test_a_base_has_a_name_of_one_shape(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not an image in a folder"):
        LayoutImage.parse(text)


@pytest.mark.parametrize("compression", Compression)
def test_skopeo_takes_the_image(
    compression: Compression,
    kit: Any,
    model: Any,
    base: LayoutImage,
    images: LayoutDestination,
    recipes: Any,
    tmp_path: Path,
) -> None:
    skopeo = shutil.which("skopeo")
    if not skopeo:
        pytest.skip("Put skopeo on PATH to see that another program reads the images.")
    built = model().build(base, images, recipes, compression=compression)
    images.tag("fraud", "v7", built.reference.digest)
    source = f"oci:{tmp_path}/images/fraud:v7"
    told = json.loads(subprocess.run([skopeo, "inspect", source], capture_output=True, check=True).stdout)
    assert told["Digest"] == built.reference.digest
    assert kit.LABELS.items() <= told["Labels"].items()
    copy = [skopeo, "--insecure-policy", "copy", "--quiet", source, f"dir:{tmp_path}/copied"]
    subprocess.run(copy, capture_output=True, check=True)
    unpacked = [skopeo, "--insecure-policy", "copy", "--quiet", "--dest-decompress", source, f"dir:{tmp_path}/unpacked"]
    subprocess.run(unpacked, capture_output=True, check=True)  # which names each layer by what it is unpacked
    layers = json.loads((tmp_path / "unpacked/manifest.json").read_bytes())["layers"]
    diff_ids = kit.Read(images.folder("fraud"), built.reference.digest).config["rootfs"]["diff_ids"]
    assert [layer["digest"] for layer in layers] == diff_ids
    assert kit.digest_of((tmp_path / "copied/manifest.json").read_bytes()) == built.reference.digest
    # as it is sent on: elsewhere skopeo would compress the layers, and so give it another digest
    kept = ["--preserve-digests", source, f"oci:{tmp_path}/kept:v1"]
    subprocess.run([skopeo, "--insecure-policy", "copy", "--quiet", *kept], capture_output=True, check=True)
    (entry,) = json.loads((tmp_path / "kept/index.json").read_bytes())["manifests"]
    assert entry["digest"] == built.reference.digest
