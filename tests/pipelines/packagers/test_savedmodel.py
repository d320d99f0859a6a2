"""SavedModels: checked without TensorFlow, laid out for TensorFlow Serving, warmed up by what came with them."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.archive import Member
from pipelines.packagers import Packed, PackRequest
from pipelines.packagers.base import Concern
from pipelines.packagers.crc32c import crc32c, masked_crc32c
from pipelines.packagers.protos.tensorflow import bundle, prediction_log, saved_model
from pipelines.packagers.savedmodel import SavedModelPackager
from pipelines.tarin import read_tar
from registry.errors import InvalidInput, SluiceError
from registry.facts import DType, FileFact, Format, Scan, Signature, Tensor
from registry.names import VersionRef
from tests.pipelines.memory import traced

MIB = 1 << 20
EXAMPLES = Path(__file__).parents[3] / "examples"
NOBODY = "sha256:" + "0" * 64
WARMUP = "assets.extra/tf_serving_warmup_requests"
FLOAT, INT32, STRING, BOOL, RESOURCE = 1, 3, 7, 10, 20
Shape = tuple[int, ...] | None


def pack(files: Mapping[str, bytes], root: str = "", ref: str = "m@1") -> tuple[dict[str, bytes], Signature]:
    """What a SavedModel becomes: the files of the tar, and the signature."""
    packed = Packed()
    scan = Scan(
        source=NOBODY,
        size=1,
        format=Format.SAVED_MODEL,
        root=root,
        files=tuple(FileFact(path=path, size=len(data), sha256=NOBODY) for path, data in files.items()),
    )
    request = PackRequest(ref=VersionRef.parse(ref), scan=scan, created_at=datetime(2026, 11, 20, tzinfo=UTC))
    members = (Member(path, len(data), iter((data,))) for path, data in files.items())
    data = b"".join(SavedModelPackager().pack(members, request, packed))
    assert packed.signature is not None
    found = {member.path: b"".join(member.chunks) for member in read_tar(io.BytesIO(data))}
    assert [fact.path for fact in packed.files] == list(found)
    return found, packed.signature


def model(
    inputs: Mapping[str, tuple[int, Shape]] = {"x": (FLOAT, (-1, 3))},
    outputs: Mapping[str, tuple[int, Shape]] = {"y": (FLOAT, (-1, 2))},
    *,
    tags: Iterable[str] = ("serve",),
    signature: str = "serving_default",
    variables: bool = False,
    assets: Iterable[str] = (),
) -> Any:
    """A `saved_model.pb` as a message."""
    made = saved_model()["SavedModel"]()
    graph = made.meta_graphs.add()
    graph.meta_info_def.tags.extend(tags)
    for side, tensors in (("inputs", inputs), ("outputs", outputs)):
        for name, (dtype, shape) in tensors.items():
            info = getattr(graph.signature_def[signature], side)[name]
            info.name, info.dtype = name + ":0", dtype
            info.tensor_shape.unknown_rank = shape is None
            for size in shape or ():
                info.tensor_shape.dim.add(size=size)
    graph.object_graph_def.nodes.add()
    if variables:
        graph.object_graph_def.nodes.add().variable.SetInParent()
    for asset in assets:
        graph.asset_file_def.add(filename=asset)
    return made


def saved(**changes: Any) -> dict[str, bytes]:
    return {"saved_model.pb": model(**changes).SerializeToString()}


def block(entries: Iterable[tuple[bytes, bytes]], kind: int = 0) -> bytes:
    """A block of a table, without prefixes left out, and its trailer."""
    out = b"".join(varint(0) + varint(len(k)) + varint(len(v)) + k + v for k, v in entries)
    out += struct.pack("<II", 0, 1) + bytes([kind])
    return out + struct.pack("<I", masked_crc32c(out))


def index(entries: Iterable[tuple[int, int, int]], shards: int = 1, kind: int = 0) -> bytes:
    """A `variables.index` of entries that are in shard, at offset, of size."""
    kinds = bundle()
    values = [(b"", kinds["BundleHeaderProto"](num_shards=shards).SerializeToString())]
    values += [
        (b"v%d" % n, kinds["BundleEntryProto"](shard_id=shard, offset=offset, size=size).SerializeToString())
        for n, (shard, offset, size) in enumerate(entries)
    ]
    half = len(values) // 2 + 1
    blocks = [block(values[:half], kind), block(values[half:], kind)]
    places, at = [], 0
    for one in blocks:
        places.append((b"k", varint(at) + varint(len(one) - 5)))
        at += len(one)
    meta, top = block([]), block(places)
    handles = varint(at) + varint(len(meta) - 5) + varint(at + len(meta)) + varint(len(top) - 5)
    return b"".join(blocks) + meta + top + handles.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def warmed(data: bytes) -> Any:
    """The request in a file of one TFRecord."""
    (length,) = struct.unpack("<Q", data[:8])
    record = data[12 : 12 + length]
    assert data == data[:8] + struct.pack("<I", masked_crc32c(data[:8])) + record + struct.pack(
        "<I", masked_crc32c(record)
    )
    return prediction_log()["PredictionLog"].FromString(record).predict_log.request


def test_a_saved_model_lies_under_model_and_version(wine: Any, examples: Path) -> None:
    with tarfile.open(examples / "wine/jobs/wine-2026-11-10/model.tar.gz") as source:
        files = {m.name: source.extractfile(m).read() for m in source.getmembers() if m.isreg()}  # type: ignore[union-attr]
    with tarfile.open(fileobj=io.BytesIO(wine.data)) as tar:
        infos = tar.getmembers()
        found = {i.name: tar.extractfile(i).read() for i in infos}  # type: ignore[union-attr]
    assert found.pop(f"wine/3/{WARMUP}")
    assert found == {path.replace("1/", "wine/3/", 1): data for path, data in files.items()}
    assert {(i.mtime, i.mode, i.uid, i.gid, i.uname, i.gname) for i in infos} == {(0, 0o644, 0, 0, "", "")}


def test_the_signature_is_what_the_model_says(wine: Any) -> None:
    assert wine.signature == Signature(
        inputs=(Tensor(name="features", dtype=DType.FLOAT32, shape=(None, 13)),),
        outputs=(Tensor(name="probabilities", dtype=DType.FLOAT32, shape=(None, 3)),),
        sample={"instances": [[0.0] * 13]},
        told_by="saved_model.pb",
    )


def test_what_lies_outside_the_saved_model_stays_out() -> None:
    files = {"10/x": b"", "saved_model.txt": b"", **{f"1/{p}": d for p, d in saved(assets=["a"]).items()}}
    found, _ = pack({**files, "1/assets/a": b"a", "code/1/b": b"b"}, "1", "wine@12")
    assert list(found) == ["wine/12/saved_model.pb", "wine/12/assets/a", f"wine/12/{WARMUP}"]


def test_a_saved_model_at_the_root_takes_all_with_it() -> None:
    found, _ = pack({**saved(), "keras_metadata.pb": b"v"})
    assert list(found) == ["m/1/saved_model.pb", "m/1/keras_metadata.pb", f"m/1/{WARMUP}"]


def test_files_of_any_name_and_size_come_back() -> None:
    files = {"empty": b"", "größe/模型.bin": b"x" * 70_000, "a" * 250: b"1", "block": bytes(512)}
    found, _ = pack({**saved(), **files})
    assert {path: found[f"m/1/{path}"] for path in files} == files


def test_all_of_it_is_weights() -> None:
    assert SavedModelPackager().concern("m/1/assets/x.py") is Concern.WEIGHTS


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"tags": []}, "no graph with the one tag serve, but none at all: export it with tf.saved_model.save"),
        ({"tags": ["train"]}, "but only 'train': export it"),
        ({"tags": ["serve", "gpu"]}, "but only 'gpu', 'serve': export it"),
        ({"inputs": {}, "outputs": {}}, "has no signature, so no request can reach it: export it"),
        ({"signature": "__saved_model_init_op"}, "has no signature"),
        ({"outputs": {}}, "gives nothing"),
        ({"inputs": {"x": (RESOURCE, ())}}, "'x' of .* is of the type a resource, which no request carries: export"),
        ({"outputs": {"y": (8, ())}}, "'y' of .* is of the type complex64"),
        ({"inputs": {"x": (0, ())}}, "of the type number 0"),
        ({"inputs": {"x": (FLOAT, (-2,))}}, "shape that no tensor has"),
        ({"inputs": {"x": (FLOAT, (1,) * 300)}}, "shape that no tensor has"),
        ({"inputs": {"a\nb": (FLOAT, (1,))}}, "name that cannot be shown"),
        ({"inputs": {f"x{n}": (FLOAT, ()) for n in range(1001)}}, "has 1001 tensors on one side, and 1000 are"),
        ({"variables": True}, "has variables, and no variables/variables.index that says where"),
        ({"assets": ["vocabulary.txt"]}, "needs 'assets/vocabulary.txt', which is missing: copy the whole folder"),
    ],
)
def test_what_tensorflow_serving_would_not_serve_is_told_at_once(changes: dict[str, Any], error: str) -> None:
    with pytest.raises(InvalidInput, match=error) as caught:
        pack(saved(**changes))
    assert str(caught.value).endswith(".")
    assert str(caught.value).isprintable()


def test_sparse_and_ragged_tensors_are_refused() -> None:
    made = model()
    made.meta_graphs[0].signature_def["serving_default"].inputs["x"].coo_sparse.SetInParent()
    with pytest.raises(InvalidInput, match="sparse or ragged, which no request is"):
        pack({"saved_model.pb": made.SerializeToString()})


def test_another_signature_is_named_in_the_request() -> None:
    found, signature = pack(saved(signature="score"))
    assert signature.sample == {"signature_name": "score", "instances": [[0.0] * 3]}
    assert warmed(found[f"m/1/{WARMUP}"]).model_spec.signature_name == "score"


@pytest.mark.parametrize(
    ("inputs", "outputs", "sample"),
    [
        (
            {"a": (FLOAT, (-1, 2)), "b": (INT32, (-1,))},
            {"y": (FLOAT, (-1,))},
            {"instances": [{"a": [0.0, 0.0], "b": 0}]},
        ),
        ({"a": (BOOL, (-1, 1, 2))}, {"y": (FLOAT, (-1,))}, {"instances": [[[False, False]]]}),
        ({"a": (FLOAT, (2,))}, {"y": (FLOAT, ())}, {"inputs": {"a": [0.0, 0.0]}}),
        ({"a": (FLOAT, ())}, {"y": (FLOAT, ())}, {"inputs": {"a": 0.0}}),
        ({"a": (FLOAT, (-1, 2))}, {"y": (FLOAT, (3,))}, {"inputs": {"a": [[0.0, 0.0]]}}),
        ({"a": (FLOAT, (-1, 0))}, {"y": (FLOAT, (-1,))}, {"instances": [[]]}),
        ({"a": (FLOAT, (-1, -1))}, {"y": (FLOAT, (-1,))}, None),
        ({"a": (FLOAT, None)}, {"y": (FLOAT, (-1,))}, None),
        ({"a": (STRING, (-1,))}, {"y": (FLOAT, (-1,))}, None),
        ({"a": (FLOAT, (-1, 10_001))}, {"y": (FLOAT, (-1,))}, None),
        ({}, {"y": (FLOAT, (-1,))}, None),
    ],
)
def test_a_request_is_made_where_the_signature_tells_enough(inputs: Any, outputs: Any, sample: Any) -> None:
    _, signature = pack(saved(inputs=inputs, outputs=outputs))
    assert signature.sample == sample
    assert [tensor.shape for tensor in signature.inputs] == [
        None if shape is None else tuple(None if n == -1 else n for n in shape) for _, shape in inputs.values()
    ]


@pytest.mark.parametrize(
    ("inputs", "made"),
    [
        ({"a": (FLOAT, (-1, 224, 224, 3)), "b": (BOOL, ())}, True),
        ({"a": (STRING, (-1,))}, False),
        ({"a": (FLOAT, (-1, -1))}, False),
        ({"a": (FLOAT, (-1, 1 << 25))}, False),
    ],
)
def test_a_warm_up_of_zeros_is_small_whatever_the_shape(inputs: Any, made: bool) -> None:
    found, _ = pack(saved(inputs=inputs))
    assert (f"m/1/{WARMUP}" in found) == made
    if made:
        request = warmed(found[f"m/1/{WARMUP}"])
        assert (request.model_spec.name, set(request.inputs)) == ("m", set(inputs))
        assert [dim.size for dim in request.inputs["a"].tensor_shape.dim] == [1, 224, 224, 3]
        assert len(found[f"m/1/{WARMUP}"]) < 300


def test_a_warm_up_that_is_there_stays() -> None:
    found, _ = pack({**saved(), WARMUP: b"theirs"})
    assert found[f"m/1/{WARMUP}"] == b"theirs"


@pytest.mark.parametrize("path", ["sample.json", "code/sample.json", "export/sample.json"])
@pytest.mark.parametrize("first", [True, False])
def test_a_sample_beside_the_model_is_what_it_is_warmed_up_with(path: str, first: bool) -> None:
    sample = {"instances": [[1.5, 2, -3], [4, 5, 6]]}
    entries = [("export/saved_model.pb", saved()["saved_model.pb"]), (path, json.dumps(sample).encode())]
    found, signature = pack(dict(entries[::-1] if first else entries), "export")
    assert (signature.sample, signature.told_by) == (sample, f"saved_model.pb and {path}")
    tensor = warmed(found[f"m/1/{WARMUP}"]).inputs["x"]
    assert ([dim.size for dim in tensor.tensor_shape.dim], tensor.dtype) == ([2, 3], FLOAT)
    assert struct.unpack("<6f", tensor.tensor_content) == (1.5, 2, -3, 4, 5, 6)


TWO = {"a": (FLOAT, (-1, 2)), "s": (STRING, (-1,))}


@pytest.mark.parametrize(
    ("sample", "strings"),
    [
        ({"instances": [{"a": [1, 2], "s": "x"}, {"a": [3, 4], "s": {"b64": "AAE="}}]}, [b"x", b"\0\1"]),
        ({"inputs": {"a": [[1, 2]], "s": ["é"]}}, ["é".encode()]),
    ],
)
def test_rows_and_columns_by_name(sample: Any, strings: list[bytes]) -> None:
    found, signature = pack({**saved(inputs=TWO), "sample.json": json.dumps(sample).encode()})
    assert signature.sample == sample
    inputs = warmed(found[f"m/1/{WARMUP}"]).inputs
    assert list(inputs["s"].string_val) == strings
    assert [dim.size for dim in inputs["a"].tensor_shape.dim] == [len(strings), 2]


@pytest.mark.parametrize(
    ("inputs", "sample", "error"),
    [
        (None, [[1, 2, 3]], "no request as TensorFlow Serving takes it: write it as"),
        (None, {"instances": []}, "no request as TensorFlow Serving"),
        (None, {"instances": [[1, 2, 3]], "inputs": {}}, "no request as TensorFlow Serving"),
        (None, {"instances": [[1, 2]]}, r"sample's x is of shape \[1, 2\], and the model takes \[any, 3\]: correct"),
        (None, {"instances": [[1, 2, 3], [1, 2]]}, "rows of different lengths"),
        (None, {"instances": [[1, 2, "3"]]}, "holds '3', which is no float32"),
        (None, {"instances": [[1, 2, True]]}, "holds True, which is no float32"),
        (None, {"instances": [[1, 2, 1e300]]}, "holds a number too large for float32"),
        (None, {"instances": [[1, 2, 10**400]]}, "too large for float32"),
        (None, {"instances": [{"z": [1, 2, 3]}]}, "needs x and nothing else"),
        (None, {"inputs": {"z": [[1, 2, 3]]}}, "not for the model's inputs, which are x"),
        (TWO, {"instances": [[1, 2]]}, "not for the model's inputs, which are a, s"),
        (TWO, {"instances": [{"a": [1, 2], "s": {"b64": "?"}}]}, "no base64"),
        ({"x": (INT32, (-1,))}, {"instances": [1 << 31]}, "which is no int32"),
        ({"x": (INT32, (-1,))}, {"instances": [1.5]}, "which is no int32"),
        ({"x": (BOOL, (-1,))}, {"instances": [1]}, "which is no bool"),
        ({}, {"inputs": {"x": 1}}, "inputs, which are none"),
    ],
)
def test_a_sample_that_does_not_fit_the_model_is_refused(inputs: Any, sample: Any, error: str) -> None:
    files = saved() if inputs is None else saved(inputs=inputs)
    with pytest.raises(InvalidInput, match=error):
        pack({**files, "sample.json": json.dumps(sample).encode()})


def test_names_that_contradict_the_model_are_refused() -> None:
    told = {"inputs": [{"name": "z", "dtype": "float32", "shape": [None, 3]}]}
    with pytest.raises(InvalidInput, match=r"^signature.json tells of inputs z, and saved_model.pb of x: correct"):
        pack({**saved(), "signature.json": json.dumps(told).encode()})


def test_a_name_that_mlflow_did_not_write_down_contradicts_nothing() -> None:
    told = '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}]'
    _, signature = pack({**saved(), "MLmodel": f"signature:\n  inputs: '{told}'\n".encode()})
    assert [tensor.name for tensor in signature.inputs] == ["x"]


def variables(entries: Iterable[tuple[int, int, int]], sizes: Iterable[int], kind: int = 0) -> dict[str, bytes]:
    sizes = list(sizes)
    shards = {f"variables/variables.data-{n:05}-of-{len(sizes):05}": bytes(s) for n, s in enumerate(sizes)}
    return {
        **saved(variables=True),
        "variables/variables.index": index(entries, len(sizes), kind),
        **shards,
    }


@pytest.mark.parametrize("kind", [0, 1])
def test_all_shards_of_the_variables_are_there(kind: int) -> None:
    files = variables([(0, 0, 40), (1, 0, 30), (1, 30, 12), (0, 40, 0)], [40, 42], kind)
    found, _ = pack(files)
    assert set(found) == {f"m/1/{path}" for path in (*files, WARMUP)}


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("shard", [0, 1])
def test_a_missing_shard_is_named(shard: int, kind: int) -> None:
    files = variables([(0, 0, 40), (1, 0, 30)], [40, 30], kind)
    del files[f"variables/variables.data-{shard:05}-of-00002"]
    with pytest.raises(InvalidInput, match=f"variables.data-0000{shard}-of-00002 of the SavedModel is missing, and"):
        pack(files)


def test_a_shard_that_was_cut_short_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"variables\.data-00001-of-00002 of the SavedModel has 29 bytes of 30, and"):
        pack(variables([(0, 0, 40), (1, 10, 20)], [40, 29]))


def test_variables_without_an_index_are_refused() -> None:
    files = variables([(0, 0, 4)], [4])
    del files["variables/variables.index"]
    with pytest.raises(InvalidInput, match=r"no variables/variables\.index that says where they are: copy the whole"):
        pack(files)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x" * 48,
        index([(0, 0, 4)])[:-1],
        index([(0, 0, 4)])[1:],
        index([(1, 0, 4)]),
        index([(-1, 0, 4)]),
        index([(0, -1, 4)]),
        index([], shards=0),
        index([], shards=1 << 30),
        bytes([index([])[0] ^ 1]) + index([])[1:],
    ],
)
def test_a_damaged_index_is_refused(data: bytes) -> None:
    files = variables([(0, 0, 4)], [4])
    with pytest.raises(InvalidInput, match=r"variables\.index is damaged: copy"):
        pack({**files, "variables/variables.index": data})


def test_an_index_of_any_size_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.packagers.savedmodel.packager.INDEX_MAX", 100)
    with pytest.raises(InvalidInput, match="bytes, and 100 are the most"):
        pack(variables([(0, 0, 4)], [4]))


def test_crc32c_is_the_one_of_the_standard() -> None:
    """RFC 3720, appendix B.4."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"") == 0


