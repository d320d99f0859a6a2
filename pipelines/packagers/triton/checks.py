"""Whether Triton could load a model by its config and its files.

Triton documentation, "Model Repository" (which file each backend wants) and "Model Configuration".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pipelines.packagers.triton.config import CONFIG, WILDCARD
from registry.errors import InvalidInput, Refused

ENSEMBLE = "ensemble"
_TENSORFLOW = "tensorflow"
_PLATFORMS: Mapping[str, str] = {
    "onnxruntime_onnx": "onnxruntime",
    "pytorch_libtorch": "pytorch",
    "tensorrt_plan": "tensorrt",
    "tensorflow_graphdef": _TENSORFLOW,
    "tensorflow_savedmodel": _TENSORFLOW,
    ENSEMBLE: ENSEMBLE,
}
"""The backend that each platform means."""
_FILES: Mapping[str, str] = {
    "onnxruntime": "model.onnx",
    "pytorch": "model.pt",
    "python": "model.py",
    "tensorrt": "model.plan",
    "openvino": "model.xml",
}
"""What a backend looks for in a version's folder."""
_BACKENDS = frozenset((*_FILES, ENSEMBLE, "dali", "fil", "vllm", "tensorrtllm", "identity", "repeat", "square"))
"""Those that come with Triton's images."""
_TOLD = {**{file: backend for backend, file in _FILES.items()}, "model.savedmodel": _TENSORFLOW}
_TOLD["model.graphdef"] = _TENSORFLOW
"""What a file's name tells where a config names no backend, as Triton itself completes it."""
_VERSION = re.compile(r"([1-9][0-9]{0,17})/(.+)")


def versions_of(files: Collection[str]) -> Mapping[int, tuple[str, ...]]:
    """The files of each version, by their paths in its folder; Triton passes over folders that are no numbers."""
    found: dict[int, list[str]] = {}
    for path in files:
        match = _VERSION.fullmatch(path)
        if match:
            found.setdefault(int(match[1]), []).append(match[2])
    return {number: tuple(paths) for number, paths in found.items()}


def backend_of(config: Any, files: Collection[str], model: str) -> str:
    """The backend of a model, by its config or else, where `config` is None or names none, by its files.

    Raises:
        InvalidInput: it has none, or one that Triton's images do not bring.
        Refused: it is TensorFlow's.
    """
    named = config is not None and (config.backend or config.platform)
    backend = config.backend or _PLATFORMS.get(config.platform, "") if named else _guessed(files)
    if config is not None and config.HasField("ensemble_scheduling"):
        backend = backend or ENSEMBLE
    if backend == _TENSORFLOW:
        raise Refused(
            f"Triton cannot serve {model}: its TensorFlow backend was removed after release 25.02; export the model to"
            " ONNX, or serve the SavedModel by TensorFlow Serving."
        )
    own = any(path.rpartition("/")[2] == f"libtriton_{backend}.so" for path in files)
    if backend not in _BACKENDS and not (backend and own):
        what = f"backend or platform {(config.backend or config.platform)[:80]!r}" if named else "no backend"
        raise InvalidInput(
            f"{model}/{CONFIG} names {what}, and Triton needs one that it has: set backend to one of"
            f" {', '.join(sorted(_BACKENDS - {ENSEMBLE}))}."
        )
    return backend


def check_model(config: Any, backend: str, files: Collection[str], model: str) -> None:
    """Make sure that the files and the config of a model that is not an ensemble belong together.

    Raises:
        InvalidInput: they do not.
    """
    versions = versions_of(files)
    if not versions:
        raise InvalidInput(f"{model} has no version folder: put the model's files into {model}/1/.")
    wanted = _wanted(config, backend)
    for number, paths in versions.items():
        if wanted and not any(path == wanted or path.startswith(wanted + "/") for path in paths):
            raise InvalidInput(
                f"{model}/{number} has no {wanted}, which the backend {backend} looks for: put the model there, or set"
                f" default_model_filename in {model}/{CONFIG}."
            )
    if config is not None:
        check_tensors(config, model, needed=backend == "pytorch" and not config.runtime)
        _check_labels(config, files, model)
    elif backend == "pytorch":
        raise InvalidInput(
            f"{model} has no {CONFIG}, and a TorchScript file does not tell its inputs: add one with input and output."
        )


def check_tensors(config: Any, model: str, *, needed: bool) -> None:
    """Make sure of the batch size, and that inputs and outputs, which must be there where `needed`, can be.

    Raises:
        InvalidInput: they cannot.
    """
    path = f"{model}/{CONFIG}"
    if config.max_batch_size < 0:
        raise InvalidInput(f"{path} sets max_batch_size to {config.max_batch_size}: set it to 0, or to 1 and more.")
    preferred = max((*config.dynamic_batching.preferred_batch_size, 0))
    if config.HasField("dynamic_batching") and preferred > config.max_batch_size:
        raise InvalidInput(f"{path} prefers batches of {preferred}, and max_batch_size is less: raise it to that.")
    for side, tensors in (("input", config.input), ("output", config.output)):
        if needed and not tensors:
            raise InvalidInput(f"{path} names no {side}, which its backend cannot find out by itself: add it.")
        _check_side(tensors, side, path)


def _check_side(tensors: Sequence[Any], side: str, path: str) -> None:
    seen: set[str] = set()
    for tensor in tensors:
        shown = f"{path} has the {side} {tensor.name[:80]!r}"
        if not tensor.name or tensor.name in seen:
            raise InvalidInput(f"{shown}, and each needs a name of its own: correct it.")
        seen.add(tensor.name)
        if not tensor.data_type:
            raise InvalidInput(f"{shown} without a data_type: add it.")
        if not tensor.dims or any(size < 1 and size != WILDCARD for size in tensor.dims):
            raise InvalidInput(f"{shown} whose dims are not each 1 or more, or -1: correct them.")
        if any(size < 1 and size != WILDCARD for size in tensor.reshape.shape):
            raise InvalidInput(f"{shown} whose reshape is not each 1 or more, or -1: correct it.")


def _check_labels(config: Any, files: Collection[str], model: str) -> None:
    missing = next((o.label_filename for o in config.output if o.label_filename and o.label_filename not in files), "")
    if missing:
        raise InvalidInput(
            f"{model}/{CONFIG} takes labels from {missing[:200]!r}, which is missing: put it into {model}/."
        )


def _wanted(config: Any, backend: str) -> str:
    if config is None:
        return _FILES.get(backend, "")
    if config.cc_model_filenames:
        return ""  # which one is wanted depends on the GPU
    if backend == "pytorch" and config.runtime:
        return str(config.runtime)  # a model in Python rather than TorchScript
    return config.default_model_filename or _FILES.get(backend, "")


def _guessed(files: Collection[str]) -> str:
    names = {path.partition("/")[0] for paths in versions_of(files).values() for path in paths}
    return next((backend for file, backend in _TOLD.items() if file in names), "")
