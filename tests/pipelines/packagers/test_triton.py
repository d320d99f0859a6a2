"""Model repositories for Triton: written from ONNX and TorchScript, passed through, and checked as Triton would."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops.release import Runtime
from pipelines.archive import Member
from pipelines.packagers import Packed, PackRequest, packager_for, packager_of
from pipelines.packagers.base import Concern
from pipelines.packagers.protos.define import define
from pipelines.packagers.protos.model_config import model_config
from pipelines.packagers.triton import TritonPackager
from registry.errors import InvalidInput, Refused, SluiceError
from registry.facts import Artifact, DType, FileFact, Format, Scan, Signature, Tensor
from registry.names import VersionRef

MIB = 1 << 20
NOBODY = "sha256:" + "0" * 64
FLOAT, INT64 = 1, 7
ONNX = define(
    "onnx",
    """
    message ModelProto
      1 ir_version int64
      7 graph GraphProto
      8 opset_import OperatorSetIdProto*
    message OperatorSetIdProto
      2 version int64
    message GraphProto
      1 node NodeProto*
      2 name string
      5 initializer TensorProto*
      11 input ValueInfoProto*
      12 output ValueInfoProto*
    message NodeProto
      1 input string*
      2 output string*
      4 op_type string
    message TensorProto
      1 dims int64*
      2 data_type int32
      8 name string
      9 raw_data bytes
      13 external_data Entry*
    message Entry
      1 key string
      2 value string
    message ValueInfoProto
      1 name string
      2 type TypeProto
    message TypeProto
      1 tensor_type Tensor in value
      4 sequence_type Other in value
    message Other
    message TypeProto.Tensor
      1 elem_type int32
      2 shape Shape
    message Shape
      1 dim Dimension*
    message Shape.Dimension
      1 dim_value int64 in value
      2 dim_param string in value
    """,
)
"""More of it than the packager reads."""
Axes = tuple[int | str | None, ...] | None


def request_for(form: Format, files: Mapping[str, int], root: str, ref: str) -> PackRequest:
    facts = tuple(FileFact(path=path, size=size, sha256=NOBODY) for path, size in files.items())
    scan = Scan(source=NOBODY, size=1, format=form, root=root, files=facts)
    return PackRequest(ref=VersionRef.parse(ref), scan=scan, created_at=datetime(2026, 11, 20, tzinfo=UTC))


def pack(
    files: Mapping[str, bytes | str], root: str = "", form: Format = Format.TRITON, ref: str = "fraud@1"
) -> tuple[dict[str, bytes], Signature]:
    """What a training output becomes: the files of the repository, and the signature."""
    raw = {path: data.encode() if isinstance(data, str) else data for path, data in files.items()}
    request, packed = request_for(form, {path: len(data) for path, data in raw.items()}, root, ref), Packed()
    members = (Member(path, len(data), iter((data,))) for path, data in raw.items())
    data = b"".join(TritonPackager().pack(members, request, packed))
    artifact = Artifact(type="triton", source=NOBODY, blob=NOBODY, size=len(data), files=tuple(packed.files))
    found = {m.path: b"".join(m.chunks) for m in packager_of(artifact).unpack(io.BytesIO(data), artifact)}
    assert packed.signature is not None
    return found, packed.signature


def config(data: bytes) -> Any:
    return text_format.Parse(data.decode(), model_config()["ModelConfig"]())


def onnx(
    inputs: Mapping[str, tuple[int, Axes]] = {"x": (FLOAT, ("N", 3))},
    outputs: Mapping[str, tuple[int, Axes]] = {"y": (FLOAT, ("N", 3))},
    external: str = "",
) -> bytes:
    """An ONNX file that adds a weight `w` to the first input, if that is floats."""
    model = ONNX["ModelProto"](ir_version=8)
    model.opset_import.add(version=13)
    model.graph.name = "g"
    model.graph.node.add(input=[next(iter(inputs), "x"), "w"], output=[next(iter(outputs), "y")], op_type="Add")
    weight = model.graph.initializer.add(dims=[3], data_type=FLOAT, name="w", raw_data=bytes(12))
    if external:
        weight.external_data.add(key="location", value=external)
        weight.external_data.add(key="offset", value="0")
    for side, tensors in (
        (model.graph.input, {**inputs, "w": (FLOAT, (3,))}),
        (model.graph.output, outputs),
    ):
        for name, (dtype, axes) in tensors.items():
            kind = side.add(name=name).type.tensor_type
            kind.elem_type = dtype
            if axes is None:
                continue
            kind.shape.SetInParent()
            for axis in axes:
                dim = kind.shape.dim.add()
                if axis is not None:
                    setattr(dim, "dim_param" if isinstance(axis, str) else "dim_value", axis)
    return bytes(model.SerializeToString())


PYTHON = """
backend: "python"
max_batch_size: 4
input [ { name: "X", data_type: TYPE_FP32, dims: [ 2 ] } ]
output [ { name: "Y", data_type: TYPE_FP32, dims: [ 2 ] } ]
"""
ENSEMBLE = """
platform: "ensemble"
max_batch_size: 4
input { name: "A" data_type: TYPE_FP32 dims: 2 }
output { name: "B" data_type: TYPE_FP32 dims: 2 }
ensemble_scheduling {
  step { model_name: "first" model_version: -1 input_map { key: "X" value: "A" } output_map { key: "Y" value: "M" } }
  step { model_name: "second" model_version: -1 input_map { key: "X" value: "M" } output_map { key: "Y" value: "B" } }
}
"""
STEPS = {
    "first/config.pbtxt": PYTHON,
    "first/1/model.py": "first",
    "second/config.pbtxt": PYTHON,
    "second/1/model.py": "second",
}


# --- ONNX ---------------------------------------------------------------------------------------------------------


def test_an_onnx_file_gets_a_config_from_its_graph() -> None:
    found, signature = pack({"export/net.onnx": onnx()}, "export/net.onnx", Format.ONNX)
    assert list(found) == ["fraud/1/model.onnx", "fraud/config.pbtxt"]
    assert found["fraud/1/model.onnx"] == onnx()
    assert found["fraud/config.pbtxt"].decode() == (
        'max_batch_size: 8\ninput {\n  name: "x"\n  data_type: TYPE_FP32\n  dims: 3\n}\noutput {\n  name: "y"\n'
        '  data_type: TYPE_FP32\n  dims: 3\n}\ndynamic_batching {\n}\nbackend: "onnxruntime"\n'
    )
    assert signature == Signature(
        inputs=(Tensor(name="x", dtype=DType.FLOAT32, shape=(None, 3)),),
        outputs=(Tensor(name="y", dtype=DType.FLOAT32, shape=(None, 3)),),
        sample={"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [0.0, 0.0, 0.0]}]},
        told_by="config.pbtxt",
    )


@pytest.mark.parametrize(
    ("inputs", "outputs", "batched"),
    [
        ({"x": (FLOAT, ("batch", 3))}, {"y": (FLOAT, ("Adddim_0", 2))}, True),
        ({"x": (FLOAT, (None, 3))}, {"y": (FLOAT, (None,))}, True),
        ({"a": (FLOAT, ("b", 3)), "b": (INT64, ("b", "s"))}, {"y": (FLOAT, ("b", 2))}, True),
        ({"a": (FLOAT, ("b", 3)), "b": (INT64, ("s", 2))}, {"y": (FLOAT, ("b", 2))}, False),
        ({"x": (FLOAT, ("sequence", 3))}, {"y": (FLOAT, ("sequence", 2))}, False),
        ({"x": (FLOAT, (1, 3))}, {"y": (FLOAT, (1, 2))}, False),
        ({"x": (FLOAT, ("N", 3))}, {"y": (FLOAT, (2,))}, False),
        ({"x": (INT64, ("N",))}, {"y": (FLOAT, ("N",))}, False),
        ({"x": (FLOAT, ())}, {"y": (FLOAT, ())}, False),
    ],
)
def test_requests_are_joined_only_along_what_is_plainly_a_batch(inputs: Any, outputs: Any, batched: bool) -> None:
    found, signature = pack({"m.onnx": onnx(inputs, outputs)}, "m.onnx", Format.ONNX)
    written = config(found["fraud/config.pbtxt"])
    assert (written.max_batch_size, written.HasField("dynamic_batching")) == ((8, True) if batched else (0, False))
    for told, axes in zip((*written.input, *written.output), (*inputs.values(), *outputs.values()), strict=True):
        rest = [axis if isinstance(axis, int) else -1 for axis in axes[1]][batched:]
        assert list(told.dims) == (rest or [1])
        assert told.HasField("reshape") == (not rest)
    assert len(signature.inputs) == len(inputs)  # and none for the weight, which older files list as an input


@pytest.mark.parametrize("before", [True, False])
def test_weights_beside_an_onnx_file_come_along(before: bool) -> None:
    entries = [("a/m.onnx", onnx(external="m.onnx.data")), ("a/m.onnx.data", b"weights")]
    other = {"a/train.py": b"", "a/sample.json": b'{"inputs": [[1, 2, 3]]}', "b/w.bin": b"", "a/b/w.bin": b""}
    found, _ = pack({**dict(entries[::-1] if before else entries), **other}, "a/m.onnx", Format.ONNX)
    assert set(found) == {"fraud/1/model.onnx", "fraud/1/m.onnx.data", "fraud/config.pbtxt"}


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "no ONNX model"),
        (b"\xff" * 100, "m.* is damaged, or is no ModelProto"),
        (onnx()[:-1], "cut short"),
        (b"\x08\x08" + b"\x3a\x00", "no ONNX model"),
        (onnx(outputs={}), "has no output"),
        (onnx({"x": (16, ("N", 3))}), "'x' of .* has elements of type 16"),
        (onnx({"x": (FLOAT, None)}), "x has no shape, and Triton needs to know its rank"),
        (onnx({"a\nb": (FLOAT, (1,))}), "name that cannot be shown"),
        (onnx(external="w.bin"), "keeps weights in 'w.bin', which is not beside it: put it"),
        (onnx(external="../w.bin"), "keeps weights outside its folder"),
        (onnx(external="/w.bin"), "keeps weights outside its folder"),
    ],
)
def test_an_onnx_file_that_triton_would_not_load_is_refused(data: bytes, error: str) -> None:
    with pytest.raises(InvalidInput, match=error) as caught:
        pack({"m.onnx": data}, "m.onnx", Format.ONNX)
    assert str(caught.value).isprintable()


def test_a_classifier_from_scikit_learn_is_told_about_zipmap() -> None:
    model = ONNX["ModelProto"].FromString(onnx())
    model.graph.output.add(name="output_probability").type.sequence_type.SetInParent()
    with pytest.raises(InvalidInput, match=r"'output_probability' of .* is sequence, .*'zipmap': False"):
        pack({"m.onnx": model.SerializeToString()}, "m.onnx", Format.ONNX)


def test_a_config_beside_an_onnx_file_wins() -> None:
    told = 'name: "other"\nbackend: "onnxruntime"\ninstance_group [{ count: 2 }]'
    found, signature = pack({"m.onnx": onnx(), "config.pbtxt": told}, "m.onnx", Format.ONNX)
    written = config(found["fraud/config.pbtxt"])
    assert (written.name, written.instance_group[0].count) == ("", 2)
    assert [tensor.name for tensor in signature.inputs] == ["x"]  # from the model, as Triton completes it


def test_a_config_that_names_what_is_not_in_the_onnx_model_is_refused() -> None:
    config = 'backend: "onnxruntime" input { name: "z" data_type: TYPE_FP32 dims: [ -1, 3 ] }'
    with pytest.raises(InvalidInput, match=r"fraud/config\.pbtxt has the input 'z', which is not in its ONNX model"):
        pack({"m.onnx": onnx(), "config.pbtxt": config}, "m.onnx", Format.ONNX)


def test_weights_pass_in_constant_memory() -> None:
    model = ONNX["ModelProto"].FromString(onnx())
    bulk = 300 * MIB
    head = bytes(ONNX["TensorProto"](dims=[1], data_type=FLOAT, name="big").SerializeToString())
    tensor = head + b"\x4a" + varint(bulk)
    graph = b"\x2a" + varint(len(tensor) + bulk) + tensor
    tail = bytes(model.graph.SerializeToString())
    start = b"\x08\x08\x42\x02\x10\x0d" + b"\x3a" + varint(len(graph) + bulk + len(tail)) + graph

    def chunks() -> Iterator[bytes]:
        yield start
        piece = b"\xff" * MIB
        for _ in range(bulk // MIB):
            yield piece
        yield tail

    packed, size = Packed(), len(start) + bulk + len(tail)
    request = request_for(Format.ONNX, {"m.onnx": size}, "m.onnx", "fraud@1")
    tracemalloc.start()
    try:
        passed = sum(map(len, TritonPackager().pack([Member("m.onnx", size, chunks())], request, packed)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert passed > bulk
    assert packed.signature is not None
    assert packed.signature.inputs[0].name == "x"
    assert peak < 16 * MIB


# --- TorchScript --------------------------------------------------------------------------------------------------

TENSORS = {
    "inputs": [
        {"name": "image", "dtype": "float32", "shape": [-1, 8]},
        {"name": "n", "dtype": "int64", "shape": [-1, 1]},
    ],
    "outputs": [{"name": "score", "dtype": "float32", "shape": [-1]}],
}


def test_a_torchscript_file_gets_a_config_from_its_signature() -> None:
    files = {"model.pt": "zip", "signature.json": json.dumps(TENSORS), "code/inference.py": ""}
    found, signature = pack(files, "model.pt", Format.TORCHSCRIPT)
    assert list(found) == ["fraud/1/model.pt", "fraud/config.pbtxt"]
    written = config(found["fraud/config.pbtxt"])
    assert (written.backend, written.max_batch_size) == ("pytorch", 8)
    assert [(t.name, list(t.dims)) for t in written.input] == [("INPUT__0", [8]), ("INPUT__1", [1])]
    assert [(t.name, list(t.dims), list(t.reshape.shape)) for t in written.output] == [("OUTPUT__0", [1], [])]
    assert [tensor.name for tensor in signature.inputs] == ["INPUT__0", "INPUT__1"]
    assert signature.sample == {
        "inputs": [
            {"name": "INPUT__0", "shape": [1, 8], "datatype": "FP32", "data": [0.0] * 8},
            {"name": "INPUT__1", "shape": [1, 1], "datatype": "INT64", "data": [0]},
        ]
    }


def test_names_by_position_stay_as_they_are() -> None:
    told = json.dumps(TENSORS).replace('"image"', '"image__0"').replace('"n"', '"n__1"')
    found, _ = pack({"model.pt": "zip", "signature.json": told}, "model.pt", Format.TORCHSCRIPT)
    assert [t.name for t in config(found["fraud/config.pbtxt"]).input] == ["image__0", "n__1"]


def test_a_config_beside_a_torchscript_file_is_enough() -> None:
    told = (
        'backend: "pytorch" input { name: "INPUT__0" data_type: TYPE_FP32 dims: [1, 4] }'
        ' output { name: "OUTPUT__0" data_type: TYPE_FP32 dims: 1 }'
    )
    found, signature = pack({"a/model.pt": "zip", "a/config.pbtxt": told}, "a/model.pt", Format.TORCHSCRIPT)
    assert found["fraud/config.pbtxt"].decode() == told
    assert signature.inputs == (Tensor(name="INPUT__0", dtype=DType.FLOAT32, shape=(1, 4)),)


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ({}, "does not tell what it takes and gives, and Triton needs to know: put a signature.json"),
        ({"signature.json": '{"inputs": [{"name": "x", "dtype": "int8", "shape": [1]}]}'}, "put a signature.json"),
        ({"signature.json": json.dumps(TENSORS).replace("int64", "uint16")}, "has n as uint16, which Triton does not"),
        ({"config.pbtxt": 'backend: "pytorch"'}, "names no input, which its backend cannot find out by itself"),
    ],
)
def test_a_torchscript_file_that_nobody_tells_about_is_refused(files: dict[str, str], error: str) -> None:
    with pytest.raises(InvalidInput, match=error):
        pack({"model.pt": "zip", **files}, "model.pt", Format.TORCHSCRIPT)


# --- Repositories -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("root", ["", "export", "a/densenet"])
def test_one_models_folder_gets_the_models_name(root: str) -> None:
    files = {"config.pbtxt": PYTHON, "1/model.py": "code", "3/model.py": "newer", "labels.txt": "", "1/w/x.bin": "w"}
    to = root + "/" if root else ""
    found, signature = pack({to + path: data for path, data in files.items()} | {"other/1/model.py": ""}, root)
    if not root:
        files["other/1/model.py"] = ""
    assert {path: data.decode() for path, data in found.items()} == {f"fraud/{p}": d for p, d in files.items()}
    assert signature.inputs == (Tensor(name="X", dtype=DType.FLOAT32, shape=(None, 2)),)


def test_a_repository_of_one_model_gets_the_models_name() -> None:
    told = 'name: "densenet"\n# a comment\n' + PYTHON
    found, _ = pack({"repo/densenet/config.pbtxt": told, "repo/densenet/1/model.py": "", "repo/README.md": ""}, "repo")
    assert list(found) == ["fraud/config.pbtxt", "fraud/1/model.py"]
    assert config(found["fraud/config.pbtxt"]) == config(PYTHON.encode())


def test_a_config_with_nothing_to_change_keeps_its_bytes() -> None:
    told = 'name: "fraud"  # a comment\n' + PYTHON
    found, _ = pack({"x/config.pbtxt": told, "x/1/model.py": ""})
    assert found["fraud/config.pbtxt"].decode() == told


@pytest.mark.parametrize("placeholder", [{}, {"pipe/1/.gitkeep": ""}, {"pipe/1/README": ""}])
@pytest.mark.parametrize("order", [1, -1])
def test_an_ensemble_gets_the_models_name_and_its_steps_keep_theirs(placeholder: dict[str, str], order: int) -> None:
    files = {**STEPS, "pipe/config.pbtxt": ENSEMBLE, **placeholder, "tools/x.py": "", "LICENSE": ""}
    found, signature = pack(dict(list(files.items())[::order]))
    wanted = {
        path.replace("pipe/", "fraud/"): data for path, data in files.items() if path[:5] not in ("tools", "LICEN")
    }
    extra = {} if placeholder else {"fraud/1/ensemble.txt": found["fraud/1/ensemble.txt"].decode()}
    assert {path: data.decode() for path, data in found.items()} == {**wanted, **extra}
    assert [(t.name, t.shape) for t in (*signature.inputs, *signature.outputs)] == [("A", (None, 2)), ("B", (None, 2))]


def test_a_folder_that_has_the_name_already_is_the_one_to_serve() -> None:
    files = {**STEPS, "fraud/config.pbtxt": PYTHON, "fraud/1/model.py": "calls first and second"}
    found, _ = pack(files)
    assert set(found) == set(files)


@pytest.mark.parametrize(
    ("files", "error"),
    [
        (STEPS, "holds first, second, and it is not plain which of them is to be served: name that one's folder fraud"),
        ({**STEPS, "a/config.pbtxt": ENSEMBLE, "b/config.pbtxt": ENSEMBLE}, "holds a, b, first, second, and it is not"),
        ({"x/y": ""}, "holds no model, and"),
        (
            {
                **STEPS,
                "fraud/1/model.py": "",
                "fraud/config.pbtxt": PYTHON,
                "e/config.pbtxt": ENSEMBLE.replace('"first"', '"fraud"'),
            },
            "fraud is a step of the ensemble e, which is the one to be served: call the ensemble's folder fraud",
        ),
        ({**STEPS, "first/config.pbtxt": 'name: "a"' + PYTHON, "e/config.pbtxt": ENSEMBLE}, "names the model 'a', and"),
    ],
)
def test_which_model_is_served_must_be_plain(files: dict[str, str], error: str) -> None:
    with pytest.raises(InvalidInput, match=error):
        pack(files)


def test_a_model_without_a_config_gets_one_where_its_file_tells_enough() -> None:
    told = ENSEMBLE.replace('"X" value: "M"', '"x" value: "M"').replace('"Y" value: "B"', '"y" value: "B"')
    told = told.replace("dims: 2", "dims: 3").replace("max_batch_size: 4", "max_batch_size: 8")
    python = PYTHON.replace("[ 2 ]", "[ 3 ]").replace("max_batch_size: 4", "max_batch_size: 8")
    files = {
        "e/config.pbtxt": told,
        "first/config.pbtxt": python,
        "first/1/model.py": "x",
        "second/2/model.onnx": onnx(),
    }
    found, _ = pack(files)
    assert config(found["second/config.pbtxt"]).backend == "onnxruntime"


@pytest.mark.parametrize("file", ["model.py", "model.plan", "model.xml"])
def test_a_model_that_triton_asks_itself_needs_no_config(file: str) -> None:
    found, signature = pack({f"m/1/{file}": "x", "m/config.pbtxt": "max_batch_size: 2", "sample.json": "[1]"}, "m")
    assert found["fraud/config.pbtxt"] == b"max_batch_size: 2"
    assert (signature.inputs, signature.sample) == ((), [1])
    found, _ = pack({f"m/1/{file}": "x"}, "m")
    assert list(found) == [f"fraud/1/{file}"]


def told(config: str, *files: str) -> dict[str, str]:
    return {"config.pbtxt": config, **dict.fromkeys(files or ("1/model.py",), "x")}


@pytest.mark.parametrize(
    ("files", "error"),
    [
        (told("nonsense: 1"), r'^fraud/config.pbtxt, line 1 is not .*no field named "nonsense"\): correct it'),
        (told(PYTHON + "\nmax_batch_sise: 1"), r"line 7 is not a model configuration"),
        (told(PYTHON + "\nversion_policy { latest {} all {} }"), "another member of oneof"),
        (told(PYTHON.replace("TYPE_FP32", "FP32")), 'line 4 .*no value named "?FP32'),
        (told(PYTHON.replace("TYPE_FP32", "9" * 30)), "is not a model configuration that Triton knows"),
        (told(PYTHON.replace("[ 2 ]", f"[ {1 << 63} ]")), "line 4 is not a model configuration that Triton knows"),
        (told("max_batch_size: 0x"), "line 1 is not a model configuration that Triton knows"),
        (told(PYTHON.replace("[ 2 ]", "[ 0 ]")), "the input 'X' whose dims are not each 1 or more, or -1"),
        (told(PYTHON.replace(", dims: [ 2 ]", "")), "the input 'X' whose dims are not"),
        (told(PYTHON.replace("dims: [ 2 ]", "dims: 2, reshape { shape: 0 }")), "'X' whose reshape is not"),
        (told(PYTHON.replace(", data_type: TYPE_FP32", "")), "the input 'X' without a data_type"),
        (told(PYTHON.replace("max_batch_size: 4", "max_batch_size: -1")), "sets max_batch_size to -1: set it"),
        (
            told(PYTHON + "dynamic_batching { preferred_batch_size: [2, 8] }"),
            "prefers batches of 8, and max_batch_size",
        ),
        (told(PYTHON + PYTHON.split("\n")[3]), "has the input 'X', and each needs a name of its own"),
        (told(PYTHON.replace("dims: [ 2 ] } ]\noutput", "dims: [ 2 ] }, {} ]\noutput")), "the input '', and each"),
        (told('backend: "tensorflov"'), "names backend or platform 'tensorflov', and Triton needs one that it has"),
        (told("max_batch_size: 1", "1/weights.bin"), "names no backend, and Triton needs one"),
        (told('backend: "python"', "1/model.onnx"), "fraud/1 has no model.py, which the backend python looks for"),
        (told('platform: "onnxruntime_onnx"', "1/net.onnx"), "fraud/1 has no model.onnx, which the backend onnxrun"),
        (told('backend: "python"', "1/model.py", "2/x"), "fraud/2 has no model.py"),
        (told('backend: "python"', "v1/model.py"), "fraud has no version folder: put the model's files into fraud/1/"),
        (told('backend: "python"', "01/model.py"), "fraud has no version folder"),
        (told('backend: "pytorch"', "1/model.pt"), "names no input, which its backend cannot find out"),
        ({"m/1/model.pt": "x"}, "does not tell what it takes and gives"),
        (told(PYTHON.replace("dims: [ 2 ] } ]\n\n", "")[:-4] + ', label_filename: "l.txt" } ]'), "labels from 'l.txt'"),
    ],
)
def test_a_config_that_triton_would_not_take_is_refused(files: dict[str, str], error: str) -> None:
    with pytest.raises(InvalidInput, match=error) as caught:
        pack(files)
    assert str(caught.value).endswith(".")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "files",
    [
        told('backend: "tensorflow"', "1/model.savedmodel/saved_model.pb"),
        told('platform: "tensorflow_savedmodel"', "1/model.savedmodel/saved_model.pb"),
        told("max_batch_size: 1", "1/model.savedmodel/saved_model.pb"),
        told("max_batch_size: 1", "1/model.graphdef"),
        {"m/1/model.savedmodel/saved_model.pb": "x"},
    ],
)
def test_tensorflow_is_refused_with_the_reason(files: dict[str, str]) -> None:
    with pytest.raises(
        Refused, match=r"^Triton cannot serve fraud: its TensorFlow backend was removed after release 25.02"
    ):
        pack(files)


@pytest.mark.parametrize(
    "files",
    [
        told('backend: "python" default_model_filename: "serve.py"', "1/serve.py"),
        told('backend: "onnxruntime" default_model_filename: "net.onnx"', "1/net.onnx"),
        told('backend: "onnxruntime"', "1/model.onnx/model.onnx"),
        told('backend: "tensorrt" cc_model_filenames { key: "8.0" value: "a.plan" }', "1/a.plan"),
        told('backend: "pytorch" runtime: "model.py"', "1/model.py"),
        told('backend: "fil"', "1/xgboost.json"),
        told('backend: "mine"', "1/m.bin", "libtriton_mine.so"),
        told('backend: "vllm"', "1/model.json"),
    ],
)
def test_files_of_other_names_and_other_backends_pass(files: dict[str, str]) -> None:
    if "1/net.onnx" in files or "1/model.onnx/model.onnx" in files:
        files = {path: onnx() if path.endswith(".onnx") else data for path, data in files.items()}  # type: ignore[misc]
    found, _ = pack(files)
    assert set(found) == {f"fraud/{path}" for path in files}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (('"first"', '"third"'), "has a step 'third', and there is no such model: add its folder"),
        (("model_version: -1", "model_version: 2"), "wants version 2 of first, which is missing"),
        (('input_map { key: "X" value: "A" }', ""), "step first without input_map or output_map"),
        (('key: "X" value: "A"', 'key: "Z" value: "A"'), "maps the input 'Z' of first, which has none such"),
        (('key: "Y" value: "M"', 'key: "Z" value: "M"'), "maps the output 'Z' of first, which has none such"),
        (('value: "A"', 'value: "Q"'), "needs the tensor 'M', which no step makes in time|needs the tensor 'B'"),
        (('key: "Y" value: "M"', 'key: "Y" value: "B"'), "needs the tensor 'M', which no step makes in time"),
        (('key: "Y" value: "M"', 'key: "Y" value: "A"'), "makes the tensor 'A' twice"),
        (('"A" data_type: TYPE_FP32 dims: 2', '"A" data_type: TYPE_FP32 dims: 3'), "has 'A' with another"),
        (("max_batch_size: 4", "max_batch_size: 5"), "allows batches of 5, and its step first only of 4"),
        (
            ('"A" data_type: TYPE_FP32', '"A" data_type: TYPE_INT8'),
            "has 'A' with another data_type or other dims than 'X' of",
        ),
        ((ENSEMBLE[ENSEMBLE.index("ensemble_sch") :], ""), "is an ensemble without steps"),
        (('output { name: "B" data_type: TYPE_FP32 dims: 2 }', ""), "names no output, which its backend cannot"),
        (('output { name: "B"', 'output { name: "C" data_type: TYPE_FP32 dims: 1 } output { name: "B"'), "tensor 'C'"),
    ],
)
def test_an_ensemble_whose_steps_do_not_fit_is_refused(change: tuple[str, str], error: str) -> None:
    assert change[0] in ENSEMBLE
    with pytest.raises(InvalidInput, match=error) as caught:
        pack({**STEPS, "fraud/config.pbtxt": ENSEMBLE.replace(*change, 1)})
    assert str(caught.value).isprintable()


def test_an_input_that_a_step_needs_must_be_mapped_unless_it_is_optional() -> None:
    more = PYTHON.replace("input [", 'input [ { name: "Z", data_type: TYPE_FP32, dims: [ 2 ] },')
    with pytest.raises(InvalidInput, match="does not map the input 'Z' of first: add it to input_map"):
        pack({**STEPS, "e/config.pbtxt": ENSEMBLE, "first/config.pbtxt": more})
    pack({**STEPS, "e/config.pbtxt": ENSEMBLE, "first/config.pbtxt": more.replace('"Z",', '"Z", optional: true,')})


def test_ensembles_that_are_steps_of_each_other_are_refused() -> None:
    files = {
        "fraud/config.pbtxt": ENSEMBLE.replace('"second"', '"pipe"'),
        "pipe/config.pbtxt": ENSEMBLE.replace('"second"', '"fraud"'),
    }
    with pytest.raises(InvalidInput, match="The ensembles fraud, pipe are steps of each other: undo the circle"):
        pack({**STEPS, **files})


# --- Samples ------------------------------------------------------------------------------------------------------

V2 = {"inputs": [{"name": "X", "shape": [1, 2], "datatype": "FP32", "data": [1, 2.5]}]}


@pytest.mark.parametrize(
    ("given", "sample"),
    [
        (V2, V2),
        ({"inputs": [{**V2["inputs"][0], "data": [[1, 2.5]]}]}, ...),
        ({"instances": [[1, 2.5]]}, V2),
        ({"inputs": {"X": [[1, 2.5]]}}, V2),
        ({"inputs": [[1, 2.5]]}, V2),
    ],
)
def test_a_sample_that_came_with_the_model_is_the_sample(given: Any, sample: Any) -> None:
    _, signature = pack({**told(PYTHON), "sample.json": json.dumps(given)})
    assert signature.sample == (given if sample is ... else sample)
    assert signature.told_by == "config.pbtxt and sample.json"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"name": "Q"}, "has the input 'Q', which the model has not"),
        ({"datatype": "FP64"}, "sample's X needs the datatype FP32"),
        ({"shape": [1, 3]}, r"sample's X needs a shape that fits \[any, 2\]"),
        ({"shape": [True, 2]}, "needs a shape that fits"),
        ({"shape": None}, "needs a shape that fits"),
        ({"shape": [2, 2]}, "needs 4 values in data, as its shape says"),
        ({"data": ["a", "b"]}, "holds 'a', which is no float32"),
    ],
)
def test_a_sample_that_does_not_fit_is_refused(changes: dict[str, Any], error: str) -> None:
    sample = {"inputs": [{**V2["inputs"][0], **changes}]}
    with pytest.raises(InvalidInput, match=error):
        pack({**told(PYTHON), "sample.json": json.dumps(sample)})


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (("TYPE_FP32, dims: [ 2 ] } ]\noutput", "TYPE_FP16, dims: [ 2 ] } ]\noutput"), None),
        (("TYPE_FP32, dims: [ 2 ] } ]\noutput", "TYPE_STRING, dims: [ 2 ] } ]\noutput"), None),
        (("dims: [ 2 ] } ]\noutput", "dims: [ -1 ] } ]\noutput"), None),
        (("max_batch_size: 4", "model_transaction_policy { decoupled: true }"), None),
        (("max_batch_size: 4", "max_batch_size: 4 sequence_batching {}"), None),
        (("input [ ", 'input [ { name: "O", data_type: TYPE_STRING, dims: 1, optional: true }, '), ["X"]),
    ],
)
def test_a_request_is_made_only_where_zeros_would_do(change: tuple[str, str], names: list[str] | None) -> None:
    assert change[0] in PYTHON
    _, signature = pack(told(PYTHON.replace(*change, 1)))
    sample: Any = signature.sample
    assert (sample and [one["name"] for one in sample["inputs"]]) == names


def test_names_that_contradict_the_config_are_refused() -> None:
    other = '{"inputs": [{"name": "Q", "dtype": "float32", "shape": [1]}]}'
    with pytest.raises(InvalidInput, match=r"signature.json tells of inputs Q, and fraud/config.pbtxt of X"):
        pack({**told(PYTHON), "signature.json": other})


# --- As a packager ------------------------------------------------------------------------------------------------


def test_python_and_configs_are_code_and_the_rest_is_weights() -> None:
    paths = ("fraud/config.pbtxt", "fraud/1/model.py", "fraud/1/model.onnx", "fraud/labels.txt")
    concerns = [TritonPackager().concern(path) for path in paths]
    assert concerns == [Concern.CODE, Concern.CODE, Concern.WEIGHTS, Concern.WEIGHTS]


@pytest.mark.parametrize("form", [Format.ONNX, Format.TRITON])
def test_triton_is_what_serves_onnx_and_repositories(form: Format) -> None:
    scan = request_for(form, {}, "", "m@1").scan
    assert packager_for(scan).runtime is packager_for(scan, Runtime.TRITON).runtime is Runtime.TRITON
    with pytest.raises(InvalidInput, match=r"set runtime: triton in model\.yaml"):
        packager_for(scan, Runtime.TORCHSERVE)


def test_triton_serves_torchscript_where_it_is_asked_to() -> None:
    scan = request_for(Format.TORCHSCRIPT, {}, "model.pt", "m@1").scan
    assert packager_for(scan).runtime is Runtime.TORCHSERVE
    assert packager_for(scan, Runtime.TRITON).runtime is Runtime.TRITON


def test_a_saved_model_for_triton_is_refused_with_the_reason() -> None:
    with pytest.raises(Refused, match=r"TensorFlow backend was removed after release 25\.02"):
        packager_for(request_for(Format.SAVED_MODEL, {}, "", "m@1").scan, Runtime.TRITON)


def test_configs_of_any_size_are_not_held() -> None:
    with pytest.raises(InvalidInput, match="have more than 1048576 bytes: shorten them"):
        pack(told("#" * (1 << 20) + "\n"))


def test_any_number_of_onnx_files_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.packagers.triton.repository._ONNX_MAX", 1)
    with pytest.raises(InvalidInput, match="more than 1 ONNX files: pack fewer"):
        pack({"config.pbtxt": "", "1/model.onnx": onnx(), "2/model.onnx": onnx()})


@given(data=st.data())
@settings(max_examples=300)
def test_a_mutated_config_is_packed_or_refused_in_plain_words(data: st.DataObject) -> None:
    files = {path: text.encode() for path, text in {**STEPS, "fraud/config.pbtxt": ENSEMBLE}.items()}
    path = data.draw(st.sampled_from(["fraud/config.pbtxt", "first/config.pbtxt"]))
    raw = bytearray(files[path])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        word = st.sampled_from([b"{", b"}", b'"', b"\\xff", b"name:", b"-1", b"9" * 30, b"[", b"\0", b"inf", b"'"])
        raw[at : at + data.draw(st.integers(0, 6))] = data.draw(word | st.binary(max_size=5))
    check_plain({**files, path: bytes(raw)}, "", Format.TRITON)


@given(data=st.data())
@settings(max_examples=300)
def test_a_mutated_onnx_file_is_packed_or_refused_in_plain_words(data: st.DataObject) -> None:
    raw = bytearray(onnx(external="w"))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
    check_plain({"m.onnx": bytes(raw), "w": b""}, "m.onnx", Format.ONNX)


def check_plain(files: Mapping[str, bytes], root: str, form: Format) -> None:
    try:
        pack(files, root, form)
    except SluiceError as error:
        assert str(error).endswith(".")  # noqa: PT017  # either is right
        assert str(error).isprintable()  # noqa: PT017


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))
