"""Artifacts: what is in them, that they are a pure function of their inputs, and that changed ones are refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.archive import Member
from pipelines.packagers import PackRequest, packager_for, packager_of, torchserve
from pipelines.packagers.base import Concern
from pipelines.packagers.savedmodel import SavedModelPackager
from pipelines.packagers.torchserve import TorchServePackager
from pipelines.tarin import read_tar
from registry.errors import Refused
from registry.facts import Artifact, FileFact, Format, Scan
from registry.names import VersionRef

MIB = 1 << 20
ROOT = Path(__file__).parents[2]
NOBODY = "sha256:" + "0" * 64


def request_for(form: Format, root: str, ref: str = "m@1") -> PackRequest:
    scan = Scan(source=NOBODY, size=1, format=form, root=root, files=())
    return PackRequest(ref=VersionRef.parse(ref), scan=scan, created_at=datetime(2026, 11, 20, tzinfo=UTC))


def members(files: dict[str, bytes]) -> Iterator[Member]:
    return (Member(path, len(data), iter((data,))) for path, data in files.items())


def unpacked(data: bytes, artifact: Artifact) -> dict[str, bytes]:
    found = packager_of(artifact).unpack(io.BytesIO(data), artifact)
    return {member.path: b"".join(member.chunks) for member in found}


def packed_mar(files: dict[str, bytes], root: str = "model.pt") -> tuple[bytes, Artifact]:
    facts: list[FileFact] = []
    data = b"".join(TorchServePackager().pack(members(files), request_for(Format.TORCHSCRIPT, root), facts))
    return data, Artifact(type="mar", source=NOBODY, blob=NOBODY, size=len(data), files=tuple(facts))


def test_a_mar_is_a_zip_with_the_model_the_handler_and_a_manifest(digits: Any, examples: Path) -> None:
    with tarfile.open(examples / "digits/jobs/digits-2026-11-08/model.tar.gz") as tar:
        file = tar.extractfile("model.pt")
        assert file is not None
        model = file.read()
    with zipfile.ZipFile(io.BytesIO(digits.data)) as mar:
        assert mar.testzip() is None
        assert mar.namelist() == ["model.pt", "sluice_handler.py", "MAR-INF/MANIFEST.json"]
        assert mar.read("model.pt") == model
        compile(mar.read("sluice_handler.py"), "sluice_handler.py", "exec")
        manifest = json.loads(mar.read("MAR-INF/MANIFEST.json"))
        for info in mar.infolist():
            # TorchServe refuses a stored entry whose size comes behind it
            assert (info.compress_type, info.date_time) == (zipfile.ZIP_DEFLATED, (1980, 1, 1, 0, 0, 0))
            assert info.compress_size >= info.file_size  # level 0: nothing is spent on compressing
    assert manifest == {
        "createdOn": "20/11/2026 12:30:00",
        "runtime": "python",
        "archiverVersion": "0.12.0",
        "model": {
            "modelName": "digits",
            "modelVersion": "7",
            "serializedFile": "model.pt",
            "handler": "sluice_handler.py",
        },
    }


def test_a_saved_model_lies_under_model_and_version(wine: Any, examples: Path) -> None:
    with tarfile.open(examples / "wine/jobs/wine-2026-11-10/model.tar.gz") as source:
        files = {m.name: source.extractfile(m).read() for m in source.getmembers() if m.isreg()}  # type: ignore[union-attr]
    with tarfile.open(fileobj=io.BytesIO(wine.data)) as tar:
        infos = tar.getmembers()
        assert {i.name: tar.extractfile(i).read() for i in infos} == {  # type: ignore[union-attr]
            path.replace("1/", "wine/3/", 1): data for path, data in files.items()
        }
    assert {(i.mtime, i.mode, i.uid, i.gid, i.uname, i.gname) for i in infos} == {(0, 0o644, 0, 0, "", "")}


def test_what_lies_outside_the_saved_model_stays_out() -> None:
    files = {"1/saved_model.pb": b"pb", "10/x": b"", "saved_model.txt": b"", "1/assets/a": b"a", "code/1/b": b"b"}
    facts: list[FileFact] = []
    request = request_for(Format.SAVED_MODEL, "1", "wine@12")
    data = b"".join(SavedModelPackager().pack(members(files), request, facts))
    paths = ["wine/12/saved_model.pb", "wine/12/assets/a"]
    assert [fact.path for fact in facts] == paths
    assert [(m.path, b"".join(m.chunks)) for m in read_tar(io.BytesIO(data))] == list(
        zip(paths, [b"pb", b"a"], strict=True)
    )


def test_a_saved_model_at_the_root_takes_all_with_it() -> None:
    facts: list[FileFact] = []
    files = {"saved_model.pb": b"pb", "variables/variables.index": b"v"}
    list(SavedModelPackager().pack(members(files), request_for(Format.SAVED_MODEL, ""), facts))
    assert [fact.path for fact in facts] == ["m/1/saved_model.pb", "m/1/variables/variables.index"]


@pytest.mark.parametrize("name", ["digits", "wine"])
def test_an_artifact_comes_back_byte_for_byte(name: str, request: pytest.FixtureRequest) -> None:
    packed = request.getfixturevalue(name)
    files = unpacked(packed.data, packed.artifact)
    assert [
        FileFact(path=p, size=len(d), sha256="sha256:" + hashlib.sha256(d).hexdigest()) for p, d in files.items()
    ] == [*packed.artifact.files]
    originals = {fact.sha256 for fact in packed.scan.files}
    assert originals <= {fact.sha256 for fact in packed.artifact.files}


@pytest.mark.parametrize("step", [1, 777, 65536])
@pytest.mark.parametrize("job", ["digits/jobs/digits-2026-11-15", "wine/jobs/wine-2026-11-10"], ids=["digits", "wine"])
def test_an_artifact_does_not_depend_on_how_the_bytes_come(job: str, step: int, pack: Any, examples: Path) -> None:
    data = (examples / job / "model.tar.gz").read_bytes()
    again = gzip.compress(gzip.decompress(data), 1)  # other bytes, of the same files
    ref = f"{job.partition('/')[0]}@7"
    assert pack(data, ref, step).data == pack(data, ref).data == pack(again, ref, step).data


def test_a_large_file_is_packed_alike_however_it_comes() -> None:
    data = hashlib.shake_128(b"weights").digest(3 * MIB + 17)

    def packed(step: int) -> bytes:
        chunks = (data[at : at + step] for at in range(0, len(data), step))
        one = [Member("model.pt", len(data), chunks)]
        return b"".join(TorchServePackager().pack(one, request_for(Format.TORCHSCRIPT, "model.pt"), []))

    assert packed(4099) == packed(MIB) == packed(4 * MIB)


PACK = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from pipelines.archive import read_archive
from pipelines.packagers import PackRequest, packager_for
from registry.facts import Scan

data = Path(sys.argv[1]).read_bytes()
request = PackRequest.model_validate_json(sys.argv[2])
out = packager_for(request.scan).pack(read_archive([data]), request, [])
sys.stdout.buffer.write(b"".join(out))
"""


