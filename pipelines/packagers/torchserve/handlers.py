"""Finding the handler that a training output brings along, and telling what kind it is, without running any of it.

TorchServe takes a module with a function `handle(data, context)` or with one class (ts/model_loader.py, 0.12).
SageMaker's inference toolkit takes a module with some of `model_fn`, `input_fn`, `predict_fn`, `output_fn`, or
`transform_fn` in place of the last three (SageMaker Python SDK documentation, "Deploy PyTorch Models").
"""

from __future__ import annotations

import ast
import warnings
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from enum import Enum, auto
from importlib import resources
from typing import NamedTuple

from registry.errors import InvalidInput

CODE_MAX = 256 * 1024
"""Bytes of a Python file that is looked into: its syntax tree takes some two hundred times as much memory."""
CODE_FOLDER = "code/"
_NAMES = ("inference.py", "handler.py")
OWN_HANDLERS = (
    "base_handler",
    "dali_image_classifier",
    "image_classifier",
    "image_segmenter",
    "object_detector",
    "text_classifier",
    "trt_llm_handler",
    "vllm_handler",
)
"""The handlers that TorchServe 0.12 has itself (ts/torch_handler), as torch-model-archiver knows them."""
SLUICE_HANDLER, SAGEMAKER_HANDLER = "sluice_handler.py", "sluice_sagemaker_handler.py"
_MODEL_FN, _TRANSFORM_FN = "model_fn", "transform_fn"
_PARTS = frozenset(("input_fn", "predict_fn", "output_fn"))


class Style(Enum):
    """What a user's handler is written for."""

    TORCHSERVE = auto()
    SAGEMAKER = auto()


class Handler(NamedTuple):
    """A user's handler."""

    path: str
    style: Style
    makes_model: bool
    """Whether it makes the model itself; SageMaker's default for that reads TorchScript alone."""


class _Class(NamedTuple):
    """What is seen of a class."""

    name: str
    methods: frozenset[str]
    bases: tuple[str, ...]

    @property
    def handles(self) -> bool:
        """Whether TorchServe could call it: it has both methods, or is derived from what looks as if it had."""
        return {"initialize", "handle"} <= self.methods or any(base.endswith("Handler") for base in self.bases)


class Outline(NamedTuple):
    """What a Python module binds at its top level."""

    names: frozenset[str]
    classes: tuple[_Class, ...]


def shipped(name: str) -> bytes:
    """The source of a handler of Sluice's own."""
    return resources.files("pipelines.packagers").joinpath("handlers", name).read_bytes()


def candidates(paths: Collection[str]) -> tuple[str, ...]:
    """The files that may be a handler, the likeliest first: those under `code/`, else those at the top."""
    for folder in (CODE_FOLDER, ""):
        found = tuple(folder + name for name in _NAMES if folder + name in paths)
        if found:
            return found
    return ()


def choose(sources: Iterable[tuple[str, bytes]]) -> Handler:
    """The first of some Python files that is a handler.

    Raises:
        InvalidInput: none is, or one is and TorchServe could not take it.
    """
    tried = []
    for path, source in sources:
        tried.append(path)
        found = handler_in(path, outline(path, source))
        if found is not None:
            return found
    raise InvalidInput(
        f"{' and '.join(tried)} define no handler: give one model_fn(model_dir) or a function handle(data, context), or"
        " name one of TorchServe's own as handler in model.yaml."
    )


def handler_in(path: str, module: Outline) -> Handler | None:
    """The handler that a module is, None where it is none.

    Raises:
        InvalidInput: it contradicts itself.
    """
    functions = module.names & {_MODEL_FN, _TRANSFORM_FN, *_PARTS}
    if _TRANSFORM_FN in functions and functions & _PARTS:
        raise InvalidInput(
            f"{path} defines transform_fn beside {', '.join(sorted(functions & _PARTS))}, which it stands for: keep"
            " either."
        )
    if functions:
        return Handler(path, Style.SAGEMAKER, _MODEL_FN in functions)
    if "handle" in module.names:
        return Handler(path, Style.TORCHSERVE, makes_model=True)
    if not any(found.handles for found in module.classes):
        return None
    if len(module.classes) > 1:
        names = ", ".join(found.name for found in module.classes[:5])
        raise InvalidInput(
            f"{path} defines {len(module.classes)} classes ({names}), and TorchServe takes a handler from a module with"
            " one only: move the others to another file, or add a function handle(data, context)."
        )
    return Handler(path, Style.TORCHSERVE, makes_model=True)


def outline(path: str, source: bytes) -> Outline:
    """What a module binds, by its text.

    Raises:
        InvalidInput: it is too large, or not Python.
    """
    if len(source) > CODE_MAX:
        raise InvalidInput(
            f"{path} has {len(source)} bytes, and {CODE_MAX} are the most: move data out of it into a file of its own."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that it should not use: not ours to tell
            tree = ast.parse(source)
    except (SyntaxError, ValueError, LookupError, RecursionError, MemoryError) as error:
        where = f" (line {error.lineno}: {error.msg})" if isinstance(error, SyntaxError) and error.lineno else ""
        raise InvalidInput(f"{path} is not Python that can be read{where}: correct it.") from error
    names, classes = set[str](), list[_Class]()
    for statement in _statements(tree.body):
        names.update(_bound(statement))
        if isinstance(statement, ast.ClassDef):
            classes.append(_class(statement))
    return Outline(frozenset(names), tuple(classes))


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, also those that it runs under a condition."""
    left = deque(body)
    while left:
        statement = left.popleft()
        if isinstance(statement, ast.If):
            left.extend((*statement.body, *statement.orelse))
        elif isinstance(statement, ast.Try):
            left.extend((*statement.body, *statement.orelse, *statement.finalbody))
            left.extend(inner for handler in statement.handlers for inner in handler.body)
        elif isinstance(statement, ast.With):
            left.extend(statement.body)
        else:
            yield statement


def _bound(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name for alias in statement.names)
    elif isinstance(statement, ast.Assign):
        yield from (target.id for target in statement.targets if isinstance(target, ast.Name))
    elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        yield statement.target.id


def _class(found: ast.ClassDef) -> _Class:
    methods = (inner.name for inner in found.body if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef))
    return _Class(found.name, frozenset(methods), tuple(filter(None, map(_base, found.bases))))


def _base(node: ast.expr) -> str:
    """The last word of a base class's name."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
