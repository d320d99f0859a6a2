"""An image from end to end: built, pushed to a registry, pulled by skopeo, put together, and served by TorchServe."""

from __future__ import annotations

import http.client
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from gitops.config import Model, parse_environment
from gitops.release import Release
from gitops.render import objects
from gitops.runtimes import MODEL_ROOT, TORCHSERVE_MANAGEMENT_PORT
from pipelines.image.builder import Builder
from pipelines.image.compression import Compression
from pipelines.image.content import Data
from pipelines.image.images import BaseImage, Destination
from pipelines.image.oci import CONFIG_TYPE, LAYER_TYPE, Descriptor, Manifest, canonical, dump
from pipelines.image.recipes import StoredRecipes
from pipelines.image.remote.places import open_destination, open_image
from pipelines.steps.build import BuildInput, build
from pipelines.steps.commit import CommitInput, promotion
from registry.facts import Delivery, Image, Source, SourceKind
from registry.memory import MemoryBlobs, MemoryBytes, MemoryOutputs, MemoryStore, etag_of
from registry.progress import Silent
from registry.registry import Registry
from registry.storage import Storage
from sluice.demo.ports import free_pairs

pytestmark = pytest.mark.slow

JOB = "digits-2026-11-08"
READY_SECONDS = 60
HOME = "home/model-server"


@pytest.fixture
def torchserve() -> Path:
    """The folder of the torchserve to test against."""
    told = os.environ.get("SLUICE_TORCHSERVE")
    if not told or not shutil.which(told):
        pytest.skip(
            "Set SLUICE_TORCHSERVE to bin/torchserve of a virtual environment with torchserve, torch and PyYAML."
        )
    if not shutil.which("java"):
        pytest.skip("Put a Java runtime (17 or later) on PATH: TorchServe's front end is written in Java.")
    return Path(told).absolute().parent


@pytest.fixture
def registry_place(docker_registry: Any) -> str:
    """Where in a registry nothing was pushed yet."""
    if not shutil.which("skopeo"):
        pytest.skip("Install skopeo (Debian's package of that name) to pull an image as a node does.")
    return f"{docker_registry.host}/e{uuid4().hex[:12]}"


Entry = tuple[str, bytes | None]
"""A path with a file's bytes, or None for a folder."""
LAYERS: Sequence[Sequence[Entry]] = (
    [
        ("etc/os-release", b"ID=a\n"),
        ("etc/old", b"old\n"),
        (HOME, None),
        (f"{HOME}/gone", b"x"),
        ("opt/many/a", b"a"),
        ("opt/many/b", b"b"),
        ("srv/note", b"the base's\n"),
    ],
    # what the image specification calls whiteouts: one file, a folder, and all that was in a folder
    [(f"{HOME}/.wh.gone", b""), ("etc/old", b"new\n"), ("opt/many/.wh..wh..opq", b""), ("opt/many/c", b"c")],
)


def push_base(destination: Destination) -> None:
    """A base image of two layers, the second of which takes away from the first."""
    put = []
    for entries in LAYERS:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for path, data in entries:
                info = tarfile.TarInfo(path)
                info.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
                info.size, info.mode = len(data or b""), 0o755 if data is None else 0o644
                tar.addfile(info, io.BytesIO(data or b""))
        put.append(destination.put("torchserve", Data(out.getvalue())))
    config = canonical(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"], "Cmd": ["serve"]},
            "rootfs": {"type": "layers", "diff_ids": [blob.digest for blob in put]},
        }
    )
    blob = destination.put("torchserve", Data(config))
    manifest = Manifest(
        config=Descriptor(media_type=CONFIG_TYPE, digest=blob.digest, size=blob.size),
        layers=tuple(Descriptor(media_type=LAYER_TYPE, digest=one.digest, size=one.size) for one in put),
    )
    destination.tag("torchserve", "0.12", destination.push("torchserve", dump(manifest)).digest)


class Released(NamedTuple):
    """What came of a release: the image's fact, and the objects that git has of it."""

    image: Image
    container: Mapping[str, Any]
    volumes: Mapping[str, str]
    """By path in the server's container, the images that are mounted there."""


