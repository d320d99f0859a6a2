"""What an ONNX file says of its inputs and outputs, read while it streams by, without its weights.

ONNX documentation, "Open Neural Network Exchange Intermediate Representation" and "External Data".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from pipelines.packagers.protos.onnx import onnx
from pipelines.packagers.protos.sieve import Sieve
from pipelines.packagers.triton.config import batched
from registry.errors import InvalidInput
from registry.facts import DType, Tensor
from registry.limits import TENSORS_MAX

_DTYPES: Mapping[int, DType] = {
    1: DType.FLOAT32,
    2: DType.UINT8,
    3: DType.INT8,
    4: DType.UINT16,
    5: DType.INT16,
    6: DType.INT32,
    7: DType.INT64,
    8: DType.STRING,
    9: DType.BOOL,
    10: DType.FLOAT16,
    11: DType.FLOAT64,
    12: DType.UINT32,
    13: DType.UINT64,
}
"""What Triton's ONNX Runtime backend carries, by the numbers in onnx.proto."""
_NO_BATCH = ("seq", "len", "time", "token")
"""What is in the name of an axis that is no batch."""


class OnnxModel(NamedTuple):
    """What is served of an ONNX file."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    batched: bool
    """Whether the first axis is one that requests can be joined along."""
    external: frozenset[str]
    """Files with weights, by their paths from the model's folder."""


class OnnxFile:
    """Lets one ONNX file pass, and tells what is in it; `path` is what errors call it.

    Not every such file is one that Triton itself loads, so what is wrong with it is told only when it is asked for.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._told: OnnxModel | InvalidInput = InvalidInput(f"{path} is cut short: copy it again.")

    def watch(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Pass the bytes on, and learn from them."""
        sieve: Sieve | None = Sieve(onnx()["ModelProto"], self._path)
        for chunk in chunks:
            try:
                if sieve is not None:
                    sieve.feed(chunk)
            except InvalidInput as error:
                self._told, sieve = error, None
            yield chunk
        try:
            if sieve is not None:
                self._told = self._model(sieve.message())
        except InvalidInput as error:
            self._told = error

    def model(self) -> OnnxModel:
        """What the file said, once all of it has passed.

        Raises:
            InvalidInput: it is no ONNX file, or no request could carry what it takes or gives.
        """
        if isinstance(self._told, InvalidInput):
            raise self._told
        return self._told

    def _model(self, model: Any) -> OnnxModel:
        if model.ir_version < 1 or not model.HasField("graph") or not model.opset_import:
            raise InvalidInput(f"{self._path} is no ONNX model: export it again.")
        graph = model.graph
        # before IR version 4 each weight was an input as well
        weights = {weight.name for weight in graph.initializer}
        inputs = [told for told in graph.input if told.name not in weights]
        if max(len(inputs), len(graph.output)) > TENSORS_MAX or not graph.output:
            raise InvalidInput(f"{self._path} has no output, or more than {TENSORS_MAX} tensors: export it otherwise.")
        taken = tuple(self._tensor(told) for told in inputs)
        given = tuple(self._tensor(told) for told in graph.output)
        return OnnxModel(
            inputs=taken,
            outputs=given,
            batched=batched(taken, given) and _one_batch(inputs),
            external=self._external(graph.initializer),
        )

    def _tensor(self, told: Any) -> Tensor:
        kind, where = told.type.WhichOneof("value"), f"{told.name[:80]!r} of {self._path}"
        if kind != "tensor_type":
            raise InvalidInput(
                f"{where} is {(kind or 'nothing').removesuffix('_type')}, and Triton takes tensors only: export it as a"
                " tensor (from scikit-learn, with options={'zipmap': False})."
            )
        dtype, shape = _DTYPES.get(told.type.tensor_type.elem_type), None
        if dtype is None:
            raise InvalidInput(
                f"{where} has elements of type {told.type.tensor_type.elem_type} in onnx.proto, which Triton does not"
                " carry: cast it in the model."
            )
        if told.type.tensor_type.HasField("shape"):
            dims = told.type.tensor_type.shape.dim
            shape = tuple(dim.dim_value if dim.dim_value > 0 else None for dim in dims)
        try:
            return Tensor(name=told.name, dtype=dtype, shape=shape)
        except ValidationError as error:
            raise InvalidInput(f"{where} has a name that cannot be shown: export the model again.") from error

    def _external(self, weights: Iterable[Any]) -> frozenset[str]:
        places = {entry.value for weight in weights for entry in weight.external_data if entry.key == "location"}
        parts = [place.removeprefix("./") for place in places]
        if any(part.startswith("/") or ".." in part.split("/") for part in parts):
            raise InvalidInput(f"{self._path} keeps weights outside its folder: export it with the file beside it.")
        return frozenset(parts)


def check_external(model: OnnxModel, files: Collection[str], path: str) -> None:
    """Make sure that the files with an ONNX model's weights are among those of its folder.

    Raises:
        InvalidInput: one is missing.
    """
    missing = min(model.external - set(files), default=None)
    if missing is not None:
        raise InvalidInput(
            f"{path} keeps weights in {missing[:200]!r}, which is not beside it: put it into the same folder of the"
            " training output."
        )


def check_config(config: Any, model: OnnxModel, path: str) -> None:
    """Make sure that a config, at `path`, names no tensor that its ONNX model has not.

    Raises:
        InvalidInput: it does.
    """
    for side, told, own in (("input", config.input, model.inputs), ("output", config.output, model.outputs)):
        names = {tensor.name for tensor in own}
        unknown = next((tensor.name for tensor in told if tensor.name not in names), None)
        if unknown is not None:
            raise InvalidInput(f"{path} has the {side} {unknown[:80]!r}, which is not in its ONNX model: correct it.")


def _one_batch(inputs: Sequence[Any]) -> bool:
    """Whether the first axes have one name between them, or none, and it is not one of something else."""
    names = {told.type.tensor_type.shape.dim[0].dim_param.lower() for told in inputs}
    return len(names) == 1 and not any(word in name for name in names for word in _NO_BATCH)