@pytest.fixture(scope="module")
def exported() -> dict[str, bytes]:
    """What TensorFlow wrote."""
    with tarfile.open(EXAMPLES / "wine/jobs/wine-2026-11-10/model.tar.gz") as source:
        return {m.name: source.extractfile(m).read() for m in source.getmembers() if m.isreg()}  # type: ignore[union-attr]


@given(data=st.data())
@settings(max_examples=400)
@pytest.mark.parametrize("path", ["1/saved_model.pb", "1/variables/variables.index"])
def test_a_mutated_model_is_packed_or_refused_in_plain_words(
    path: str, exported: dict[str, bytes], data: st.DataObject
) -> None:
    raw = bytearray(exported[path])
    near = 600 if data.draw(st.booleans()) else len(raw)  # the beginning has the tags, the end has the signatures
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, near))
        at = at if data.draw(st.booleans()) else max(0, len(raw) - at)
        raw[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    try:
        pack({**exported, path: bytes(raw)}, "1")
    except SluiceError as error:
        assert str(error).endswith(".")  # noqa: PT017  # either is right
        assert str(error).isprintable()  # noqa: PT017


def test_a_graph_of_any_size_passes_in_constant_memory(make_request: Callable[..., PackRequest]) -> None:
    """Constants lie in the graph, so saved_model.pb itself can be up to 2 GiB."""
    small, graph = saved()["saved_model.pb"], 300 * MIB
    big = small[:1] + varint(len(small) - 2 + 1 + len(varint(graph)) + graph) + b"\x12" + varint(graph)
    size = len(big) + graph + len(small) - 2

    def chunks() -> Iterator[bytes]:
        yield big
        piece = b"\xff" * MIB
        for _ in range(graph // MIB):
            yield piece
        yield small[2:]

    assert small[0] == 0x12  # meta_graphs
    assert small[1] < 0x80  # in a length of one byte
    packed = Packed()
    with traced() as peak:
        member = Member("saved_model.pb", size, chunks())
        passed = sum(map(len, SavedModelPackager().pack([member], make_request(), packed)))
    assert passed > graph
    assert packed.signature is not None
    assert packed.signature.inputs[0].name == "x"
    assert peak.size < 16 * MIB


@pytest.fixture
def make_request() -> Callable[..., PackRequest]:
    def make() -> PackRequest:
        scan = Scan(source=NOBODY, size=1, format=Format.SAVED_MODEL, root="", files=())
        return PackRequest(ref=VersionRef.parse("m@1"), scan=scan, created_at=datetime(2026, 11, 20, tzinfo=UTC))

    return make
