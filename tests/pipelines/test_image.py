"""Images: right by the OCI specification, the same every time, and never half there."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gitops.release import Runtime
from pipelines.image.builder import BuildRequest, Built, build_image
from pipelines.image.layout import LayoutDestination, LayoutImage
from pipelines.packagers import packager_of
from registry.errors import Conflict, InvalidInput, NotFound, Refused, SluiceError
from registry.progress import Silent

ROOT = Path(__file__).parents[2]
CREATED = "2026-11-20T12:30:00Z"
LABELS = {"org.opencontainers.image.title": "a model", "b": "ü"}

Base = Callable[[Runtime], LayoutImage]


def build(packed: Any, base: LayoutImage, destination: Any, labels: dict[str, str] = LABELS) -> Built:
    request = BuildRequest(ref=packed.ref, artifact=packed.artifact, created=CREATED, labels=labels)
    packager = packager_of(packed.artifact)
    built = build_image(request, packager, packed.blobs(), base, destination, Silent())
    destination.tag(packed.ref.model, f"v{packed.ref.number}", built.reference.digest)
    return built


def base_of(packed: Any, base: Base) -> LayoutImage:
    return base(packager_of(packed.artifact).runtime)


class Read:
    """An image as another program sees it: the files of a layout, and nothing of Sluice's."""

    def __init__(self, folder: Path, tag: str) -> None:
        self.folder = folder
        assert json.loads((folder / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
        index = json.loads((folder / "index.json").read_bytes())
        assert (index["schemaVersion"], index["mediaType"]) == (2, "application/vnd.oci.image.index.v1+json")
        (self.descriptor,) = (
            m for m in index["manifests"] if m["annotations"]["org.opencontainers.image.ref.name"] == tag
        )
        assert self.descriptor["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
        self.manifest = json.loads(self.blob(self.descriptor))
        self.config = json.loads(self.blob(self.manifest["config"]))
        self.layers = [self.blob(layer) for layer in self.manifest["layers"]]

    def blob(self, descriptor: dict[str, Any]) -> bytes:
        algorithm, _, name = descriptor["digest"].partition(":")
        data = (self.folder / "blobs" / algorithm / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (descriptor["size"], name)
        return data

    def root(self) -> dict[str, tuple[str, int, int, int, bytes]]:
        """The file system: layers applied in order; kind, mode, owner, group and bytes by path."""
        found = {}
        for layer in self.layers:
            with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
                for info in tar:
                    file = tar.extractfile(info)
                    data = file.read() if file else b""
                    kind = "file" if info.isreg() else "folder"
                    assert info.isreg() or info.isdir()
                    assert info.mtime == 0
                    found[info.name] = (kind, info.mode, info.uid, info.gid, data)
        return found


@pytest.mark.parametrize("name", ["digits", "wine"])
def test_an_image_is_right_by_the_specification(
    name: str, base: Base, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    packed = request.getfixturevalue(name)
    built = build(packed, base_of(packed, base), LayoutDestination(tmp_path / "images"))
    image = Read(tmp_path / "images" / name, f"v{packed.ref.number}")

    assert str(built.reference) == f"oci.local/{name}@{image.descriptor['digest']}"
    manifest, config = image.manifest, image.config
    assert (manifest["schemaVersion"], manifest["mediaType"]) == (2, "application/vnd.oci.image.manifest.v1+json")
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    assert {layer["mediaType"] for layer in manifest["layers"]} == {"application/vnd.oci.image.layer.v1.tar"}
    assert manifest["annotations"] == LABELS
    assert config["rootfs"]["type"] == "layers"
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(data).hexdigest() for data in image.layers]
    assert len([entry for entry in config["history"] if not entry.get("empty_layer")]) == len(image.layers)
    assert (config["architecture"], config["os"], config["created"]) == ("amd64", "linux", CREATED)
    run = config["config"]
    layout = packager_of(packed.artifact).layout(packed.ref)
    assert run == {
        "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
        "Entrypoint": list(layout.entrypoint),
        "User": "1000:1000",
        "WorkingDir": layout.working_dir,
        "Labels": LABELS,
    }
    sizes = [image.descriptor["size"], manifest["config"]["size"], *(layer["size"] for layer in manifest["layers"])]
    assert built.size == sum(sizes)


@pytest.mark.parametrize("name", ["digits", "wine"])
def test_the_base_lies_below_unchanged(name: str, base: Base, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    packed = request.getfixturevalue(name)
    below = base_of(packed, base)
    raw = below.manifest()
    built = build(packed, below, LayoutDestination(tmp_path / "images"))
    image = Read(tmp_path / "images" / name, f"v{packed.ref.number}")
    layers = json.loads(raw)["layers"]
    assert built.base == "sha256:" + hashlib.sha256(raw).hexdigest()
    assert image.manifest["layers"][: len(layers)] == layers
    assert image.layers[0] == b"".join(below.blob(layers[0]["digest"]))
    assert image.root()["etc/os-release"][:4] == ("file", 0o644, 0, 0)


def test_the_root_of_a_torchserve_image(digits: Any, base: Base, tmp_path: Path) -> None:
    build(digits, base(Runtime.TORCHSERVE), LayoutDestination(tmp_path))
    image = Read(tmp_path / "digits", "v7")
    root = image.root()
    home, store = "home/model-server", "home/model-server/model-store/digits"
    assert sorted(root) == sorted(
        [
            "etc/os-release",
            home,
            f"{home}/config.properties",
            f"{home}/model-store",
            store,
            f"{store}/MAR-INF",
            f"{store}/MAR-INF/MANIFEST.json",
            f"{store}/model.pt",
            f"{store}/sluice_handler.py",
        ]
    )
    assert "load_models=digits\n" in root[f"{home}/config.properties"][4].decode()
    for path, (kind, mode, uid, gid, data) in root.items():
        if path != "etc/os-release":
            assert bool(data) is (kind == "file")
            assert (mode, uid, gid) == (0o755 if kind == "folder" else 0o644, 1000, 1000), path
    sizes = {fact.path: fact.sha256 for fact in digits.artifact.files}
    for path, sha256 in sizes.items():
        assert "sha256:" + hashlib.sha256(root[f"{store}/{path}"][4]).hexdigest() == sha256
    # the weights are in a layer of their own: a new handler moves none of them
    assert [_files(layer) for layer in image.layers[1:]] == [
        [f"{store}/model.pt"],
        [f"{store}/sluice_handler.py", f"{store}/MAR-INF/MANIFEST.json"],
        [f"{home}/config.properties"],
    ]


def _files(layer: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        return [info.name for info in tar if info.isreg()]


def test_the_root_of_a_tensorflow_image(wine: Any, base: Base, tmp_path: Path) -> None:
    build(wine, base(Runtime.TENSORFLOW_SERVING), LayoutDestination(tmp_path))
    root = Read(tmp_path / "wine", "v3").root()
    files = {path for path, entry in root.items() if entry[0] == "file"}
    assert files == {
        "etc/os-release",
        "models/wine/3/fingerprint.pb",
        "models/wine/3/saved_model.pb",
        "models/wine/3/variables/variables.data-00000-of-00001",
        "models/wine/3/variables/variables.index",
    }
    assert set(root) - files == {"models/wine", "models/wine/3", "models/wine/3/variables"}


def test_a_base_with_history_labels_and_a_command_is_kept_but_for_the_command(
    digits: Any, base: Base, tmp_path: Path
) -> None:
    below = base(Runtime.TORCHSERVE)
    layout = LayoutDestination(tmp_path / "other")
    manifest = json.loads(below.manifest())
    layer = b"".join(below.blob(manifest["layers"][0]["digest"]))
    layout.put("b", [layer])
    config = {
        "architecture": "arm64",
        "os": "linux",
        "variant": "v8",
        "author": "somebody",
        "config": {
            "Cmd": ["sh"],
            "Labels": {"kept": "yes", "b": "old"},
            "ExposedPorts": {"80/tcp": {}},
            "User": "root",
        },
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
        "history": [{"created_by": "ADD"}, {"created_by": "ENV", "empty_layer": True}],
    }
    blob = layout.put("b", [json.dumps(config).encode()])
    manifest["config"] |= {"digest": blob.digest, "size": blob.size}
    layout.tag("b", "x", layout.push("b", json.dumps(manifest).encode()).digest)

    build(digits, LayoutImage(tmp_path / "other" / "b"), LayoutDestination(tmp_path / "images"))
    made = Read(tmp_path / "images" / "digits", "v7").config
    assert (made["architecture"], made["variant"], made["author"]) == ("arm64", "v8", "somebody")
    assert "Cmd" not in made["config"]
    assert made["config"]["ExposedPorts"] == {"80/tcp": {}}
    assert made["config"]["Labels"] == {"kept": "yes", **LABELS}
    assert [entry.get("created_by") for entry in made["history"]] == [
        "ADD",
        "ENV",
        "sluice: weights",
        "sluice: code",
        "sluice: config",
    ]


@pytest.mark.parametrize("name", ["digits", "wine"])
def test_the_same_inputs_give_the_same_digest(
    name: str, base: Base, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    packed = request.getfixturevalue(name)
    one = build(packed, base_of(packed, base), LayoutDestination(tmp_path / "one"))
    two = build(packed, base_of(packed, base), LayoutDestination(tmp_path / "two"), dict(reversed(LABELS.items())))
    assert one == two
    other = build(packed, base_of(packed, base), LayoutDestination(tmp_path / "three"), {**LABELS, "b": "other"})
    assert other.reference.digest != one.reference.digest


BUILD = """
import json, os, signal, sys
from pathlib import Path
from pipelines.image.builder import BuildRequest, build_image
from pipelines.image.layout import LayoutDestination, LayoutImage
from pipelines.packagers import packager_of
from registry.memory import MemoryBlobs
from registry.progress import Silent

request, artifact, base, folder, dies_after = sys.argv[1:]
request = BuildRequest.model_validate_json(request)
blobs = MemoryBlobs()
blobs.put([Path(artifact).read_bytes()], what="", progress=Silent())
written = 0

class Dying(LayoutDestination):
    def put(self, model, chunks):
        def counted():
            global written
            for chunk in chunks:
                yield chunk
                written += 1
                if written == int(dies_after):
                    os.kill(os.getpid(), signal.SIGKILL)
        return super().put(model, counted())

packager = packager_of(request.artifact)
built = build_image(request, packager, blobs, LayoutImage.parse(base), Dying(Path(folder)), Silent())
print(built.reference)
"""


def in_another_process(
    packed: Any, base: str, artifact: Path, folder: Path, dies_after: int = 0
) -> subprocess.CompletedProcess[str]:
    request = BuildRequest(ref=packed.ref, artifact=packed.artifact, created=CREATED, labels=LABELS)
    artifact.write_bytes(packed.data)
    command = [
        sys.executable,
        "-c",
        BUILD,
        request.model_dump_json(),
        str(artifact),
        base,
        str(folder),
        str(dies_after),
    ]
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "TZ": "Asia/Tokyo"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_another_process_builds_the_same(digits: Any, base: Base, tmp_path: Path) -> None:
    here = build(digits, base(Runtime.TORCHSERVE), LayoutDestination(tmp_path / "here"))
    name = f"oci:{tmp_path}/bases/{Runtime.TORCHSERVE.value}:demo"
    there = in_another_process(digits, name, tmp_path / "artifact", tmp_path / "there")
    assert (there.stdout.strip(), there.stderr) == (str(here.reference), "")


@pytest.mark.parametrize("dies_after", [1, 6, 14])
def test_a_killed_builder_leaves_nothing_half_done(
    dies_after: int, digits: Any, base: Base, tmp_path: Path, tree: Any
) -> None:
    name = f"oci:{tmp_path}/bases/{Runtime.TORCHSERVE.value}:demo"
    killed = in_another_process(digits, name, tmp_path / "artifact", tmp_path / "images", dies_after)
    assert killed.returncode == -9, killed.stderr
    folder = tmp_path / "images" / "digits"
    assert [path for path in folder.iterdir() if path.name.startswith(".part-")]  # it was in the midst of it
    for path, data in tree(folder / "blobs" / "sha256").items():
        assert hashlib.sha256(data).hexdigest() == path
    assert not (folder / "index.json").exists()

    again = build(digits, base(Runtime.TORCHSERVE), LayoutDestination(tmp_path / "images"))
    clean = build(digits, base(Runtime.TORCHSERVE), LayoutDestination(tmp_path / "clean"))
    assert again == clean
    assert tree(folder) == tree(tmp_path / "clean" / "digits")


def test_the_base_is_sent_once_for_a_model(digits: Any, base: Base, tmp_path: Path, recording: Any) -> None:
    destination = recording(LayoutDestination(tmp_path))
    below = base(Runtime.TORCHSERVE)
    layer = json.loads(below.manifest())["layers"][0]["digest"]
    first = build(digits, below, destination)
    assert destination.puts[0] == layer
    assert len(destination.puts) == 5  # base, weights, code, config layer, config
    destination.puts.clear()
    assert build(digits, below, destination) == first
    assert layer not in destination.puts


def test_a_tag_never_moves(digits: Any, base: Base, tmp_path: Path, tree: Any) -> None:
    destination = LayoutDestination(tmp_path / "images")
    first = build(digits, base(Runtime.TORCHSERVE), destination)
    before = (tmp_path / "images/digits/index.json").read_bytes()
    with pytest.raises(Conflict, match=r"already has another image named v7, and tags are never moved: .*\.$"):
        build(digits, base(Runtime.TORCHSERVE), destination, {"other": "labels"})
    assert (tmp_path / "images/digits/index.json").read_bytes() == before
    assert build(digits, base(Runtime.TORCHSERVE), destination) == first
    assert (tmp_path / "images/digits/index.json").read_bytes() == before


def test_builders_at_once_lose_no_tag(pack: Any, examples: Path, base: Base, tmp_path: Path, tree: Any) -> None:
    data = (examples / "digits/jobs/digits-2026-11-08/model.tar.gz").read_bytes()
    versions = [pack(data, f"digits@{number}") for number in range(1, 9)]
    start = threading.Barrier(len(versions))
    failures: list[BaseException] = []

    def run(packed: Any) -> None:
        start.wait()
        try:
            build(packed, base(Runtime.TORCHSERVE), LayoutDestination(tmp_path / "images"))
        except BaseException as error:  # noqa: BLE001  # told by the test, not by the thread
            failures.append(error)

    threads = [threading.Thread(target=run, args=(packed,)) for packed in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    folder = tmp_path / "images" / "digits"
    assert {Read(folder, f"v{number}").config["config"]["Labels"]["b"] for number in range(1, 9)} == {"ü"}
    assert len(json.loads((folder / "index.json").read_bytes())["manifests"]) == 8
    assert not list(folder.rglob(".part-*"))


Spoil = Callable[[Path], LayoutImage]


def _manifest(folder: Path) -> tuple[Path, dict[str, Any]]:
    digest = json.loads((folder / "index.json").read_bytes())["manifests"][0]["digest"]
    path = folder / "blobs/sha256" / digest.removeprefix("sha256:")
    return path, json.loads(path.read_bytes())


def _layer(folder: Path) -> Path:
    return folder / "blobs/sha256" / _manifest(folder)[1]["layers"][0]["digest"].removeprefix("sha256:")


def _tampered(folder: Path) -> LayoutImage:
    path = _layer(folder)
    path.write_bytes(b"x" + path.read_bytes()[1:])
    return LayoutImage(folder)


def _cut(folder: Path) -> LayoutImage:
    path = _layer(folder)
    path.write_bytes(path.read_bytes()[:-1])
    return LayoutImage(folder)


def _no_layer(folder: Path) -> LayoutImage:
    _layer(folder).unlink()
    return LayoutImage(folder)


def _tampered_manifest(folder: Path) -> LayoutImage:
    path, manifest = _manifest(folder)
    path.write_bytes(json.dumps({**manifest, "annotations": {}}).encode())
    return LayoutImage(folder)


def _with_manifest(change: Callable[[dict[str, Any]], object], media_type: str = "") -> Spoil:
    """The base with another manifest under a tag of its own, with right digests."""

    def spoil(folder: Path) -> LayoutImage:
        index = json.loads((folder / "index.json").read_bytes())
        manifest = _manifest(folder)[1]
        data = json.dumps(change(manifest)).encode()
        digest = hashlib.sha256(data).hexdigest()
        (folder / "blobs/sha256" / digest).write_bytes(data)
        entry = {**index["manifests"][0], "digest": f"sha256:{digest}", "size": len(data)}
        if media_type:
            entry["mediaType"] = media_type
        (folder / "index.json").write_text(json.dumps({**index, "manifests": [entry]}))
        return LayoutImage(folder)

    return spoil


def _with_config(data: bytes, size: int | None = None) -> Spoil:
    def spoil(folder: Path) -> LayoutImage:
        digest = hashlib.sha256(data).hexdigest()
        (folder / "blobs/sha256" / digest).write_bytes(data)
        config = {"digest": f"sha256:{digest}", "size": len(data) if size is None else size}
        return _with_manifest(lambda m: {**m, "config": {**m["config"], **config}})(folder)

    return spoil


def _index_of(text: str) -> Spoil:
    def spoil(folder: Path) -> LayoutImage:
        (folder / "index.json").write_text(text)
        return LayoutImage(folder)

    return spoil


def _twice(folder: Path) -> LayoutImage:
    layout = LayoutDestination(folder.parent)
    other = layout.push(folder.name, json.dumps(_manifest(folder)[1], indent=1).encode())
    layout.tag(folder.name, "other", other.digest)
    return LayoutImage(folder)


BASES: dict[str, tuple[type[SluiceError], str, Spoil]] = {
    "no folder": (NotFound, "no OCI image layout", lambda folder: LayoutImage(folder / "nowhere")),
    "a file": (NotFound, "no OCI image layout", lambda folder: LayoutImage(folder / "oci-layout")),
    "no such tag": (NotFound, "no base image", lambda folder: LayoutImage(folder, "nothing")),
    "no image": (NotFound, "no base image", _index_of('{"schemaVersion": 2, "manifests": []}')),
    "two images and no tag": (InvalidInput, "holds 2 images: add the tag", _twice),
    "a broken index": (Refused, "not an OCI image index", _index_of("{")),
    "an index of something else": (Refused, "not an OCI image index", _index_of('{"manifests": [{"digest": "../x"}]}')),
    "several platforms": (
        Refused,
        "several platforms",
        _with_manifest(lambda m: {"manifests": []}, "application/vnd.oci.image.index.v1+json"),
    ),
    "no manifest": (Refused, "not an OCI image manifest", _with_manifest(lambda m: ["x"])),
    "a manifest without layers": (
        Refused,
        "not an OCI image manifest",
        _with_manifest(lambda m: {"config": m["config"]}),
    ),
    "a layer of another size": (
        Refused,
        "holds other bytes",
        _with_manifest(lambda m: {**m, "layers": [{**m["layers"][0], "size": 1}]}),
    ),
    "a changed manifest": (Refused, "holds other bytes than its name says", _tampered_manifest),
    "a changed layer": (Refused, "holds other bytes than its name says", _tampered),
    "a cut layer": (Refused, "holds other bytes than its name says", _cut),
    "no layer": (NotFound, "lacks sha256:", _no_layer),
    "a config of no JSON": (Refused, "config cannot be read", _with_config(b"\xff{")),
    "a config nested too deep": (Refused, "config cannot be read", _with_config(b"[" * 100_000)),
    "a config without a root": (Refused, "config cannot be read", _with_config(b"{}")),
    "a config with diff ids of letters": (
        Refused,
        "config cannot be read",
        _with_config(b'{"rootfs": {"diff_ids": "abc"}}'),
    ),
    "a config that is a list inside": (
        Refused,
        "config cannot be read",
        _with_config(b'{"rootfs": {"diff_ids": []}, "config": ["x"]}'),
    ),
    "a config of many bytes": (Refused, "which no config needs", _with_config(b"{}", 9 << 20)),
}


@pytest.mark.parametrize(("kind", "told", "spoil"), BASES.values(), ids=BASES.keys())
def test_a_base_that_cannot_be_used_leaves_nothing_tagged(
    kind: type[SluiceError], told: str, spoil: Spoil, digits: Any, base: Base, tmp_path: Path, tree: Any
) -> None:
    base(Runtime.TORCHSERVE)
    image = spoil(tmp_path / "bases" / Runtime.TORCHSERVE.value)
    with pytest.raises(kind, match=told) as caught:
        build(digits, image, LayoutDestination(tmp_path / "images"))
    assert type(caught.value) is kind
    assert str(caught.value).endswith((".", "`."))
    folder = tmp_path / "images" / "digits"
    assert not (folder / "index.json").exists()
    assert not list(folder.rglob(".part-*"))
    for path, data in tree(folder / "blobs" / "sha256").items():
        assert hashlib.sha256(data).hexdigest() == path


@pytest.mark.parametrize("text", ["", "docker://x", "oci", "oci:", "oci::tag", "/a/folder"])
def test_a_base_has_a_name_of_one_shape(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not an image in a folder"):
        LayoutImage.parse(text)


def test_an_artifact_that_was_changed_gives_no_image(digits: Any, base: Base, tmp_path: Path) -> None:
    data = bytearray(digits.data)
    data[len(data) // 2] ^= 1
    request = BuildRequest(ref=digits.ref, artifact=digits.artifact, created=CREATED, labels=LABELS)

    class Lying:
        def open(self, digest: str) -> io.BytesIO:
            return io.BytesIO(data)

    with pytest.raises(Refused):
        build_image(
            request,
            packager_of(digits.artifact),
            Lying(),  # type: ignore[arg-type]  # opening is all that is asked of it
            base(Runtime.TORCHSERVE),
            LayoutDestination(tmp_path / "images"),
            Silent(),
        )
    assert not (tmp_path / "images/digits/index.json").exists()


def test_a_blob_is_whole_or_not_there(tmp_path: Path) -> None:
    destination = LayoutDestination(tmp_path)

    def broken() -> Any:
        yield b"some"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        destination.put("m", broken())
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".scratch"] == []


def test_another_builders_file_is_left_alone_while_it_lives(tmp_path: Path) -> None:
    destination = LayoutDestination(tmp_path)

    def slow() -> Any:
        yield b"one "
        assert destination.put("m", [b"another"]).size == 7
        yield b"two"

    blob = destination.put("m", slow())
    assert (tmp_path / "m/blobs/sha256" / blob.digest.removeprefix("sha256:")).read_bytes() == b"one two"


@pytest.mark.parametrize("name", ["digits", "wine"])
def test_skopeo_takes_the_image(name: str, base: Base, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    skopeo = shutil.which("skopeo")
    if not skopeo:
        pytest.skip("Put skopeo on PATH to see that another program reads the images.")
    packed = request.getfixturevalue(name)
    built = build(packed, base_of(packed, base), LayoutDestination(tmp_path / "images"))
    source = f"oci:{tmp_path}/images/{name}:v{packed.ref.number}"
    told = json.loads(subprocess.run([skopeo, "inspect", source], capture_output=True, check=True).stdout)
    assert (told["Digest"], told["Labels"]) == (built.reference.digest, LABELS)
    copy = [skopeo, "--insecure-policy", "copy", "--quiet", source, f"dir:{tmp_path}/copied"]
    subprocess.run(copy, capture_output=True, check=True)
    archive = [skopeo, "--insecure-policy", "copy", "--quiet", source, f"docker-archive:{tmp_path}/docker.tar:a:b"]
    subprocess.run(archive, capture_output=True, check=True)  # which reads every layer and checks its diff id
    copied = (tmp_path / "copied/manifest.json").read_bytes()
    assert "sha256:" + hashlib.sha256(copied).hexdigest() == built.reference.digest
    # as the README sends an image on: elsewhere skopeo would compress the layers, and so give it another digest
    kept = ["--preserve-digests", source, f"oci:{tmp_path}/kept:v1"]
    subprocess.run([skopeo, "--insecure-policy", "copy", "--quiet", *kept], capture_output=True, check=True)
    (entry,) = json.loads((tmp_path / "kept/index.json").read_bytes())["manifests"]
    assert entry["digest"] == built.reference.digest
