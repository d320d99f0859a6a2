"""Where in a model repository each file of a training output goes, which is decided by paths alone.

The repository is written while the training output streams by, so the name of a folder has to be known before its
config has been seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from posixpath import basename, dirname
from typing import NamedTuple

from pipelines.packagers.signatures import ML_MODEL, SAMPLE, SIGNATURE
from pipelines.packagers.triton.checks import versions_of
from pipelines.packagers.triton.config import CONFIG
from registry.errors import InvalidInput
from registry.facts import FileFact, Format, Scan

_NO_WEIGHTS = (".py", ".json", ".yaml", ".yml", ".txt", ".md", ".pt", ".pth", ".ckpt", ".safetensors", ".onnx")
"""Endings of files that no ONNX model keeps its weights in."""


class _Folder(NamedTuple):
    """A folder of a repository: its files by their paths in it."""

    files: Mapping[str, FileFact]

    @property
    def is_model(self) -> bool:
        return CONFIG in self.files or bool(versions_of(self.files))

    @property
    def has_model_files(self) -> bool:
        """Whether a version's folder has more than what keeps git from losing it, as an ensemble's has not."""
        inside = ((path, fact) for path, fact in self.files.items() if versions_of([path]))
        return any(fact.size and not basename(path).startswith(".") for path, fact in inside)


def places(scan: Scan, model: str) -> Mapping[str, str]:
    """For the path of each file that is taken along, its path in the repository, where the model is called `model`.

    Raises:
        InvalidInput: there are several models, and it is not plain which of them is the one to serve.
    """
    if scan.format is Format.TRITON:
        return _repository(scan, model)
    target = {Format.ONNX: "model.onnx", Format.TORCHSCRIPT: "model.pt"}[scan.format]
    folder = dirname(scan.root)
    found = {scan.root: f"{model}/1/{target}"}
    for fact in scan.files:
        name = basename(fact.path)
        if fact.path == scan.root or dirname(fact.path) != folder:
            continue
        if name == CONFIG:
            found[fact.path] = f"{model}/{CONFIG}"
        elif scan.format is Format.ONNX and _may_hold_weights(name):
            found[fact.path] = f"{model}/1/{name}"
    return found


def _may_hold_weights(name: str) -> bool:
    # which files do is known only once the .onnx has been read, and they may come before it
    return not name.endswith(_NO_WEIGHTS) and not name.startswith(".") and name not in (SIGNATURE, SAMPLE, ML_MODEL)


def _repository(scan: Scan, model: str) -> Mapping[str, str]:
    root = scan.root + "/" if scan.root else ""
    inside = {fact.path.removeprefix(root): fact for fact in scan.files if fact.path.startswith(root)}
    if _Folder(inside).is_model:
        return {fact.path: f"{model}/{path}" for path, fact in inside.items()}
    folders = {name: folder for name, folder in _folders(inside).items() if folder.is_model}
    served = _served(folders, model)
    return {
        fact.path: f"{model if name == served else name}/{path}"
        for name, folder in folders.items()
        for path, fact in folder.files.items()
    }


def _folders(files: Mapping[str, FileFact]) -> Mapping[str, _Folder]:
    found: dict[str, dict[str, FileFact]] = {}
    for path, fact in files.items():
        name, slash, rest = path.partition("/")
        if slash:
            found.setdefault(name, {})[rest] = fact
    return {name: _Folder(inside) for name, inside in found.items()}


def _served(folders: Mapping[str, _Folder], model: str) -> str:
    if model in folders:
        return model
    candidates = [name for name, folder in folders.items() if not folder.has_model_files]
    if len(folders) == 1:
        candidates = list(folders)
    if len(candidates) != 1:
        raise InvalidInput(
            f"The model repository holds {_listed(folders)}, and it is not plain which of them is to be served: name"
            f" that one's folder {model}."
        )
    return candidates[0]


def _listed(names: Iterable[str]) -> str:
    names = sorted(names)
    return (", ".join(name[:80] for name in names[:5]) + (" …" if len(names) > 5 else "")) or "no model"
