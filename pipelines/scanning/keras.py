"""Code that Keras and TensorFlow models carry in ways of their own: Lambda layers, and operations that touch files.

A Lambda layer's function is marshalled Python bytecode, and loading the model runs it (Keras, layers/core/lambda_layer
.py). In a `.keras` file the layers are in `config.json` (Keras, saving/saving_lib.py). In HDF5 they are in the
attribute `model_config`, and in a SavedModel of Keras 2 in `keras_metadata.pb`, as JSON; these two files are searched
for the words, not parsed: attributes of HDF5 are not compressed, and JSON there cannot hide the words but by escapes,
which are searched for too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from pipelines.scanning.findings import Findings
from pipelines.scanning.inspector import Capture, Inspector, Search
from registry.facts import Severity

_CONFIG_MAX = 16 << 20
_LAMBDA, _BYTECODE, _ESCAPED, _SPELLED = b'"Lambda"', b'"__lambda__"', rb"\u00", b"u00"
_AROUND = 64
"""Bytes of the longer word where each of its letters is written as an escape, and a few."""
_OURS = ("keras", "tf_keras", "tensorflow", "builtins", "keras_nlp", "keras_cv", "keras_hub")
_OPERATIONS = (
    b"ReadFile",
    b"WriteFile",
    b"MatchingFiles",
    b"ImmutableConst",
    b"PyFunc",
    b"PyFuncStateless",
    b"EagerPyFunc",
)
"""Operations that read or write any file, or call Python (TensorFlow, SECURITY.md: models are programs)."""
_VARINT_MAX = 10


def keras_config(path: str, findings: Findings) -> Inspector:
    """Looks into a `.keras` file's `config.json`."""

    def judge(data: bytes, size: int) -> None:
        try:
            if size > len(data):
                raise ValueError
            layers = list(_objects(json.loads(data)))
        except (ValueError, RecursionError):
            findings.add(path, "keras-unreadable", Severity.DANGER, "the model's configuration cannot be read")
            return
        if any(item.get("class_name") in ("Lambda", "__lambda__") for item in layers):
            findings.add(path, "keras-lambda", Severity.DANGER, _LAMBDA_DETAIL)
        custom = sorted({name for item in layers if (name := _custom(item))})
        if custom:
            what = f"layers whose code is not Keras's own: {', '.join(custom[:5])}"
            findings.add(path, "keras-custom", Severity.WARNING, what)

    return Capture(_CONFIG_MAX, judge)


def keras_json(path: str, findings: Findings) -> Inspector:
    """Searches HDF5, or Keras's metadata in a SavedModel, for Lambda layers."""

    def judge(found: tuple[bytes, ...]) -> None:
        if {_LAMBDA, _BYTECODE, _SPELLED} & set(found):
            findings.add(path, "keras-lambda", Severity.DANGER, _LAMBDA_DETAIL)
        elif _ESCAPED in found:
            what = "letters written as escapes, which may hide a Lambda layer"
            findings.add(path, "keras-lambda", Severity.WARNING, what)

    return Search((_LAMBDA, _BYTECODE, _ESCAPED, _SPELLED), _AROUND, _counts, judge)


def saved_model(path: str, findings: Findings) -> Inspector:
    """Searches a `saved_model.pb` for operations that touch files or call Python.

    A name counts where its length stands before it, as protobuf writes strings, in whatever number of bytes.
    """

    def judge(found: tuple[bytes, ...]) -> None:
        for name in found:
            what = f"the model may use {name.decode()}, which reads or writes files, or calls Python"
            findings.add(path, "saved-model-op", Severity.WARNING, what)

    return Search(_OPERATIONS, 32, _is_string, judge)


_LAMBDA_DETAIL = "a Lambda layer: Python bytecode that runs when the model is loaded; export a SavedModel without it"


def _counts(needle: bytes, data: bytes, at: int) -> bool:
    """Any place counts for a word; an escape must be of a letter that JSON need not escape, or of one in a word."""
    if needle == _SPELLED:
        return _WORDS.search(data, max(0, at - _AROUND), at + _AROUND) is not None
    return needle != _ESCAPED or data[at + 4 : at + 5] in b"234567"


def _spelled(word: str) -> bytes:
    """A pattern for a word in JSON some of whose letters may be written as escapes."""
    return b"".join(rb"(?:%c|\\u00(?i:%02x))" % (ord(letter), ord(letter)) for letter in word)


_WORDS = re.compile(b'"(?:' + _spelled("Lambda") + b"|" + _spelled("__lambda__") + b')"')


def _is_string(needle: bytes, data: bytes, at: int) -> bool:
    before = data[max(0, at - _VARINT_MAX) : at]
    if before.endswith(bytes([len(needle)])):
        return True
    short = before.rstrip(b"\x80")
    padded = before.endswith(b"\0") and before[:-1].rstrip(b"\x80")
    return bool(short and padded and padded.endswith(bytes([len(needle) | 0x80])))


def _objects(root: Any) -> Iterator[dict[str, Any]]:
    """All objects in a JSON value."""
    left = [root]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            yield value
            left += value.values()
        elif isinstance(value, list):
            left += value


def _custom(item: dict[str, Any]) -> str:
    """The name of a layer that is nobody's but the user's; "" for others (Keras, `serialize_keras_object`)."""
    module, name = item.get("module"), item.get("class_name")
    if not isinstance(name, str) or "config" not in item:
        return ""
    if isinstance(module, str) and module.partition(".")[0] not in _OURS:
        return f"{module}.{name}"
    return name if module is None and item.get("registered_name") not in (None, name) else ""
