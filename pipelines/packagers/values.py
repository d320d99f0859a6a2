"""The values of requests: nested lists as JSON has them, against the tensors that a model takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from typing import NamedTuple

from pydantic import JsonValue

from registry.errors import InvalidInput
from registry.facts import DType, Signature, Tensor

ELEMENTS_MAX = 10_000
"""Elements of a request that is made up; as indented JSON they stay well below what a record may hold."""
_BITS: Mapping[DType, int] = {
    DType.INT8: 8,
    DType.INT16: 16,
    DType.INT32: 32,
    DType.INT64: 64,
    DType.UINT8: 8,
    DType.UINT16: 16,
    DType.UINT32: 32,
    DType.UINT64: 64,
}
_UNNAMED = ("input", "output")
"""What a tensor is called where MLflow wrote no name down."""


class Values(NamedTuple):
    """The elements of one tensor, row by row."""

    shape: tuple[int, ...]
    flat: Sequence[JsonValue | bytes]


def values_of(nested: object, tensor: Tensor, leaf: Callable[[object], object] = lambda value: value) -> Values:
    """Nested lists as a tensor's values; `leaf` makes an element of what is not a list.

    Raises:
        InvalidInput: they are ragged, or do not fit the tensor's shape or type.
    """
    shape: list[int] = []
    level: list[object] = [nested]
    while level and all(isinstance(item, list) for item in level):
        lengths = {len(item) for item in level if isinstance(item, list)}
        if len(lengths) != 1:
            raise InvalidInput(f"The sample's {tensor.name} has rows of different lengths: make them alike.")
        shape.append(lengths.pop())
        level = [inner for item in level if isinstance(item, list) for inner in item]
    flat = [_element(leaf(item), tensor) for item in level]
    if not fits(shape, tensor.shape):
        raise InvalidInput(
            f"The sample's {tensor.name} is of shape {shape}, and the model takes {shown(tensor.shape)}: correct the"
            " sample."
        )
    return Values(tuple(shape), flat)


def by_name(
    sample: JsonValue, inputs: Sequence[Tensor], server: str, leaf: Callable[[object], object] = lambda value: value
) -> Mapping[str, Values]:
    """What a request in row or column format gives for each input; `leaf` is as in `values_of`.

    Rows are `{"instances": […]}`, columns `{"inputs": …}`; either may be by name, and must be where there are several
    inputs (TensorFlow Serving guide, "RESTful API").

    Raises:
        InvalidInput: it is in neither format, or does not fit the inputs.
    """
    names = [tensor.name for tensor in inputs]
    columns = _columns(sample, names, server)
    if isinstance(columns, dict) and "b64" not in columns:
        given = columns
    else:
        given = {names[0]: columns} if len(names) == 1 else {}
    if set(given) != set(names):
        raise InvalidInput(f"The sample is not for the model's inputs, which are {_listed(names)}: correct it.")
    return {tensor.name: values_of(given[tensor.name], tensor, leaf) for tensor in inputs}


def _columns(sample: JsonValue, names: Sequence[str], server: str) -> JsonValue:
    """A request in column format: the one input's values, or those of each by name."""
    request = sample if isinstance(sample, dict) else {}
    rows = request.get("instances")
    if "inputs" in request and "instances" not in request:
        return request["inputs"]
    if not isinstance(rows, list) or not rows or "inputs" in request:
        raise InvalidInput(
            f'The sample is no request as {server} takes it: write it as {{"instances": […]}}, one entry for each row.'
        )
    named = [row for row in rows if isinstance(row, dict) and "b64" not in row]
    if len(named) < len(rows):
        return rows
    if any(set(row) != set(names) for row in named):
        raise InvalidInput(f"Each instance of the sample needs {_listed(names)} and nothing else: correct the sample.")
    return {name: [row[name] for row in named] for name in names}


def shown(shape: Sequence[int | None] | None) -> str:
    """A shape for a sentence: `[any, 13]`."""
    if shape is None:
        return "any shape"
    return f"[{', '.join('any' if axis is None else str(axis) for axis in shape)}]"


def one_of(tensor: Tensor) -> tuple[int, ...] | None:
    """The shape of a batch of one; None where more than the batch is open."""
    if tensor.shape is None:
        return None
    shape = tuple(1 if axis is None and at == 0 else axis for at, axis in enumerate(tensor.shape))
    return None if None in shape else tuple(axis for axis in shape if axis is not None)


def zeros(tensors: Iterable[Tensor]) -> Mapping[str, Values] | None:
    """A batch of one with nothing but zeros for each tensor.

    None where a shape is open, where there are too many elements to write down, or where one is of strings: what is
    in a string is the model's own matter, and an empty one is not likely to be it.
    """
    shapes = {tensor: one_of(tensor) for tensor in tensors}
    known = {tensor: shape for tensor, shape in shapes.items() if shape is not None and tensor.dtype != DType.STRING}
    if not shapes or len(known) < len(shapes) or sum(map(prod, known.values())) > ELEMENTS_MAX:
        return None
    return {tensor.name: Values(shape, [_zero(tensor.dtype)] * prod(shape)) for tensor, shape in known.items()}


def nested(values: Values) -> JsonValue:
    """The values as nested lists; of rank 0, the one element."""
    level: list[JsonValue] = [value for value in values.flat if not isinstance(value, bytes)]
    for axis in reversed(values.shape):
        level = [level[at : at + axis] for at in range(0, len(level), axis)] if level else []
    return level[0] if level else []


def fits(shape: Sequence[int], wanted: Sequence[int | None] | None) -> bool:
    """Whether a tensor of `shape` is one that `wanted` lets through."""
    return wanted is None or (
        len(shape) == len(wanted) and all(want in (None, axis) for axis, want in zip(shape, wanted, strict=True))
    )


def check_names(given: Signature, inputs: Sequence[Tensor], outputs: Sequence[Tensor], model: str) -> None:
    """Compare the names of the tensors that a file tells of with those that the model itself has, in file `model`.

    Raises:
        InvalidInput: they are others.
    """
    for side, told, own in (("inputs", given.inputs, inputs), ("outputs", given.outputs, outputs)):
        unnamed = len(told) == len(own) == 1 and told[0].name in _UNNAMED
        said, real = ({tensor.name for tensor in tensors} for tensors in (told, own))
        if told and not unnamed and said != real:
            raise InvalidInput(
                f"{given.told_by} tells of {side} {_listed(said)}, and {model} of {_listed(real)}: correct the names,"
                f" or leave the {side} out."
            )


def _listed(names: Iterable[str]) -> str:
    names = sorted(names)
    return (", ".join(name[:80] for name in names[:5]) + (" …" if len(names) > 5 else "")) or "none"


def _zero(dtype: DType) -> JsonValue:
    return False if dtype is DType.BOOL else 0 if dtype in _BITS else 0.0


def _element(value: object, tensor: Tensor) -> JsonValue | bytes:
    dtype = tensor.dtype
    if dtype in _BITS:
        signed = dtype.value.startswith("int")
        least, most = (-(1 << _BITS[dtype] - 1), 1 << _BITS[dtype] - 1) if signed else (0, 1 << _BITS[dtype])
        if isinstance(value, int) and not isinstance(value, bool) and least <= value < most:
            return value
    elif dtype is DType.BOOL:
        if isinstance(value, bool):
            return value
    elif dtype is DType.STRING:
        if isinstance(value, str | bytes):
            return value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise InvalidInput(f"The sample's {tensor.name} holds {repr(value)[:40]}, which is no {dtype.value}: correct it.")
