"""Requests to TensorFlow Serving: a sample as its REST API takes it, and as warm-up, which runs when a model is loaded.

TensorFlow Serving guide, "RESTful API" (predict, row and column format) and "SavedModel Warmup".
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from pydantic import JsonValue

from pipelines.packagers.crc32c import masked_crc32c
from pipelines.packagers.protos.tensorflow import prediction_log
from pipelines.packagers.savedmodel.described import DEFAULT, DTYPES, Described
from pipelines.packagers.values import Values, by_name, nested, one_of, zeros
from registry.errors import InvalidInput
from registry.facts import DType, Tensor

WARMUP = "assets.extra/tf_serving_warmup_requests"
_FILLED_MAX = 1 << 24
"""Elements of a warm-up request of zeros, which the server has to make room for."""
_NUMBERS = {dtype: number for number, dtype in DTYPES.items()}
_PACKED: Mapping[DType, str] = {
    DType.BOOL: "?",
    DType.INT8: "b",
    DType.INT16: "h",
    DType.INT32: "i",
    DType.INT64: "q",
    DType.UINT8: "B",
    DType.UINT16: "H",
    DType.UINT32: "I",
    DType.UINT64: "Q",
    DType.FLOAT16: "e",
    DType.FLOAT32: "f",
    DType.FLOAT64: "d",
}
"""As `struct` calls them."""
_FILLED: Mapping[DType, str] = {
    DType.BOOL: "bool_val",
    DType.INT64: "int64_val",
    DType.UINT32: "uint32_val",
    DType.UINT64: "uint64_val",
    DType.FLOAT16: "half_val",
    DType.BFLOAT16: "half_val",
    DType.FLOAT32: "float_val",
    DType.FLOAT64: "double_val",
}
"""The field of a tensor whose one value stands for all; `int_val` for the other types (tensor.proto)."""


def read_sample(sample: JsonValue, model: Described) -> Mapping[str, Values]:
    """What a request in row or column format gives for each input.

    Raises:
        InvalidInput: it is in neither, or does not fit the signature.
    """
    return by_name(sample, model.inputs, "TensorFlow Serving", _plain)


def made_sample(model: Described) -> JsonValue:
    """A request with zeros for one instance, None where the signature leaves too much open for that."""
    values = zeros(model.inputs)
    if values is None:
        return None
    request: dict[str, JsonValue] = {} if model.signature == DEFAULT else {"signature_name": model.signature}
    if not all(tensor.shape is None or tensor.shape[:1] == (None,) for tensor in (*model.inputs, *model.outputs)):
        return request | {"inputs": {name: nested(value) for name, value in values.items()}}
    rows = {name: nested(Values(value.shape[1:], value.flat)) for name, value in values.items()}
    return request | {"instances": [rows if len(rows) > 1 else next(iter(rows.values()))]}


def warmup(name: str, model: Described, sample: Mapping[str, Values] | None) -> bytes | None:
    """The file of one warm-up request to the model called `name`: the sample, else zeros for a batch of one.

    None where there is no sample and the signature leaves too much open. A server does not serve a model that fails
    its warm-up, so an input of strings is not made up.
    """
    kinds = prediction_log()
    log = kinds["PredictionLog"]()
    request = log.predict_log.request
    request.model_spec.name, request.model_spec.signature_name = name, model.signature
    for tensor in model.inputs:
        shape = one_of(tensor)
        if sample is not None:
            _write(request.inputs[tensor.name], sample[tensor.name], tensor)
        elif shape is not None and tensor.dtype is not DType.STRING and prod(shape) <= _FILLED_MAX:
            _fill(request.inputs[tensor.name], shape, tensor.dtype)
        else:
            return None
    return _record(log.SerializeToString(deterministic=True))


def _write(proto: Any, values: Values, tensor: Tensor) -> None:
    _shape(proto, values.shape, tensor.dtype)
    if tensor.dtype is DType.STRING:
        proto.string_val.extend(item if isinstance(item, bytes) else str(item).encode() for item in values.flat)
        return
    try:
        proto.tensor_content = _packed(values.flat, tensor.dtype)
    except (struct.error, OverflowError) as error:
        raise InvalidInput(
            f"The sample's {tensor.name} holds a number too large for {tensor.dtype.value}: correct it."
        ) from error


def _packed(flat: Sequence[Any], dtype: DType) -> bytes:
    if dtype is DType.BFLOAT16:  # the upper half of a float32
        whole = struct.pack(f"<{len(flat)}f", *flat)
        return b"".join(whole[at + 2 : at + 4] for at in range(0, len(whole), 4))
    return struct.pack(f"<{len(flat)}{_PACKED[dtype]}", *flat)


def _fill(proto: Any, shape: Sequence[int], dtype: DType) -> None:
    _shape(proto, shape, dtype)
    getattr(proto, _FILLED.get(dtype, "int_val")).append(0)


def _shape(proto: Any, shape: Sequence[int], dtype: DType) -> None:
    proto.dtype = _NUMBERS[dtype]
    proto.tensor_shape.SetInParent()
    for size in shape:
        proto.tensor_shape.dim.add(size=size)


def _record(data: bytes) -> bytes:
    """One TFRecord: its length and its data, a masked CRC after each (TensorFlow documentation, "TFRecord")."""
    length = struct.pack("<Q", len(data))
    crcs = [struct.pack("<I", masked_crc32c(part)) for part in (length, data)]
    return length + crcs[0] + data + crcs[1]


def _plain(value: object) -> object:
    """A JSON value as an element: bytes are written as {"b64": …}."""
    if not isinstance(value, dict) or set(value) != {"b64"}:
        return value
    try:
        return base64.b64decode(str(value["b64"]), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"The sample has bytes that are no base64 ({error}): correct them.") from error
