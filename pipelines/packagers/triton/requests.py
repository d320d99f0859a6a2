"""Requests to Triton over HTTP (KServe's open inference protocol, version 2, "Inference Request JSON Object")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from pydantic import JsonValue

from pipelines.packagers.values import Values, by_name, fits, shown, values_of, zeros
from registry.errors import InvalidInput
from registry.facts import DType, Tensor

_DATATYPES: Mapping[DType, str] = {
    DType.BOOL: "BOOL",
    DType.INT8: "INT8",
    DType.INT16: "INT16",
    DType.INT32: "INT32",
    DType.INT64: "INT64",
    DType.UINT8: "UINT8",
    DType.UINT16: "UINT16",
    DType.UINT32: "UINT32",
    DType.UINT64: "UINT64",
    DType.FLOAT16: "FP16",
    DType.BFLOAT16: "BF16",
    DType.FLOAT32: "FP32",
    DType.FLOAT64: "FP64",
    DType.STRING: "BYTES",
}
_BINARY_ONLY = (DType.FLOAT16, DType.BFLOAT16)
"""Triton takes these as raw bytes alone, never as JSON ("Binary Tensor Data Extension")."""


def made_sample(config: Any, inputs: Sequence[Tensor]) -> JsonValue:
    """A request with zeros for a batch of one; what `config`, which may be None, calls optional is left out.

    None where the inputs leave too much open for that, and for a model that answers many times or keeps the state of a
    sequence, which takes more than one request.
    """
    optional: set[str] = set()
    if config is not None:
        if config.model_transaction_policy.decoupled or config.HasField("sequence_batching"):
            return None
        optional = {tensor.name for tensor in config.input if tensor.optional}
    needed = [tensor for tensor in inputs if tensor.name not in optional]
    values = zeros(needed)
    if values is None or any(tensor.dtype in _BINARY_ONLY for tensor in needed):
        return None
    return {"inputs": [_written(tensor, values[tensor.name]) for tensor in needed]}


def given_sample(sample: JsonValue, inputs: Sequence[Tensor]) -> JsonValue:
    """A request that came with the model: as it is where it is in this protocol, else its rows or columns in it.

    Raises:
        InvalidInput: it is neither, or does not fit the inputs.
    """
    told = sample.get("inputs") if isinstance(sample, dict) else None
    own = [one for one in told if isinstance(one, dict) and "data" in one] if isinstance(told, list) else []
    if not inputs:
        return sample  # there is nothing to compare it with
    if isinstance(told, list) and told and len(own) == len(told):
        for one in own:
            _check(one, inputs)
        return sample
    values = by_name(sample, inputs, "Triton")
    return {"inputs": [_written(tensor, values[tensor.name]) for tensor in inputs]}


def _check(told: Mapping[str, JsonValue], inputs: Sequence[Tensor]) -> None:
    name = str(told.get("name"))
    tensor = next((tensor for tensor in inputs if tensor.name == name), None)
    if tensor is None:
        raise InvalidInput(f"The sample has the input {name[:80]!r}, which the model has not: correct it.")
    if told.get("datatype") != _DATATYPES[tensor.dtype]:
        raise InvalidInput(f"The sample's {name} needs the datatype {_DATATYPES[tensor.dtype]}: correct it.")
    shape = told.get("shape")
    sizes = [size for size in shape if type(size) is int and size >= 0] if isinstance(shape, list) else []
    if not isinstance(shape, list) or len(sizes) < len(shape) or not fits(sizes, tensor.shape):
        raise InvalidInput(f"The sample's {name} needs a shape that fits {shown(tensor.shape)}: correct it.")
    # the data may be nested or flat
    values = values_of(told["data"], tensor.model_copy(update={"shape": None}))
    if len(values.flat) != prod(sizes):
        raise InvalidInput(f"The sample's {name} needs {prod(sizes)} values in data, as its shape says: correct it.")


def _written(tensor: Tensor, values: Values) -> JsonValue:
    return {
        "name": tensor.name,
        "shape": list(values.shape),
        "datatype": _DATATYPES[tensor.dtype],
        "data": [value for value in values.flat if not isinstance(value, bytes)],
    }
