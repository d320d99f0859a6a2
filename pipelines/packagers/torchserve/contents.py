"""What of a training output goes into its `.mar`, and where: decided from the paths alone, before any byte is read.

TorchServe puts the model's folder on its workers' import path, so any Python there could become their code, even in
the name of a module they need. These are the rules:

- The model's own file, and every shard of it, comes along.
- Where there is a handler of the user's, or `model.py` beside eager weights, its folder is the user's code and comes
  along whole: `code/`, or at the top of the output all Python there is. No other Python, compiled or not, does.
- Any other file is data that a handler may read, and comes along: labels, vocabularies, tokenizers.
- `requirements.txt` and `model-config.yaml`, from the top or from `code/`, lie at the top, as TorchServe wants them.
- Hidden files, caches, notes of operating systems, TensorBoard's logs and what Python would run unasked stay out.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from pipelines.packagers.torchserve.handlers import (
    CODE_FOLDER,
    CODE_MAX,
    OWN_HANDLERS,
    SAGEMAKER_HANDLER,
    SLUICE_HANDLER,
    candidates,
)
from pipelines.packagers.torchserve.manifest import MANIFEST
from registry.errors import InvalidInput
from registry.facts import Format, Scan

REQUIREMENTS, CONFIG, MODEL_FILE = "requirements.txt", "model-config.yaml", "model.py"
_RESERVED = {SLUICE_HANDLER, SAGEMAKER_HANDLER, REQUIREMENTS, CONFIG}
_PYTHON = re.compile(r"\.(?:py|pyw|pyc|pyo|pyd|so|dylib|dll|egg|whl)$", re.IGNORECASE)
_JUNK = re.compile(
    r"(?:^|/)(?:\.|__pycache__/|__MACOSX/|Thumbs\.db$|desktop\.ini$|events\.out\.tfevents\.)|\.py[co]$|\.mar$",
    re.IGNORECASE,
)
_UNASKED = re.compile(
    r"(?:^|/)(?:sitecustomize|usercustomize)(?:[./]|$)|\.(?:dist-info|egg-info|egg)/",
    re.IGNORECASE,
)
"""What Python imports at its start, and where it looks for plug-ins (documentation of `site`, `importlib.metadata`)."""
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")


class Plan(NamedTuple):
    """What comes along from one training output."""

    root: str
    candidates: tuple[str, ...]
    """Files one of which is the user's handler; none where there is no such handler."""
    own: str
    """The name of TorchServe's own handler that serves, "" where another one does."""
    model_file: str
    """The file whose one class is the model of eager weights, "" where there is none."""
    requirements: str
    config: str

    @property
    def noted(self) -> tuple[str, ...]:
        """The small files whose content matters for the rest of the archive."""
        return tuple(filter(None, (*self.candidates, self.model_file, self.config)))

    def place(self, path: str) -> str | None:
        """Where a file of the training output lies in the `.mar`, None where it stays out."""
        moved = {self.root: self.root, self.requirements: REQUIREMENTS, self.config: CONFIG}.get(path)
        if moved is not None:
            return moved
        if (
            path in _RESERVED
            or path.casefold().split("/")[0] == "mar-inf"
            or _JUNK.search(path)
            or _UNASKED.search(path)
        ):
            return None
        if _PYTHON.search(path):
            return self._code_place(path)
        return path

    def _code_place(self, path: str) -> str | None:
        if self.candidates:
            return path if path.startswith(self._folder) or path == self.model_file else None
        if not self.model_file or not path.startswith(self._folder):
            return None
        # without a handler of their own nothing puts `code/` on the import path, so what is in it lies at the top
        moved = path.removeprefix(self._folder)
        return None if moved in _RESERVED else moved

    @property
    def _folder(self) -> str:
        """The folder of the user's code; "" is the top, and so all there is."""
        first = self.candidates[0] if self.candidates else self.model_file
        return CODE_FOLDER if first.startswith(CODE_FOLDER) else ""


def plan(scan: Scan, own: str) -> Plan:
    """What comes along; `own` is what model.yaml names as the handler, and comes before what the output brings.

    Raises:
        InvalidInput: TorchServe has no such handler, or nothing could make a model of these weights.
    """
    if own and own not in OWN_HANDLERS:
        raise InvalidInput(f"TorchServe has no handler {own}: name one of {', '.join(OWN_HANDLERS)} in model.yaml.")
    sizes = {file.path: file.size for file in scan.files}
    users = () if own else candidates(sizes)
    eager = scan.format is Format.EAGER
    made = Plan(
        root=scan.root,
        candidates=users,
        own=own,
        model_file=_first(sizes, MODEL_FILE, "") if eager else "",
        requirements=_first(sizes, REQUIREMENTS, users[0] if users else ""),
        config=_first(sizes, CONFIG, users[0] if users else ""),
    )
    if users and sizes.get(made.model_file, 0) > CODE_MAX:
        made = made._replace(model_file="")  # the handler may do without
    for path in made.noted:
        if sizes[path] > CODE_MAX:
            raise InvalidInput(
                f"{path} has {sizes[path]} bytes, and {CODE_MAX} are the most: move data out of it into another file."
            )
    _check(made, scan.format)
    return made


def is_code(path: str) -> bool:
    """Whether a file of a `.mar` changes with the code rather than with the weights."""
    return path in (MANIFEST, REQUIREMENTS, CONFIG) or path.startswith(CODE_FOLDER) or path.endswith(".py")


def _first(paths: Collection[str], name: str, handler: str) -> str:
    """The file of that name: the one beside the handler before the other."""
    places = (name, CODE_FOLDER + name)
    ordered = reversed(places) if handler.startswith(CODE_FOLDER) else places
    return next((path for path in ordered if path in paths), "")


def _check(made: Plan, form: Format) -> None:
    """Look for what makes the model, where that is not the user's handler."""
    if made.candidates:
        return
    ending = ".pt" if form is Format.TORCHSCRIPT else (".pt", ".pth", ".bin")
    if made.own and not made.root.endswith(ending):
        raise InvalidInput(
            f"{made.own} does not read {made.root}: save it as model.pt, or take that handler out of model.yaml."
        )
    if form is Format.TORCHSCRIPT:
        return
    if not made.model_file:
        raise InvalidInput(
            f"{made.root} holds weights, and no code says which model they belong to: put code/inference.py with"
            " model_fn(model_dir) beside them, or model.py with the model's class, or save the model with"
            " torch.jit.script(model).save(path)."
        )
    if _SHARD.search(made.root):
        raise InvalidInput(
            f"{made.root} is one shard of several, which only your own code can put together: put code/inference.py"
            " with model_fn(model_dir) beside them."
        )
