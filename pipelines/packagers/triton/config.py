"""Triton's `config.pbtxt`: read strictly, written from a model's tensors, and what a client sees of a model by it.

Triton documentation, "Model Configuration".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from pipelines.packagers.protos.model_config import model_config
from registry.errors import InvalidInput
from registry.facts import DType, Tensor
from registry.limits import TENSORS_MAX

CONFIG = "config.pbtxt"
CONFIG_MAX = 1 << 20
BATCH_MAX = 8
"""Requests that are run together where a config is written; Triton refuses a single request for more."""
WILDCARD = -1
DTYPES: Mapping[str, DType] = {
    "TYPE_BOOL": DType.BOOL,
    "TYPE_UINT8": DType.UINT8,
    "TYPE_UINT16": DType.UINT16,
    "TYPE_UINT32": DType.UINT32,
    "TYPE_UINT64": DType.UINT64,
    "TYPE_INT8": DType.INT8,
    "TYPE_INT16": DType.INT16,
    "TYPE_INT32": DType.INT32,
    "TYPE_INT64": DType.INT64,
    "TYPE_FP16": DType.FLOAT16,
    "TYPE_FP32": DType.FLOAT32,
    "TYPE_FP64": DType.FLOAT64,
    "TYPE_STRING": DType.STRING,
    "TYPE_BF16": DType.BFLOAT16,
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def read_config(data: bytes, path: str) -> Any:
    """The message that a `config.pbtxt` spells out.

    Raises:
        InvalidInput: it is not in protobuf's text format, or has a field or value that Triton does not know.
    """
    from google.protobuf import text_format

    try:
        return text_format.Parse(data.decode(), model_config()["ModelConfig"]())
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8: save it as plain text.") from error
    except text_format.ParseError as error:
        line, told = error.GetLine(), str(error).partition(" : ")[2] or str(error)
        raise _not_known(path, line, told) from error
    except (ValueError, OverflowError) as error:  # a number that an enum or a field has no room for
        raise _not_known(path, None, str(error)) from error


def write_config(config: Any) -> bytes:
    """The text of a config, the same each time."""
    from google.protobuf import text_format

    return text_format.MessageToString(config).encode()


def config_of(backend: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, batched: bool) -> Any:
    """The config of a model that takes and gives tensors of these shapes, its batch's axis among them if `batched`.

    Raises:
        InvalidInput: Triton carries no such tensor.
    """
    config = model_config()["ModelConfig"](backend=backend)
    if batched:
        config.max_batch_size = BATCH_MAX
        config.dynamic_batching.SetInParent()
    for side, tensors in ((config.input, inputs), (config.output, outputs)):
        for tensor in tensors:
            if tensor.shape is None:
                raise InvalidInput(
                    f"The model's {tensor.name} has no shape, and Triton needs to know its rank: export the model"
                    " with shapes."
                )
            shape = tensor.shape[1:] if batched else tensor.shape
            put = side.add(name=tensor.name, data_type=_NAMES[tensor.dtype])
            put.dims.extend([WILDCARD if axis is None else axis for axis in shape] or [1])
            if not shape:  # Triton's own tensors have at least one axis ("Reshape")
                put.reshape.SetInParent()
    return config


def batched(inputs: Iterable[Tensor], outputs: Iterable[Tensor]) -> bool:
    """Whether the first axis of all tensors is free, and none of the inputs is a mere row of numbers.

    A sequence that was taken for a batch would be run together with other people's, so doubt counts as no.
    """
    inputs, every = tuple(inputs), (*inputs, *outputs)
    free = all(tensor.shape is not None and tensor.shape[:1] == (None,) for tensor in every)
    return bool(inputs) and free and all(len(tensor.shape or ()) > 1 for tensor in inputs)


def tensors_of(config: Any, path: str) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """What a client sends and gets, with the batch as the first axis where there is one.

    Raises:
        InvalidInput: a tensor is not told of as it must be.
    """
    batch = (None,) if config.max_batch_size > 0 else ()

    def tensor(told: Any) -> Tensor:
        dims = tuple(None if size == WILDCARD else size for size in told.dims)
        kind = type(told).DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[told.data_type].name
        return Tensor(name=told.name, dtype=DTYPES[kind], shape=(*batch, *dims))

    return _all(config.input, tensor, path), _all(config.output, tensor, path)


def _all(told: Sequence[Any], tensor: Callable[[Any], Tensor], path: str) -> tuple[Tensor, ...]:
    if len(told) > TENSORS_MAX:
        raise InvalidInput(f"{path} has {len(told)} tensors on one side, and {TENSORS_MAX} are the most: use fewer.")
    try:
        return tuple(tensor(one) for one in told)
    except ValidationError as error:
        raise InvalidInput(f"{path} has a tensor whose name or shape cannot be: correct it.") from error


def _not_known(path: str, line: int | None, told: str) -> InvalidInput:
    where = f"{path}, line {line}" if line else path
    return InvalidInput(f"{where} is not a model configuration that Triton knows ({_printable(told)}): correct it.")


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text[:300]).rstrip(". ")
