"""Where an ONNX file keeps its weights, which may be any file of the server's (ONNX documentation, "External Data").

The packager asks the graph's own weights. But any tensor may lie elsewhere, those of nodes and of graphs in nodes too,
so the whole file is searched for the word by which it tells so.
"""

from __future__ import annotations

from pipelines.scanning.findings import Findings
from pipelines.scanning.inspector import Inspector, Search
from registry.facts import Severity

_KEY = b"location"
_PATH_MAX = 1024
_VARINT_MAX = 10
_KEY_TAG, _VALUE_TAG = 0x0A, 0x12
"""The fields of onnx.proto's StringStringEntryProto."""


def external_data(path: str, findings: Findings) -> Inspector:
    """Searches for tensors outside of the model's folder."""

    def judge(found: tuple[bytes, ...]) -> None:
        if found:
            what = "the model keeps weights outside its folder, and so reads whatever file lies there"
            findings.add(path, "onnx-external", Severity.DANGER, what)

    return Search((_KEY,), _PATH_MAX + 64, _leaves, judge)


def _leaves(_needle: bytes, data: bytes, at: int) -> bool:
    """Whether a path stands behind the key, or before it, which protobuf allows as well, that leaves the folder."""
    return _outside(_behind(data, at + len(_KEY))) or any(map(_outside, _before(data, at - 2)))


def _behind(data: bytes, at: int) -> bytes:
    tag, at = _varint(data, at)
    size, at = _varint(data, at)
    return data[at : at + size] if tag == _VALUE_TAG and size <= _PATH_MAX else b""


def _before(data: bytes, end: int) -> list[bytes]:
    """What may be the value that ends where the key begins."""
    if end < 0 or data[end] != _KEY_TAG:
        return []
    found, first = list[bytes](), max(0, end - _PATH_MAX - 2 * _VARINT_MAX)
    at = data.find(_VALUE_TAG, first, end)
    while at >= 0:
        size, start = _varint(data, at + 1)
        if start + size == end:
            found.append(data[start:end])
        at = data.find(_VALUE_TAG, at + 1, end)
    return found


def _outside(path: bytes) -> bool:
    return path.startswith((b"/", b"\\")) or b".." in path.replace(b"\\", b"/").split(b"/")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(at, min(at + _VARINT_MAX, len(data))):
        value |= (data[place] & 0x7F) << 7 * (place - at)
        if data[place] < 0x80:
            return value, place + 1
    return 0, len(data)
