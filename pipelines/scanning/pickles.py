"""Whether a pickle would run code when it is loaded.

What a pickle may name and call is on a list (`allowed`); all else is dangerous, known to be so or not. Next to that
stands picklescan, which knows many dangerous names; the worse of the two verdicts counts. Deny-lists alone were
weighed. modelscan 0.8.8 let through `pip`, `ctypes`, `timeit`, `cProfile`, every module it has not heard of and any
file with an unusual name; picklescan 1.0.5 calls `torch.load`, `torch.storage._load_from_bytes`,
`importlib.import_module` and what it has not heard of suspicious, not dangerous, and passes over unusual names too. An
allowlist needs no update when a new way around a deny-list is found.
"""

from __future__ import annotations

import re
from enum import Enum

from pipelines.scanning.allowed import ALLOWED, script_class
from pipelines.scanning.findings import Budget, Exhausted, Findings
from pipelines.scanning.host import Host
from pipelines.scanning.opcodes import Pickles, Unreadable
from pipelines.scanning.second import dangerous
from registry.facts import Severity

HEAD = 512
"""Bytes of a file by which it is told whether it may be a pickle."""
CAPTURE_MAX = 32 << 20
"""Bytes of a file that are kept to look for pickles in them. That of a checkpoint of 1 GB has some 100 kB."""
_PICKLES_MAX = 10_000
"""Pickles in one file."""
_LEGACY_PICKLES, _LEGACY_WEIGHTS = 5, 3
_LEGACY = re.compile(rb"\x80[\x02-\x05](?:\x95.{8})?\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\.", re.DOTALL)
"""The number that torch.save wrote first before version 1.6; four pickles and then raw tensors follow (PyTorch,
torch/serialization.py, `_legacy_save`)."""
_HEADER = re.compile(rb"\x80[\x00-\x05]")
_OLD_GLOBAL = re.compile(rb"[\](}()lNdt]*[ci][A-Za-z_][\w.]*\r?\n[A-Za-z_][\w.]*\r?\n")
"""How a pickle of protocol 0 or 1 begins that names a global; so may a list of words."""
_PLAIN_NAME = re.compile(r"[A-Za-z_][\w.]*")

UNREADABLE, UNCHECKED = "pickle-unreadable", "pickle-unchecked"


class Trust(Enum):
    """Why a file is read as a pickle."""

    NAMED = "named"
    """By its name: it must be one."""
    LOOKS = "looks"
    """By its first bytes: it may be something else that begins so by chance."""


def looks_pickled(head: bytes) -> bool:
    """Whether a file that begins so may be a pickle."""
    return _HEADER.match(head) is not None or _OLD_GLOBAL.match(head) is not None or _walks(head)


def _walks(head: bytes) -> bool:
    """Whether a machine for pickles comes to a global, into a third pickle or to the end: protocols 0 and 1 have no
    header, and a pickle may begin with anything that is dropped again.
    """
    pickles, read = Pickles(head, Budget(), _nothing, _nothing), 0
    try:
        while pickles.position < len(head):
            pickles.one()
            read += 1
    except Unreadable:
        return bool(pickles.names) or read > 1 or pickles.position == len(head) == HEAD
    return read > 0


def _nothing(*_: str) -> None:
    """What a pickle names and does is of interest only once it is one."""


def _string_fits(data: bytes, size: int) -> bool:
    """Whether a file of `size` bytes begins with a string that ends in it, as words that begin so by chance do not."""
    width = {b"X": 4, b"T": 4, b"B": 4, b"\x8d": 8, b"\x8e": 8, b"\x96": 8}.get(data[:1])
    if width is None:
        return data.startswith((b"V", b"S'", b'S"'))
    return 1 + width + int.from_bytes(data[1 : 1 + width], "little") < size


class Verdict:
    """Judges the pickles of one file, and notes what it finds."""

    def __init__(self, path: str, trust: Trust, findings: Findings, budget: Budget, host: Host) -> None:
        self._path, self._trust, self._findings, self._budget, self._host = path, trust, findings, budget, host
        self._bad: list[tuple[Severity, str, str]] = []
        self._denied = set[str]()
        self._scripts = list[str]()

    def judge(self, data: bytes, size: int) -> None:
        """Look at a file of `size` bytes of which `data` are the first."""
        pickles = Pickles(data, self._budget, self._named, self._odd)
        read = self._read(pickles, data, size)
        if self._trust is Trust.LOOKS and not (read or pickles.called or self._sure(data, size, pickles)):
            return
        for name in dangerous(data, pickles):
            if name not in self._denied:
                self._bad.append((Severity.DANGER, "picklescan", f"picklescan calls {name} dangerous"))
        for name in self._scripts:
            self._host.script(self._path, name)
        for severity, rule, detail in self._bad:
            self._findings.add(self._path, rule, severity, detail)
        if not self._bad:
            self._host.harmless(self._path)

    def _read(self, pickles: Pickles, data: bytes, size: int) -> int:
        """Read the pickles, and give how many there are."""
        most = _LEGACY_PICKLES if _LEGACY.match(data) else _PICKLES_MAX
        read = 0
        try:
            while read < most and (pickles.position < len(data) or not read):
                pickles.one()
                read += 1
        except Exhausted:
            self._bad.append((Severity.DANGER, UNCHECKED, "the pickles are too long to check"))
            return read
        except Unreadable as error:
            if size > len(data) and pickles.position == len(data):
                self._too_large(data, size)
            else:
                self._unreadable(read, error)
            return read
        if most == _PICKLES_MAX and (size > len(data) or pickles.position < len(data)):
            self._too_large(data, size)
        return read

    def _too_large(self, data: bytes, size: int) -> None:
        what = f"it is too large to check for pickles: {size} bytes, and {len(data)} of them were read"
        self._bad.append((Severity.DANGER, UNCHECKED, what))

    def _unreadable(self, read: int, error: Unreadable) -> None:
        # torch.load reads three pickles before the weights, and may know what is written in an odd way, as may be the
        # number that the first of them is
        if 0 < read < _LEGACY_WEIGHTS:
            what = "something that is no pickle follows the pickle"
            self._bad.append((Severity.WARNING, "pickle-trailing", what))
        else:
            self._bad.append((Severity.DANGER, UNREADABLE, f"it is no pickle that can be checked ({error})"))

    def _sure(self, data: bytes, size: int, pickles: Pickles) -> bool:
        """Whether what looks like a pickle and breaks off is one, since it names a global as pickles do, or goes on."""
        unchecked = any(rule == UNCHECKED for _, rule, _ in self._bad)
        if _HEADER.match(data):
            return unchecked or any(map(_PLAIN_NAME.fullmatch, self._denied))
        return unchecked and (pickles.opcodes > 0 or _string_fits(data, size))

    def _named(self, module: str, name: str) -> None:
        full = f"{module}.{name}"
        if script_class(module, name):
            self._scripts.append(full)
        elif (module, name) not in ALLOWED:
            self._denied.add(full)
            what = f"the pickle imports {full}, which weights do not need, and may run it when it is loaded"
            self._bad.append((Severity.DANGER, "pickle-global", what))
        elif (severity := ALLOWED[module, name]) is not None:
            self._bad.append((severity, "pickle-odd", f"the pickle makes {full}, which is no tensor"))

    def _odd(self, what: str) -> None:
        bad = (Severity.DANGER, "pickle-call", f"the pickle {what}")
        if bad not in self._bad:
            self._bad.append(bad)
