"""Telling what a training output holds, from the files that are in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from registry.errors import InvalidInput
from registry.facts import Format

_WEIGHTS = (".pt", ".pth", ".bin", ".safetensors")
_SCRIPTS = (".pt", ".pth", ".ts")
_MAKERS = ("code/inference.py", "code/handler.py", "inference.py", "handler.py", "code/model.py", "model.py")
"""Python code that can make a model of weights, as SageMaker's and TorchServe's users name it."""
_CONFIG = "config.pbtxt"


class ZipKind(StrEnum):
    """What a zip in the training output was found to be, where that matters for the format."""

    TORCHSCRIPT = "torchscript"
    MAR = "mar"


class Found(NamedTuple):
    """A format, and where in the archive it lies."""

    format: Format
    root: str


class Paths:
    """The files of a training output by their paths: sizes, and what the zips among them are.

    What macOS notes about a file `x`, in `._x` or below `__MACOSX/`, counts as nothing.
    """

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.zips: dict[str, ZipKind] = {}

    def add(self, path: str, size: int) -> None:
        """There is a file of `size` bytes."""
        self.sizes[path] = size

    def verdict(self) -> Found:
        """The one model there is.

        Raises:
            InvalidInput: there is none that can be served, or more than one.
        """
        paths = sorted(path for path in self.sizes if not _macos(path))
        found = list(_models(paths, self.zips))
        if len(found) > 1:
            places = ", ".join(item.root or f"{item.format.value} at the top" for item in found[:5])
            raise InvalidInput(f"The training output holds more than one model ({places}): leave one in it.")
        if found:
            return found[0]
        weights = [path for path in paths if path.endswith(_WEIGHTS)]
        if not weights:
            raise self._none()
        if any(path in _MAKERS for path in paths):
            return Found(Format.EAGER, self._main(weights))
        raise InvalidInput(
            f"{weights[0]} holds weights without the model: save the model with torch.jit.script(model).save(path),"
            f" or add {_MAKERS[0]} that makes it and keep the weights, best as safetensors, or export a SavedModel."
        )

    def _main(self, weights: list[str]) -> str:
        """The first by name in the largest group of files that differ in digits alone, as parts of one model do."""
        groups: dict[str, list[str]] = {}
        for path in weights:
            groups.setdefault(re.sub(r"\d+", "#", path), []).append(path)
        return max(groups.values(), key=lambda group: (sum(self.sizes[path] for path in group), group[0]))[0]

    def _none(self) -> InvalidInput:
        shown = ", ".join(list(self.sizes)[:3]) or "no file at all"
        return InvalidInput(
            f"The training output holds neither a TorchScript file nor a SavedModel (it has {shown}): save one of the"
            " two, an ONNX file, a .mar or a Triton model repository where the training job's output goes."
        )


def _models(paths: list[str], zips: Mapping[str, ZipKind]) -> Iterator[Found]:
    repositories = _repositories(paths)
    for root in repositories:
        yield Found(Format.TRITON, root)
    for path in paths:
        folder, _, name = path.rpartition("/")
        if any(root in ("", folder) or path.startswith(f"{root}/") for root in repositories):
            continue
        if name == "saved_model.pb":
            yield Found(Format.SAVED_MODEL, folder)
        elif name.endswith(".onnx"):
            yield Found(Format.ONNX, path)
        elif name.endswith(".mar") and zips.get(path) is ZipKind.MAR:
            yield Found(Format.MAR, path)
        elif name.endswith(_SCRIPTS) and zips.get(path) is ZipKind.TORCHSCRIPT:
            yield Found(Format.TORCHSCRIPT, path)


def _repositories(paths: Iterable[str]) -> list[str]:
    """The folders that Triton takes for a model, or for a repository where there are several in one folder.

    A model has its `config.pbtxt` beside a folder that is named by a number (Triton Inference Server, "Model
    Repository"). One that is made of others has nothing in that folder, which an archive then lacks, so beside a
    model the `config.pbtxt` is enough.
    """
    configured = [path.rpartition("/")[0] for path in paths if path.rpartition("/")[2] == _CONFIG]
    versioned = _versioned(paths)
    models = _outermost(folder for folder in configured if folder in versioned)
    roots = set()
    for model in models:
        parent = _parent(model)
        beside = [folder for folder in configured if folder != "" and _parent(folder) == parent]
        roots.add(parent if model and len(beside) > 1 else model)
    return sorted(roots)


def _versioned(paths: Iterable[str]) -> set[str]:
    """The folders with a folder in them whose name is a number."""
    found = set()
    for path in paths:
        parts = path.split("/")
        for at, part in enumerate(parts[:-1]):
            if part.isascii() and part.isdigit():
                found.add("/".join(parts[:at]))
    return found


def _outermost(folders: Iterable[str]) -> list[str]:
    """Those that are in none of the others."""
    kept: list[str] = []
    for folder in sorted(folders, key=lambda folder: folder.count("/") if folder else -1):
        if not any(other == "" or folder.startswith(f"{other}/") for other in kept):
            kept.append(folder)
    return kept


def _parent(folder: str) -> str:
    return folder.rpartition("/")[0]


def _macos(path: str) -> bool:
    return path.rpartition("/")[2].startswith("._") or path.startswith("__MACOSX/")
