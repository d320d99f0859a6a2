"""Artifacts that are tars: a pure function of their inputs, read back byte for byte, refused where changed."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.archive import Member
from pipelines.digests import Hashed
from pipelines.packagers import PackRequest, packager_of
from pipelines.packagers.savedmodel import SavedModelPackager
from pipelines.tarin import read_tar
from pipelines.tarout import write_tar
from registry.errors import Refused
from registry.facts import Artifact, FileFact
from tests.pipelines.memory import traced

ROOT = Path(__file__).parents[3]
JOB = "wine/jobs/wine-2026-11-10/model.tar.gz"
PACK = """
import sys
from pathlib import Path
from pipelines.archive import read_archive
from pipelines.packagers import Packed, PackRequest, packager_for

data = Path(sys.argv[1]).read_bytes()
request = PackRequest.model_validate_json(sys.argv[2])
packed = Packed()
out = b"".join(packager_for(request.scan).pack(read_archive([data]), request, packed))
sys.stdout.buffer.write(packed.signature.to_bytes() + out)
"""


def unpacked(data: bytes, artifact: Artifact, wanted: set[str] | None = None) -> dict[str, bytes]:
    found = packager_of(artifact).unpack(io.BytesIO(data), artifact, wanted)
    return {member.path: b"".join(member.chunks) for member in found}


def test_an_artifact_comes_back_byte_for_byte(wine: Any) -> None:
    files = unpacked(wine.data, wine.artifact)
    assert isinstance(packager_of(wine.artifact), SavedModelPackager)
    assert tuple(
        FileFact(path=p, size=len(d), sha256="sha256:" + hashlib.sha256(d).hexdigest()) for p, d in files.items()
    ) == (wine.artifact.files)
    assert {fact.sha256 for fact in wine.scan.files} < {fact.sha256 for fact in wine.artifact.files}


def test_single_files_come_back_alone(wine: Any) -> None:
    path = wine.artifact.files[1].path
    assert list(unpacked(wine.data, wine.artifact, {path})) == [path]


@pytest.mark.parametrize("step", [1, 777, 65536])
def test_an_artifact_does_not_depend_on_how_the_bytes_come(step: int, pack: Any, examples: Path) -> None:
    data = (examples / JOB).read_bytes()
    again = gzip.compress(gzip.decompress(data), 1)  # other bytes, of the same files
    assert pack(data, "wine@7", step).data == pack(data, "wine@7").data == pack(again, "wine@7", step).data


def test_another_process_packs_the_same(wine: Any, examples: Path) -> None:
    asked = PackRequest(ref=wine.ref, scan=wine.scan, created_at=datetime(2026, 11, 20, 12, 30, tzinfo=UTC))
    environment = {**os.environ, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "12345", "SOURCE_DATE_EPOCH": "1700000000"}
    command = [sys.executable, "-c", PACK, str(examples / JOB), asked.model_dump_json()]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True, timeout=60)
    assert done.stdout == wine.signature.to_bytes() + wine.data


@given(data=st.data())
@settings(max_examples=150)
def test_a_changed_artifact_is_refused_or_makes_no_difference(wine: Any, data: st.DataObject) -> None:
    # headers are few bytes among many: half of the flips go there
    at = data.draw(st.integers(0, 1599) | st.integers(0, len(wine.data) - 1))
    damaged = bytearray(wine.data)
    damaged[at] ^= data.draw(st.integers(1, 255))
    try:
        files = unpacked(bytes(damaged), wine.artifact)
    except Refused as error:
        assert str(error).endswith(".")  # noqa: PT017  # either is right
        assert str(error).isprintable()  # noqa: PT017
    else:
        assert files == unpacked(wine.data, wine.artifact)  # a date, a mode, padding: nothing that goes into an image


def test_a_flip_in_any_file_of_an_artifact_is_refused(wine: Any) -> None:
    whole = unpacked(wine.data, wine.artifact)
    assert len(whole) == 5
    for content in whole.values():
        start = wine.data.index(content[:64])
        for at in {0, len(content) // 2, len(content) - 1}:
            damaged = bytearray(wine.data)
            damaged[start + at] ^= 1
            with pytest.raises(Refused):
                unpacked(bytes(damaged), wine.artifact)


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_cut_artifact_is_refused(keep: float, wine: Any) -> None:
    size = int(keep if keep >= 1 else keep * (len(wine.data) - 10_240))  # the tar's end is padding
    with pytest.raises(Refused, match=r"\.$"):
        unpacked(wine.data[:size], wine.artifact)


@pytest.mark.parametrize("change", ["more", "fewer", "other order", "other name"])
def test_an_artifact_with_other_files_is_refused(change: str, wine: Any) -> None:
    files = wine.artifact.files
    facts = {
        "more": (*files, files[0]),
        "fewer": files[:-1],
        "other order": files[::-1],
        "other name": (files[0].model_copy(update={"path": "x"}), *files[1:]),
    }[change]
    with pytest.raises(Refused, match="changed since"):
        unpacked(wine.data, wine.artifact.model_copy(update={"files": facts}))


def test_unpacking_holds_little(wine: Any, tmp_path: Path) -> None:
    size = 128 << 20
    path, facts = tmp_path / "artifact", []

    def members() -> Iterator[Member]:
        for name in ("a", "b"):
            hashed = Hashed(bytes([number % 256]) * (1 << 20) for number in range(size >> 20))
            yield Member(name, size, iter(hashed))
            facts.append(FileFact(path=name, size=size, sha256=hashed.digest))

    with path.open("wb") as out:
        out.writelines(write_tar(members()))
    artifact = wine.artifact.model_copy(update={"files": tuple(facts)})
    with traced() as peak, path.open("rb") as file:
        found = {m.path: sum(map(len, m.chunks)) for m in packager_of(artifact).unpack(file, artifact)}
    assert found == {"a": size, "b": size}
    assert peak.size < 10 << 20


def test_reading_back_a_tar_that_is_none_is_refused() -> None:
    for data in (b"", b"x" * 2000, gzip.compress(b"x")):
        with pytest.raises(Refused, match=r"not the tar it should be .*: restore it from a copy\.$"):
            list(read_tar(io.BytesIO(data)))
