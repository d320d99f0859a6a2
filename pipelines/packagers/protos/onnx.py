"""ONNX's model, but for its nodes and its weights.

Names and numbers are those of onnx.proto (ONNX 1.23). What is left out is passed over when a model is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pipelines.packagers.protos.define import define


@cache
def onnx() -> Mapping[str, Any]:
    """The classes by their names; a `.onnx` file is a `ModelProto`."""
    return define("onnx", _TOLD)


_TOLD = """
message ModelProto
  1 ir_version int64
  7 graph GraphProto
  8 opset_import OperatorSetIdProto*
message OperatorSetIdProto
  1 domain string
  2 version int64
message GraphProto
  5 initializer TensorProto*
  11 input ValueInfoProto*
  12 output ValueInfoProto*
message TensorProto
  8 name string
  13 external_data StringStringEntryProto*
message StringStringEntryProto
  1 key string
  2 value string
message ValueInfoProto
  1 name string
  2 type TypeProto
message TypeProto
  1 tensor_type Tensor in value
  4 sequence_type Other in value
  5 map_type Other in value
  8 sparse_tensor_type Other in value
  9 optional_type Other in value
message TypeProto.Tensor
  1 elem_type int32
  2 shape TensorShapeProto
message Other
message TensorShapeProto
  1 dim Dimension*
message TensorShapeProto.Dimension
  1 dim_value int64 in value
  2 dim_param string in value
"""
