"""What a SavedModel says of itself: its signature, the files it needs, and whether TensorFlow Serving can load it.

SavedModel: TensorFlow guide, "Using the SavedModel format"; saved_model.proto and meta_graph.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from registry.errors import InvalidInput
from registry.facts import DType, Tensor
from registry.limits import TENSORS_MAX

DEFAULT = "serving_default"
"""The signature that a request means which names none."""
_INTERNAL = "__saved_model_"
"""What begins the names of entries that are for the loader."""
DTYPES: Mapping[int, DType] = {
    1: DType.FLOAT32,
    2: DType.FLOAT64,
    3: DType.INT32,
    4: DType.UINT8,
    5: DType.INT16,
    6: DType.INT8,
    7: DType.STRING,
    9: DType.INT64,
    10: DType.BOOL,
    14: DType.BFLOAT16,
    17: DType.UINT16,
    19: DType.FLOAT16,
    22: DType.UINT32,
    23: DType.UINT64,
}
"""By their numbers in TensorFlow's types.proto."""
_OTHERS = {8: "complex64", 18: "complex128", 20: "a resource", 21: "a variant"}
_RANK_MAX = 254
"""TensorFlow's own limit (TensorShape::MaxDimensions)."""


class Described(NamedTuple):
    """What is served of a SavedModel."""

    signature: str
    inputs: tuple[Tensor, ...]
    """By name."""
    outputs: tuple[Tensor, ...]
    assets: tuple[str, ...]
    """Files that must be in `assets/`."""
    has_variables: bool


def described(model: Any) -> Described:
    """What the message of a `saved_model.pb` says.

    Raises:
        InvalidInput: TensorFlow Serving would not load it, or no request could reach it.
    """
    graph = next((graph for graph in model.meta_graphs if list(graph.meta_info_def.tags) == ["serve"]), None)
    if graph is None:
        tags = sorted({tag for graph in model.meta_graphs for tag in graph.meta_info_def.tags})
        found = f"only {', '.join(repr(tag[:40]) for tag in tags[:5])}" if tags else "none at all"
        raise InvalidInput(
            f"The SavedModel has no graph with the one tag serve, but {found}: export it with tf.saved_model.save."
        )
    signatures = {name: value for name, value in graph.signature_def.items() if not name.startswith(_INTERNAL)}
    name = DEFAULT if DEFAULT in signatures else min(signatures, default=None)
    if name is None:
        raise InvalidInput(
            "The SavedModel has no signature, so no request can reach it: export it with"
            " tf.saved_model.save(model, path, signatures=…), or with model.export(path)."
        )
    chosen = signatures[name]
    inputs, outputs = _tensors(chosen.inputs, name), _tensors(chosen.outputs, name)
    if not outputs:
        raise InvalidInput(f"The SavedModel's signature {name[:80]!r} gives nothing: export it with outputs.")
    return Described(
        signature=name,
        inputs=inputs,
        outputs=outputs,
        assets=tuple(asset.filename for asset in graph.asset_file_def),
        has_variables=any(node.HasField("variable") for node in graph.object_graph_def.nodes),
    )


def _tensors(told: Mapping[str, Any], signature: str) -> tuple[Tensor, ...]:
    if len(told) > TENSORS_MAX:
        raise InvalidInput(
            f"The SavedModel's signature {signature[:80]!r} has {len(told)} tensors on one side, and {TENSORS_MAX} are"
            " the most: export one with fewer."
        )
    return tuple(_tensor(name, told[name], signature) for name in sorted(told))


def _tensor(name: str, info: Any, signature: str) -> Tensor:
    where = f"{name[:80]!r} of the SavedModel's signature {signature[:80]!r}"
    dtype = DTYPES.get(info.dtype)
    if info.WhichOneof("encoding") in ("coo_sparse", "composite_tensor"):
        raise InvalidInput(f"{where} is sparse or ragged, which no request is: export it with dense tensors.")
    if dtype is None:
        raise InvalidInput(
            f"{where} is of the type {_OTHERS.get(info.dtype, f'number {info.dtype}')}, which no request carries:"
            " export it with numbers, booleans or strings."
        )
    dims = [dim.size for dim in info.tensor_shape.dim]
    if any(size < -1 for size in dims) or len(dims) > _RANK_MAX:
        raise InvalidInput(f"{where} has a shape that no tensor has: export the model again.")
    shape = None if info.tensor_shape.unknown_rank else tuple(None if size == -1 else size for size in dims)
    try:
        return Tensor(name=name, dtype=dtype, shape=shape)
    except ValidationError as error:
        raise InvalidInput(f"{where} has a name that cannot be shown: export the model again.") from error
