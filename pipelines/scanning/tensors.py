"""Files of tensors that are no pickles, or are not quite."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from pipelines.scanning.findings import Findings
from pipelines.scanning.inspector import Capture, Inspector
from registry.facts import Severity

_HEADER_MAX = 16 << 20
"""Bytes of a safetensors header that are read. The format allows 100 MB; that of a model of 100,000 tensors has 10."""
_NPY = re.compile(rb"\x93NUMPY(?:\x01.(..)|[\x02\x03].(....))", re.DOTALL)
_TYPE = rb"'[|<>=]?[?biufcmMSUV]\d*+(?:\[\w+\])?'"
_FIELD = rb"\(\s*+'[^'\\\n]*'\s*+,\s*+" + _TYPE + rb"\s*+(?:,\s*+\([\d,\s]*+\)\s*+)?\)\s*+,?\s*+"
_ITEM = (
    rb"(?:'descr'\s*+:\s*+(?:" + _TYPE + rb"|\[\s*+(?:" + _FIELD + rb")++\])"
    rb"|'fortran_order'\s*+:\s*+(?:True|False)|'shape'\s*+:\s*+\([\d,\sL]*+\))\s*+,?\s*+"
)
_NUMBERS = re.compile(rb"\s*+\{\s*+(?:" + _ITEM + rb"){3}\}\s*+")
"""The header of an array of numbers or short strings. numpy evaluates headers as Python, in which one can write the
type of Python objects in endless ways, so all but the usual headers may be of that."""
_USUAL_MAX = 10_000
"""Bytes of a header that numpy reads where it is not told to read pickles too."""


def safetensors(path: str, findings: Findings) -> Inspector:
    """Checks a header (safetensors, README, "Format")."""

    def judge(data: bytes, size: int) -> None:
        problem = _problem(data, size)
        if problem:
            findings.add(path, "safetensors", Severity.WARNING, f"no sound safetensors file: {problem}")

    return Capture(8 + _HEADER_MAX, judge)


def numpy_array(path: str, findings: Findings, pickled: Callable[[bytes, int], None], most: int) -> Inspector:
    """Looks at an array; one of objects is a pickle behind a header (NumPy, numpy.lib.format, "Format Version 1.0"),
    which `pickled` judges: its first bytes, `most` of them with the header, and the size of all.
    """

    def judge(data: bytes, size: int) -> None:
        match = _NPY.match(data)
        length = int.from_bytes(match[1] or match[2], "little") if match else 0
        start = match.end() + length if match else 0
        if match is None or start > size:
            findings.add(path, "numpy", Severity.WARNING, "no sound array of numpy's: its header is cut short")
        elif length > _USUAL_MAX or not _NUMBERS.fullmatch(data, match.end(), start):
            what = "an array that may be of Python objects, which is a pickle"
            findings.add(path, "numpy", Severity.WARNING, what)
            pickled(data[start:], size - start)

    return Capture(most, judge)


def _problem(data: bytes, size: int) -> str:
    """What is wrong with a safetensors file of `size` bytes that begins with `data`; "" where nothing is."""
    length = int.from_bytes(data[:8], "little")
    if size < 8 or length > size - 8:
        return "its header is longer than the file"
    if length > len(data) - 8:
        return "its header is too long to check"
    try:
        header = json.loads(data[8 : 8 + length], object_pairs_hook=_unique)
        tensors = {name: item for name, item in dict(header).items() if name != "__metadata__"}
        spans = sorted((int(item["data_offsets"][0]), int(item["data_offsets"][1])) for item in tensors.values())
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, OverflowError):
        return "its header cannot be read"
    at = 0
    for start, end in spans:
        if start != at or end < start:
            return "its tensors overlap, or leave gaps"
        at = end
    return "" if at == size - 8 - length else "its tensors are not as long as the file"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object none of whose keys are there twice.

    Raises:
        ValueError: one is.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found