@pytest.mark.parametrize(
    ("name", "job"),
    [("digits", "digits/jobs/digits-2026-11-08"), ("wine", "wine/jobs/wine-2026-11-10")],
)
def test_another_process_packs_the_same(name: str, job: str, request: pytest.FixtureRequest, examples: Path) -> None:
    packed = request.getfixturevalue(name)
    asked = PackRequest(ref=packed.ref, scan=packed.scan, created_at=datetime(2026, 11, 20, 12, 30, tzinfo=UTC))
    environment = {**os.environ, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "12345", "SOURCE_DATE_EPOCH": "1700000000"}
    command = [sys.executable, "-c", PACK, str(examples / job / "model.tar.gz"), asked.model_dump_json()]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True, timeout=60)
    assert done.stdout == packed.data


@pytest.mark.parametrize("name", ["digits", "wine"])
@given(data=st.data())
@settings(max_examples=150)
def test_a_changed_artifact_is_refused_or_makes_no_difference(
    name: str, digits: Any, wine: Any, data: st.DataObject
) -> None:
    packed = {"digits": digits, "wine": wine}[name]
    # headers and directories are few bytes among many: half of the flips go there
    edges = [0, len(packed.data)] if name == "wine" else [packed.data.index(b"PK\1\2"), len(packed.data)]
    near = st.integers(edges[0], min(edges[0] + 1600, edges[1] - 1))
    at = data.draw(near | st.integers(0, len(packed.data) - 1))
    damaged = bytearray(packed.data)
    damaged[at] ^= data.draw(st.integers(1, 255))
    whole = unpacked(packed.data, packed.artifact)
    try:
        files = unpacked(bytes(damaged), packed.artifact)
    except Refused as error:
        assert str(error).endswith(".")  # noqa: PT017  # either is right
        assert str(error).isprintable()  # noqa: PT017
    else:
        assert files == whole  # a date, a mode, padding: nothing that goes into an image


