"""TorchScript's code, which its own interpreter runs: no Python, but it has operations that open files by name."""

from __future__ import annotations

import re

from pipelines.scanning.host import Host
from pipelines.scanning.inspector import Inspector, Search

_SAVE, _MAP = b"save", b"from_file"
_CALL = re.compile(rb"\s*\(")
_BLANKS = b" \t\r\n"


def file_operations(path: str, host: Host) -> Inspector:
    """Searches code for calls of `torch.save`, which writes a file, and of `torch.from_file`, which maps one and may
    write to it.
    """

    def judge(found: tuple[bytes, ...]) -> None:
        if found:
            host.opens(path, " and ".join(name.decode() for name in sorted(found)))

    return Search((_SAVE, _MAP), 64, _is_called, judge)


def _is_called(needle: bytes, data: bytes, at: int) -> bool:
    """Whether something of that name is called, by its module or as a method."""
    return data[:at].rstrip(_BLANKS).endswith(b".") and _CALL.match(data, at + len(needle)) is not None