def released(digits: Any, place: str, delivery: Delivery, compression: Compression) -> Released:
    """Build the packaged model on a base in the registry, push it, and render a release of it."""
    push_base(open_destination(f"{place}/bases"))
    destination = open_destination(f"{place}/models")
    base: BaseImage = open_image(f"{place}/bases/torchserve:0.12")
    kept, store = MemoryBytes(), MemoryStore()
    uri = "s3://training/model.tar.gz"
    blobs = MemoryBlobs(kept)
    blobs.put(digits.blobs.chunks(digits.artifact.blob), what="", progress=Silent())
    registry = Registry(Storage(store, MemoryOutputs(kept, {uri: b"any"}), blobs, kept))
    source = Source(kind=SourceKind.S3, uri=uri, etag=etag_of(b"any"), size=3)
    ref = registry.register("digits", source, actor="tests").version.ref
    registry.record(ref, digits.artifact)
    builder = Builder(blobs, StoredRecipes(store), destination, Silent())
    wanted = BuildInput(ref=ref, delivery=delivery, compression=compression)
    image = build(wanted, registry, builder, lambda _: base, destination, Silent())
    asked = promotion(CommitInput(ref=ref, environment="prod", weight=100, requested_by="tests"), registry)
    environment = parse_environment(
        b"name: prod\nnamespace: models\ndomain: models.example.com\n", "environments/prod.yaml"
    )
    release = Release(model="digits", environment="prod", stable=asked.to)
    (deployment,) = (one for one in objects(release, Model(name="digits"), environment) if one["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    images = {volume["name"]: volume["image"]["reference"] for volume in pod.get("volumes", ()) if "image" in volume}
    mounts = {mount["mountPath"]: images[mount["name"]] for mount in container.get("volumeMounts", ())}
    return Released(image, container, mounts)


def pulled(reference: str, folder: Path) -> dict[str, Any]:
    """Have skopeo pull an image, apply its layers in order below `folder`, and give its config."""
    layout = folder.with_name(folder.name + ".oci")
    copy = ["skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "--preserve-digests"]
    subprocess.run([*copy, f"docker://{reference}", f"oci:{layout}:here"], capture_output=True, check=True)
    unpacked = ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-decompress"]
    plain = layout.with_suffix(".dir")
    subprocess.run([*unpacked, f"oci:{layout}:here", f"dir:{plain}"], capture_output=True, check=True)
    (entry,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    assert entry["digest"] == reference.partition("@")[2]
    manifest = json.loads((plain / "manifest.json").read_bytes())
    config: dict[str, Any] = json.loads((plain / manifest["config"]["digest"].removeprefix("sha256:")).read_bytes())
    digests = [layer["digest"] for layer in manifest["layers"]]
    assert digests == config["rootfs"]["diff_ids"]
    folder.mkdir()
    for digest in digests:
        apply_layer(plain / digest.removeprefix("sha256:"), folder)
    return config


def apply_layer(layer: Path, root: Path) -> None:
    """Change `root` as a layer of files and folders says (OCI image specification, "Applying Changesets")."""
    with tarfile.open(layer, mode="r:") as tar:
        for info in tar:
            path = root / info.name
            if path.name == ".wh..wh..opq":
                for old in path.parent.iterdir() if path.parent.exists() else ():
                    _remove(old)
            elif path.name.startswith(".wh."):
                _remove(path.with_name(path.name.removeprefix(".wh.")))
            elif info.isdir():
                path.mkdir(parents=True, exist_ok=True)
            else:
                file = tar.extractfile(info)
                assert file is not None
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.read())
                path.chmod(info.mode)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def files_of(folder: Path) -> dict[str, bytes]:
    """What a folder holds, but for what Python compiles on the way."""
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


class Process(NamedTuple):
    """What a container would start."""

    command: Sequence[str]
    working_dir: str
    environment: Mapping[str, str]


@contextmanager
def served(process: Process, root: Path, torchserve: Path) -> Iterator[int]:
    """Start it in a root that is a folder, on other ports; gives the port that predictions are asked on."""
    ports = dict(zip((8080, TORCHSERVE_MANAGEMENT_PORT, 8082, 7070, 7071), free_pairs(5), strict=True))
    moved = f"{root}{MODEL_ROOT}"
    settings = Path(f"{moved}/config.properties")
    text = settings.read_text().replace(MODEL_ROOT, moved).replace("//0.0.0.0:", "//127.0.0.1:")
    for port in (8080, TORCHSERVE_MANAGEMENT_PORT, 8082):
        text = text.replace(f"//127.0.0.1:{port}\n", f"//127.0.0.1:{ports[port]}\n")
    settings.write_text(f"{text}grpc_inference_port={ports[7070]}\ngrpc_management_port={ports[7071]}\n")
    with tempfile.TemporaryDirectory(prefix="ts") as temp:  # sockets lie here, whose paths are short
        environment = {**process.environment, "TMPDIR": temp, "TEMP": temp}
        environment["PATH"] = f"{torchserve}:{Path(shutil.which('java') or '').parent}:{environment['PATH']}"
        log = root.with_name("log")
        with log.open("wb") as output:
            server = subprocess.Popen(
                [argument.replace(MODEL_ROOT, moved) for argument in process.command],
                cwd=f"{root}{process.working_dir}",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            _await_answer(server, ports[8080], log)
            yield ports[8080]
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait(30)


def _await_answer(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        with suppress(OSError, http.client.HTTPException):
            if asked(port, b'{"instances": []}')[0] in (200, 400):
                return
        if server.poll() is not None or time.monotonic() > deadline:
            pytest.fail("TorchServe does not serve:\n" + "\n".join(log.read_text().splitlines()[-60:]))
        time.sleep(0.2)


def asked(port: int, body: bytes) -> tuple[int, Any]:
    """The status and the answer to a request for a prediction."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", "/predictions/digits", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.load(answer)
    finally:
        connection.close()


def class_of(port: int, sample: bytes) -> int:
    status, answer = asked(port, sample)
    assert status == 200, answer
    (scores,) = answer["predictions"]
    return int(scores.index(max(scores)))


def environment_of(config: Mapping[str, Any]) -> dict[str, str]:
    return dict(line.split("=", 1) for line in config["config"]["Env"])


def whole_base(root: Path) -> bool:
    """Whether the base's two layers were applied in their order, and what the second took away is gone."""
    found = files_of(root)
    return (
        found["etc/old"] == b"new\n"
        and f"{HOME}/gone" not in found
        and {path for path in found if path.startswith("opt/")} == {"opt/many/c"}
        and found["srv/note"] == b"the base's\n"
    )


@pytest.mark.parametrize("compression", Compression)
def test_an_image_that_was_pulled_serves(
    compression: Compression, packaged: Callable[..., Any], registry_place: str, torchserve: Path, tmp_path: Path
) -> None:
    digits = packaged("digits", JOB)
    release = released(digits, registry_place, Delivery.IMAGE, compression)
    assert (release.container["image"], release.volumes) == (release.image.reference, {})
    root = tmp_path / "root"
    config = pulled(release.image.reference, root)
    assert whole_base(root)
    run = config["config"]
    assert "Cmd" not in run
    process = Process(run["Entrypoint"], run["WorkingDir"], environment_of(config))
    with served(process, root, torchserve) as port:
        assert class_of(port, digits.sample) == digits.expected


def test_a_volume_that_was_pulled_serves_beside_its_server(
    packaged: Callable[..., Any], registry_place: str, torchserve: Path, tmp_path: Path
) -> None:
    digits = packaged("digits", JOB)
    release = released(digits, registry_place, Delivery.VOLUME, Compression.NONE)
    root, volume = tmp_path / "root", tmp_path / "volume"
    config = pulled(release.container["image"], root)  # just the base
    assert release.volumes == {MODEL_ROOT: release.image.reference}
    pulled(release.image.reference, volume)
    assert whole_base(root)
    assert not Path(f"{root}{MODEL_ROOT}").exists()
    Path(f"{root}{MODEL_ROOT}").symlink_to(volume)  # stands for the mount
    process = Process(release.container["command"], release.container["workingDir"], environment_of(config))
    before = files_of(volume)
    with served(process, root, torchserve) as port:
        assert class_of(port, digits.sample) == digits.expected
    after = files_of(volume)
    for files in (before, after):
        del files["config.properties"]  # which the test itself changed
    assert after == before  # the mount is read-only, and nothing has to be written there
