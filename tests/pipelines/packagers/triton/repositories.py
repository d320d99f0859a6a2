"""Model repositories and ONNX files of a few bytes, and what Triton's packager makes of them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from google.protobuf import text_format

from pipelines.archive import Member
from pipelines.packagers import Packed, PackRequest, packager_of
from pipelines.packagers.protos.define import define
from pipelines.packagers.protos.model_config import model_config
from pipelines.packagers.triton import TritonPackager
from registry.errors import SluiceError
from registry.facts import Artifact, FileFact, Format, Scan, Signature
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


def told(config: str, *files: str) -> dict[str, str]:
    return {"config.pbtxt": config, **dict.fromkeys(files or ("1/model.py",), "x")}


def check_plain(files: Mapping[str, bytes], root: str, form: Format) -> None:
    try:
        pack(files, root, form)
    except SluiceError as error:
        assert str(error).endswith(".")  # noqa: PT017  # either is right
        assert str(error).isprintable()  # noqa: PT017