@pytest.mark.parametrize("name", ["digits", "wine"])
def test_a_flip_in_any_file_of_an_artifact_is_refused(name: str, request: pytest.FixtureRequest) -> None:
    packed = request.getfixturevalue(name)
    whole = unpacked(packed.data, packed.artifact)
    for path, content in whole.items():
        start = packed.data.index(content[:64])
        for at in {0, len(content) // 2, len(content) - 1}:
            damaged = bytearray(packed.data)
            damaged[start + at] ^= 1
            with pytest.raises(Refused):
                unpacked(bytes(damaged), packed.artifact)
        assert path


@pytest.mark.parametrize("name", ["digits", "wine"])
@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_cut_artifact_is_refused(name: str, keep: float, request: pytest.FixtureRequest) -> None:
    packed = request.getfixturevalue(name)
    size = int(keep if keep >= 1 else keep * (len(packed.data) - 10_240))  # the tar's end is padding
    with pytest.raises(Refused, match=r"\.$"):
        unpacked(packed.data[:size], packed.artifact)


@pytest.mark.parametrize("change", ["more", "fewer", "other order", "other name"])
@pytest.mark.parametrize("name", ["digits", "wine"])
def test_an_artifact_with_other_files_is_refused(name: str, change: str, request: pytest.FixtureRequest) -> None:
    packed = request.getfixturevalue(name)
    files = packed.artifact.files
    facts = {
        "more": (*files, files[0]),
        "fewer": files[:-1],
        "other order": files[::-1],
        "other name": (files[0].model_copy(update={"path": "x"}), *files[1:]),
    }[change]
    with pytest.raises(Refused, match="changed since"):
        unpacked(packed.data, packed.artifact.model_copy(update={"files": facts}))


def test_a_mar_that_is_compressed_or_encrypted_is_none_of_ours() -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as mar:
            mar.writestr("a", b"x" * 100)
        fact = FileFact(path="a", size=100, sha256="sha256:" + hashlib.sha256(b"x" * 100).hexdigest())
        artifact = Artifact(type="mar", source=NOBODY, blob=NOBODY, size=1, files=(fact,))
        with pytest.raises(Refused, match="Sluice never writes"):
            unpacked(out.getvalue(), artifact)


@pytest.mark.parametrize(
    "path",
    [
        "sluice_handler.py",
        "MAR-INF/MANIFEST.json",
        "mar-inf",
        "sitecustomize.py",
        "torch.py",
        "json/__init__.py",
        "x.so",
    ],
)
def test_no_other_file_of_the_training_gets_where_the_server_would_run_it(path: str) -> None:
    """TorchServe puts the model's folder on its workers' import path."""
    data, artifact = packed_mar({path: b"x", "model.pt": b"m"})
    assert [file.path for file in artifact.files] == ["model.pt", "sluice_handler.py", "MAR-INF/MANIFEST.json"]
    assert unpacked(data, artifact)["sluice_handler.py"] != b"x"


def test_files_of_any_name_and_size_come_back() -> None:
    files = {"empty": b"", "größe/模型.bin": b"x" * 70_000, "a" * 250: b"1", "block": bytes(512)}
    facts: list[FileFact] = []
    request = request_for(Format.SAVED_MODEL, "")
    tar = b"".join(SavedModelPackager().pack(members(files), request, facts))
    artifact = Artifact(type="saved-model", source=NOBODY, blob=NOBODY, size=len(tar), files=tuple(facts))
    assert unpacked(tar, artifact) == {f"m/1/{path}": content for path, content in files.items()}


def test_a_file_that_needs_zip64_gets_it_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a scale of 1 to 2,048: zipfile gives up on an entry of 2 GiB and a byte that was begun without zip64."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", MIB - 1)
    monkeypatch.setattr(torchserve, "_ZIP64_FROM", torchserve._ZIP64_FROM >> 11)
    for size in (MIB // 2 - 1, MIB // 2, MIB - 400, MIB - 1, MIB, MIB + 1):
        files = {"model.pt": bytes(size)}
        data, artifact = packed_mar(files)
        assert unpacked(data, artifact)["model.pt"] == files["model.pt"]


class Synthetic:
    """The bytes of a model that is never held: the same megabyte again and again, but for its first byte."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._piece = hashlib.shake_128(b"seed").digest(MIB)

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self.size // MIB):
            yield bytes([number % 256]) + self._piece[1:]


@pytest.mark.parametrize(
    ("packager", "scan", "path"),
    [
        (TorchServePackager(), (Format.TORCHSCRIPT, "model.pt"), "model.pt"),
        (SavedModelPackager(), (Format.SAVED_MODEL, ""), "saved_model.pb"),
    ],
    ids=["mar", "saved-model"],
)
def test_packing_and_unpacking_hold_little(packager: Any, scan: Any, path: str, tmp_path: Path) -> None:
    model = Synthetic(64 * MIB)
    facts: list[FileFact] = []
    artifact_path = tmp_path / "artifact"
    tracemalloc.start()
    try:
        with artifact_path.open("wb") as out:
            for chunk in packager.pack([Member(path, model.size, iter(model))], request_for(*scan), facts):
                out.write(chunk)
        _, packing = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        size = artifact_path.stat().st_size
        artifact = Artifact(type=packager.type, source=NOBODY, blob=NOBODY, size=size, files=tuple(facts))
        with artifact_path.open("rb") as file:
            sizes = {m.path: sum(map(len, m.chunks)) for m in packager.unpack(file, artifact)}
        _, unpacking = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sizes[facts[0].path] == model.size
    assert packing < 10 * MIB
    assert unpacking < 10 * MIB


def test_each_kind_has_its_packager(digits: Any, wine: Any) -> None:
    for packed, kind in ((digits, TorchServePackager), (wine, SavedModelPackager)):
        assert isinstance(packager_for(packed.scan), kind)
        assert isinstance(packager_of(packed.artifact), kind)


def test_code_and_weights_are_told_apart() -> None:
    mar = TorchServePackager()
    assert [mar.concern(p) for p in ("model.pt", "x/y.py", "MAR-INF/MANIFEST.json", "classes.json")] == [
        Concern.WEIGHTS,
        Concern.CODE,
        Concern.CODE,
        Concern.WEIGHTS,
    ]
    assert SavedModelPackager().concern("m/1/assets/x.py") is Concern.WEIGHTS


def test_reading_back_a_tar_that_is_none_is_refused() -> None:
    for data in (b"", b"x" * 2000, gzip.compress(b"x")):
        with pytest.raises(Refused, match=r"not the tar it should be .*: restore it from a copy\.$"):
            list(read_tar(io.BytesIO(data)))
