"""Model repositories that are written from ONNX files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.archive import Member
from pipelines.packagers import Packed
from pipelines.packagers.triton import TritonPackager
from registry.errors import InvalidInput
from registry.facts import DType, Format, Signature, Tensor
from tests.pipelines.memory import traced
from tests.pipelines.packagers.triton.repositories import (
    FLOAT,
    INT64,
    MIB,
    ONNX,
    check_plain,
    config,
    onnx,
    pack,
    request_for,
)


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
    with traced() as peak:
        passed = sum(map(len, TritonPackager().pack([Member("m.onnx", size, chunks())], request, packed)))
    assert passed > bulk
    assert packed.signature is not None
    assert packed.signature.inputs[0].name == "x"
    assert peak.size < 16 * MIB


def test_any_number_of_onnx_files_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.packagers.triton.repository._ONNX_MAX", 1)
    with pytest.raises(InvalidInput, match="more than 1 ONNX files: pack fewer"):
        pack({"config.pbtxt": "", "1/model.onnx": onnx(), "2/model.onnx": onnx()})


@given(data=st.data())
@settings(max_examples=300)
def test_a_mutated_onnx_file_is_packed_or_refused_in_plain_words(data: st.DataObject) -> None:
    raw = bytearray(onnx(external="w"))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
    check_plain({"m.onnx": bytes(raw), "w": b""}, "m.onnx", Format.ONNX)


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))
