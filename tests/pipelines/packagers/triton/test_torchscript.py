"""Model repositories that are written from TorchScript files."""

from __future__ import annotations

import json

import pytest

from registry.errors import InvalidInput
from registry.facts import DType, Format, Tensor
from tests.pipelines.packagers.triton.repositories import (
    config,
    pack,
)

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
