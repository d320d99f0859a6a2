"""Which files make which layer: each one exactly one, the same every time, and no more than a layer can hold."""

from __future__ import annotations

import gzip
import io
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pipelines.image.compression import Compression
from pipelines.image.layers import LAYER_MAX, LayerPlan, Making, Place, folders, plan_layers
from pipelines.tarin import read_tar
from registry.errors import Refused
from registry.facts import Artifact, FileFact
from registry.s3read import Head, RangeReader
from registry.store import Blob

_NAME = st.text("abcü.", min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))
_PATH = st.lists(_NAME, min_size=1, max_size=3).map("/".join)
_FILE = st.tuples(_PATH, st.sampled_from([".py", ".bin"]), st.integers(0, LAYER_MAX // 3), st.integers(0, 9))
_FILES = st.lists(_FILE, min_size=1, max_size=40, unique_by=lambda file: file[0] + file[1]).map(
    lambda files: [
        FileFact(path=path + kind, size=size, sha256="sha256:" + str(digit) * 64) for path, kind, size, digit in files
    ]
)
_HERE = Place("srv", "m")
_PLACE = st.sampled_from(
    [Place("srv/sluice", "store/fraud"), Place("srv/sluice", ""), Place("", "store"), Place("", "")]
)


def artifact_of(files: list[FileFact]) -> Artifact:
    digest = "sha256:" + "1" * 64
    return Artifact(type="mar", source=digest, blob=digest, size=1, files=tuple(files))


def plans_of(kit: Any, files: list[FileFact], place: Place = _HERE, **changes: Any) -> tuple[LayerPlan, ...]:
    arguments = {"owner": 1000, "compression": Compression.NONE, "own_from": 1 << 20, "own_max": 8, **changes}
    return plan_layers(artifact_of(files), kit.TarPackager(), place, **arguments)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=_FILES, place=_PLACE, own_from=st.integers(1, LAYER_MAX), own_max=st.integers(0, 8))
def test_every_file_is_in_one_layer_with_its_like(
    files: list[FileFact], place: Place, own_from: int, own_max: int, kit: Any
) -> None:
    plans = plans_of(kit, files, place, own_from=own_from, own_max=own_max)
    placed = [file for plan in plans for file in plan.files]
    assert sorted(file.member for file in placed) == sorted(file.path for file in files)
    sizes = {file.path: (file.size, file.sha256) for file in files}
    for file in placed:
        assert file.path == place.path(file.member)
        assert (file.size, file.sha256) == sizes[file.member]
    order = [file.path for file in files]
    concerns = [plan.concern for plan in plans]
    assert concerns == sorted(concerns, reverse=True)  # weights before code
    for plan in plans:
        assert {kit.TarPackager().concern(file.member).value for file in plan.files} == {plan.concern}
        members = [file.member for file in plan.files]
        assert members == sorted(members, key=order.index)
        assert sum(file.size for file in plan.files) < LAYER_MAX
        assert plan.folders == folders([file.path for file in plan.files], place.root)
    large = sorted((file.size for file in files if file.size >= own_from), reverse=True)[:own_max]
    alone = [plan.files[0].size for plan in plans if len(plan.files) == 1]
    for size in large:
        alone.remove(size)
    assert plans == plans_of(kit, files, place, own_from=own_from, own_max=own_max)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=_FILES, other=_FILES, data=st.data())
def test_a_recipe_is_the_same_just_where_all_that_it_is_of_is(
    files: list[FileFact], other: list[FileFact], data: st.DataObject, kit: Any
) -> None:
    shapes = st.fixed_dictionaries(
        {
            "place": _PLACE,
            "owner": st.sampled_from([0, 1000]),
            "compression": st.sampled_from(Compression),
            "own_from": st.sampled_from([1, 1 << 20, LAYER_MAX]),
        }
    )
    plans = [*plans_of(kit, files, **data.draw(shapes)), *plans_of(kit, other, **data.draw(shapes))]
    for one in plans:
        for two in plans:
            same = one.model_copy(update={"concern": ""}) == two.model_copy(update={"concern": ""})
            # which member of the artifact a file is does not matter, but what its bytes are
            moved = [(f.path, f.size, f.sha256) for f in one.files] == [(f.path, f.size, f.sha256) for f in two.files]
            alike = moved and (one.owner, one.compression, one.folders) == (two.owner, two.compression, two.folders)
            assert same <= alike
            assert (one.recipe == two.recipe) is alike


