"""What a training output says of its model's inputs and outputs, in small files beside the model.

Three files are understood, at the top, under `code/` or beside the model: `signature.json`, which is Sluice's own,
`sample.json`, a request as the model's server takes it, and `MLmodel` (MLflow documentation, "Model Signatures And
Input Examples", tensor-based signatures), which MLflow writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError
from pydantic_core import from_json

from gitops import yamls
from pipelines.archive import Member
from registry.errors import InvalidInput
from registry.facts import DType, Signature, Tensor
from registry.limits import RECORD_MAX, TENSORS_MAX

SIGNATURE, SAMPLE, ML_MODEL = "signature.json", "sample.json", "MLmodel"
FILE_MAX = 256 * 1024
"""Bytes of one such file."""
_DEPTH_MAX = 32
_T = TypeVar("_T")
_DTYPES: Mapping[str, DType] = {
    "str": DType.STRING,
    "bytes": DType.STRING,
    "object": DType.STRING,
    "boolean": DType.BOOL,
    "half": DType.FLOAT16,
    "float": DType.FLOAT32,
    "double": DType.FLOAT64,
    "long": DType.INT64,
}
"""What NumPy and PyTorch call some types beside the names that they share."""


class SignatureFiles:
    """Watches the files of one training output for those that tell the model's signature.

    `root` is the scan's: the model's folder or file. Memory is constant: what is kept is small.
    """

    def __init__(self, root: str = "") -> None:
        # the first folder that has a file wins
        folders = dict.fromkeys(("", "code/", root + "/" if root else "", _folder(root)))
        self._places = {name: [folder + name for folder in folders] for name in (SIGNATURE, SAMPLE, ML_MODEL)}
        self._wanted = {path for paths in self._places.values() for path in paths}
        self._seen: dict[str, bytes] = {}

    def watch(self, member: Member) -> Member:
        """The member as it came; where it is a file that tells something, its bytes are noted as they go by.

        Raises:
            InvalidInput: it is one, and far too large.
        """
        if member.path not in self._wanted:
            return member
        if member.size > FILE_MAX:
            raise InvalidInput(
                f"{member.path} has {member.size} bytes, and {FILE_MAX} are the most: keep one short request in it."
            )
        return member._replace(chunks=self._noted(member))

    def signature(self) -> Signature | None:
        """What was told, once every file has gone by; None where nothing was.

        `signature.json` comes before `MLmodel`; a sample that neither has is taken from `sample.json`.

        Raises:
            InvalidInput: a file is not what its name says.
        """
        told = self._own() or self._mlflow()
        sample_path = self._first(SAMPLE)
        if sample_path and (told is None or told.sample is None):
            sample = _json(sample_path, self._seen[sample_path])
            by = f"{told.told_by} and {sample_path}" if told else sample_path
            told = (told or Signature(told_by=by)).model_copy(update={"sample": sample, "told_by": by})
        if told is not None and len(told.to_bytes()) > RECORD_MAX:
            raise InvalidInput(f"{told.told_by} tells too much to be recorded: keep one short request in it.")
        return told

    def _noted(self, member: Member) -> Iterator[bytes]:
        kept = []
        for chunk in member.chunks:
            kept.append(chunk)
            yield chunk
        self._seen[member.path] = b"".join(kept)

    def _first(self, name: str) -> str | None:
        return next((path for path in self._places[name] if path in self._seen), None)

    def _own(self) -> Signature | None:
        path = self._first(SIGNATURE)
        if path is None:
            return None
        told = _checked(TypeAdapter(_Told), path, _json(path, self._seen[path]))
        return Signature(inputs=told.inputs, outputs=told.outputs, sample=told.sample, told_by=path)

    def _mlflow(self) -> Signature | None:
        path = self._first(ML_MODEL)
        if path is None:
            return None
        signature = yamls.load(self._seen[path], path).get("signature")
        if not isinstance(signature, dict):
            return None
        inputs, outputs = (_mlflow_tensors(path, signature.get(side), side[:-1]) for side in ("inputs", "outputs"))
        return Signature(inputs=inputs, outputs=outputs, told_by=path) if inputs or outputs else None


def _normal(told: object) -> object:
    """A tensor in our words: NumPy's and PyTorch's names of types, and -1 for an axis of any length, are others'."""
    if not isinstance(told, dict):
        return told
    dtype, shape = told.get("dtype"), told.get("shape")
    return {
        **told,
        "dtype": _DTYPES.get(dtype, dtype) if isinstance(dtype, str) else dtype,
        "shape": [None if axis == -1 else axis for axis in shape] if isinstance(shape, list) else shape,
    }


_Tensors = Annotated[tuple[Annotated[Tensor, BeforeValidator(_normal)], ...], Field(max_length=TENSORS_MAX)]


class _Told(BaseModel):
    """`signature.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: _Tensors = ()
    outputs: _Tensors = ()
    sample: JsonValue = None


def _mlflow_tensors(path: str, told: object, unnamed: str) -> tuple[Tensor, ...]:
    """The tensors of one side; none where MLflow knows columns instead, or types that no tensor has.

    MLflow names no tensor where there is only one; it is then called `unnamed`.
    """
    specs = _json(path, told.encode(errors="replace")) if isinstance(told, str) else []
    if not isinstance(specs, list) or not all(isinstance(s, dict) and s.get("type") == "tensor" for s in specs):
        return ()
    tensors = [_mlflow_tensor(spec, unnamed) for spec in specs if isinstance(spec, dict)]
    if not all(tensor["dtype"] in list(DType) for tensor in tensors):
        return ()
    return _checked(TypeAdapter[tuple[Tensor, ...]](_Tensors), path, tensors)


def _mlflow_tensor(spec: Mapping[str, JsonValue], unnamed: str) -> dict[str, object]:
    """One entry of MLflow's list: `{"name": …, "type": "tensor", "tensor-spec": {"dtype": …, "shape": […]}}`."""
    inner = spec.get("tensor-spec")
    told: Mapping[str, object] = inner if isinstance(inner, dict) else {}
    dtype = told.get("dtype")
    dtype = _DTYPES.get(dtype, dtype) if isinstance(dtype, str) else None
    return {"name": spec.get("name") or unnamed, "dtype": dtype, "shape": told.get("shape")}


def _checked(kind: TypeAdapter[_T], path: str, value: object) -> _T:
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part)[:40] for part in first["loc"][:6])
        raise InvalidInput(
            f"{path} is not a model's signature ({place + ': ' if place else ''}{first['msg'][:200]}): correct it as in"
            ' {"inputs": [{"name": "x", "dtype": "float32", "shape": [null, 4]}], "outputs": [], "sample": null}.'
        ) from error


def _json(path: str, data: bytes) -> JsonValue:
    try:
        value: JsonValue = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidInput(f"{path} is not JSON ({error}): correct it or leave it out.") from error
    if _deep(value):
        raise InvalidInput(f"{path} nests more than {_DEPTH_MAX} levels deep: make it simpler or leave it out.")
    return value


def _deep(value: JsonValue) -> bool:
    """Whether there are more levels than `_DEPTH_MAX`; the parser itself stops at some 200."""
    level: list[JsonValue] = [value]
    for _ in range(_DEPTH_MAX):
        lists = [item for item in level if isinstance(item, list)]
        mappings = [item for item in level if isinstance(item, dict)]
        level = [inner for item in lists for inner in item]
        level += [inner for item in mappings for inner in item.values()]
    return bool(level)


def _folder(path: str) -> str:
    folder, slash, _ = path.rpartition("/")
    return folder + slash