def test_a_recipe_stays_what_it_was(kit: Any) -> None:
    """It names objects in buckets: where this changes, every layer is made again, so `_MAKING` says so."""
    files = [FileFact(path="a", size=1, sha256="sha256:" + "1" * 64)]
    (plan,) = plans_of(kit, files, Place("srv/sluice", "store"))
    assert plan.recipe == "6ff2be34969156059f6abf7a4624bb07081d64dac6ee0ec53d131acd112b5fcb"


def test_where_zstds_library_is_another_its_layers_are_others(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import zstandard

    files = [FileFact(path="a", size=1, sha256="sha256:" + "1" * 64)]
    before = {kind: plans_of(kit, files, compression=kind)[0].recipe for kind in Compression}
    monkeypatch.setattr(zstandard, "ZSTD_VERSION", (9, 9, 9))
    after = {kind: plans_of(kit, files, compression=kind)[0].recipe for kind in Compression}
    assert {kind for kind in Compression if before[kind] != after[kind]} == {Compression.ZSTD}


@pytest.mark.parametrize("own", [{}, {"own_from": 1 << 62}, {"own_max": 0}], ids=["alone", "with others", "none alone"])
@pytest.mark.parametrize("size", [LAYER_MAX, LAYER_MAX - (1 << 20), 1 << 40])
def test_a_file_that_no_layer_can_hold_is_refused(size: int, own: dict[str, int], kit: Any) -> None:
    digest = "sha256:" + "1" * 64
    files = [FileFact(path=path, size=bytes_, sha256=digest) for path, bytes_ in (("a", 1), ("weights.bin", size))]
    with pytest.raises(
        Refused, match=r"^weights.bin has \d+ bytes, and a layer at most 54525952000: save the weights in"
    ):
        plans_of(kit, files, **own)


def test_what_is_left_is_shared_out(kit: Any) -> None:
    files = [FileFact(path=f"w{n}", size=LAYER_MAX // 4, sha256="sha256:" + "1" * 64) for n in range(10)]
    plans = plans_of(kit, files, own_max=1)
    assert [[file.member for file in plan.files] for plan in plans] == [
        ["w0"],
        ["w1", "w2", "w3"],
        ["w4", "w5", "w6"],
        ["w7", "w8", "w9"],
    ]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(_PATH, st.binary(max_size=2_000), min_size=1, max_size=6),
    st.sampled_from(Compression),
    st.integers(1, 1_500),
)
def test_a_layers_size_is_known_before_where_it_is_not_compressed(
    kit: Any, tmp_path_factory: Any, files: dict[str, bytes], compression: Compression, own_from: int
) -> None:
    assume(not any(path.startswith(f"{other}/") for path in files for other in files))
    one = kit.make_model(tmp_path_factory.mktemp("blobs"), files)
    for plan in plans_of(kit, list(one.request.artifact.files), compression=compression, own_from=own_from):
        making = Making(plan, one.request.artifact, one.packager, one.blobs)
        data = b"".join(making.chunks())
        layer = making.layer(Blob(kit.digest_of(data), len(data)))
        assert (layer.digest, layer.size) == (kit.digest_of(data), len(data))
        assert layer.diff_id == kit.digest_of(tar_in(data, compression))
        assert plan.size == (len(data) if compression is Compression.NONE else None)
        assert b"".join(making.chunks()) == data  # and again, as after a broken connection


def tar_in(layer: bytes, compression: Compression) -> bytes:
    if compression is Compression.GZIP:
        return gzip.decompress(layer)
    if compression is Compression.ZSTD:
        return zstandard.ZstdDecompressor().stream_reader(layer, read_across_frames=True).read()
    return layer


class Counting:
    """A reader that counts what is read of the one it wraps."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.taken = 0

    def read(self, size: int = -1, /) -> bytes:
        data: bytes = self._inner.read(size)
        self.taken += len(data)
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return int(self._inner.seek(offset, whence))

    def tell(self) -> int:
        return int(self._inner.tell())


def test_bytes_of_files_that_are_not_wanted_are_not_read(kit: Any, model: Any) -> None:
    files = {f"shard-{number}": bytes([number]) * 3_000_000 for number in range(5)}
    one = model({**files, "small": b"x"})
    artifact = one.request.artifact
    with one.blobs.open(artifact.blob) as file:
        reader = Counting(file)
        (member,) = (
            (found.path, b"".join(found.chunks)) for found in one.packager.unpack(reader, artifact, {"shard-3"})
        )
    assert member == ("shard-3", files["shard-3"])
    assert reader.taken < 3_000_000 + 20_000


@pytest.mark.parametrize("change", ["size", "path", "missing", "added", "bytes"])
def test_files_that_are_not_wanted_still_have_to_be_there(change: str, kit: Any, model: Any) -> None:
    one = model({"a": b"a" * 2_000, "b": b"b", "c": b"c" * 600})
    facts = list(one.request.artifact.files)
    spoilt = {
        "size": [facts[0].model_copy(update={"size": 1_999}), *facts[1:]],
        "path": [facts[0].model_copy(update={"path": "A"}), *facts[1:]],
        "missing": facts[:2],
        "added": [*facts, facts[2].model_copy(update={"path": "d"})],
        "bytes": [facts[0], facts[1].model_copy(update={"sha256": facts[0].sha256}), facts[2]],
    }
    artifact = one.request.artifact.model_copy(update={"files": tuple(spoilt[change])})
    with one.blobs.open(artifact.blob) as reader, pytest.raises(Refused, match="were changed since"):
        [b"".join(member.chunks) for member in one.packager.unpack(reader, artifact, {"b"})]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 6_000), data=st.data())
def test_a_tar_that_was_cut_or_changed_is_refused_or_read(cut: int, data: st.DataObject, kit: Any) -> None:
    whole = bytearray(kit.tar_of({"a": b"a" * 1_000, "b": b"b" * 700, "c": b""}))
    if data.draw(st.booleans()):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    del whole[cut:]
    used = data.draw(st.booleans())
    with suppress(Refused):
        for member in read_tar(io.BytesIO(whole)):
            if used:
                assert sum(len(chunk) for chunk in member.chunks) == member.size


class Ranges:
    """What RangeReader asks of S3, over bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.taken = 0

    def get_object(self, **asked: str) -> dict[str, Any]:
        first, _, last = asked["Range"].removeprefix("bytes=").partition("-")
        body = self._data[int(first) : int(last) + 1]
        self.taken += len(body)
        return {"Body": io.BytesIO(body)}


def test_all_layers_together_read_an_artifact_once_or_little_more(kit: Any) -> None:
    files = {f"shard-{number}": bytes([number]) * (16 << 20) for number in range(6)}
    data = kit.tar_of(files)
    artifact = artifact_of([FileFact(path=p, size=len(d), sha256=kit.digest_of(d)) for p, d in files.items()])
    s3: Any = Ranges(data)
    found = Head(len(data), "etag", datetime(2026, 11, 20, tzinfo=UTC))
    for wanted in files:
        with closing(RangeReader(s3, "bucket", "key", found)) as reader:
            (size,) = (sum(map(len, m.chunks)) for m in kit.TarPackager().unpack(reader, artifact, {wanted}))
            assert size == 16 << 20
    assert s3.taken < 1.6 * len(data)  # in windows of 4 MiB; read from its start each time, it would be 3.5
