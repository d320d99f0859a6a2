"""Choosing what looks into a file, by its name and by its first bytes."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from pipelines.scanning import keras, onnx, scripts, tensors, zipfields
from pipelines.scanning.findings import Budget, Findings
from pipelines.scanning.host import Host
from pipelines.scanning.inspector import Capture, Digest, Inspector, Piece, Skip
from pipelines.scanning.pickles import CAPTURE_MAX, HEAD, Trust, Verdict, looks_pickled
from pipelines.scanning.zipped import AMBIGUOUS, Contents, ZipInspector
from registry.facts import Severity

_TAIL = zipfields.END_SIZE + 4 + 0xFFFF
"""Where a zip's end may be, before a comment of any length."""
_ZIPS_MAX = 3
"""A `.mar` holds an exported program, and that a checkpoint; a zip inside of that is not looked into."""
_PICKLED = (".pkl", ".pickle", ".joblib", ".dill", ".debug_pkl")
_TORCH = (".pt", ".pth", ".ts", ".ckpt")
_HUGGING_FACE = re.compile(r"((diffusion_)?pytorch|adapter)_model.*\.bin|training_args\.bin|optimizer\.bin")
"""Other `.bin` files may be anything."""
_NATIVE = (".so", ".dll", ".dylib", ".pyc", ".pyo", ".pyd", ".exe")
_ELF = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
"""Programs of Linux and macOS, and Java's."""
_SCRIPTS = (".sh", ".bash", ".bat", ".cmd", ".ps1")
_ARCHIVE = re.compile(
    rb"\x1f\x8b\x08|BZh[1-9]1AY&SY|\xfd7zXZ\0|7z\xbc\xaf\x27\x1c|\x28\xb5\x2f\xfd|\x04\x22\x4d\x18|Rar!\x1a\x07"
    rb"|.{257}ustar",
    re.DOTALL,
)
"""gzip, bzip2, xz, 7z, zstd, lz4, rar and tar."""
_HDF5 = b"\x89HDF\r\n\x1a\n"
_HDF5_NAMES = (".h5", ".hdf5")
"""Something else may come first in them."""
_APPLE_DOUBLE = b"\0\5\x16\7"
"""What macOS notes of a file `x` in `._x`, which no other reader takes for anything (RFC 1740, appendix B)."""
_ARRAY = b"\x93NUMPY"


class Scene(NamedTuple):
    """Where a file is, and where to put what is found in it."""

    findings: Findings
    budget: Budget
    host: Host
    zips: int
    """How many zips it is inside of."""
    use: Callable[[str, Contents], None]
    """Told what the zips are that the training output holds."""


class Opening:
    """Looks at a file's first bytes, decides what is to look into it, and hands the bytes on to that."""

    def __init__(self, path: str, scene: Scene) -> None:
        self._path, self._scene = path, scene
        self._head, self._inner = bytearray(), list[Inspector]()

    def feed(self, piece: Piece) -> None:
        """Hand it on, or keep it until it is clear to what."""
        rest: Piece = piece
        if not self._inner:
            room = HEAD - len(self._head)
            self._head += piece[:room]
            if len(piece) < room:
                return
            rest = memoryview(piece)[room:]
            self._choose()
        for inner in self._inner:
            inner.feed(rest)

    def close(self) -> None:
        """The file's end."""
        if not self._inner:
            self._choose()
        for inner in self._inner:
            inner.close()

    def _choose(self) -> None:
        head = bytes(self._head)
        self._inner = choose(self._path, head, self._scene)
        for inner in self._inner:
            inner.feed(head)


class Tail:
    """Looks for a zip behind what begins as something else, which readers that start from the end would find."""

    def __init__(self, path: str, findings: Findings) -> None:
        self._path, self._findings = path, findings
        self._tail, self._size = b"", 0

    def feed(self, piece: Piece) -> None:
        """Keep the end."""
        self._size += len(piece)
        self._tail = bytes(piece[-_TAIL:]) if len(piece) >= _TAIL else (self._tail + piece)[-_TAIL:]

    def close(self) -> None:
        """Look for a zip's end."""
        if zipfields.hidden_end(self._tail, self._size - len(self._tail)):
            what = "a zip hides behind something else, so that it is two files in one"
            self._findings.add(self._path, AMBIGUOUS, Severity.DANGER, what)


def choose(path: str, head: bytes, scene: Scene) -> list[Inspector]:
    """What looks into a file that begins so."""
    name = path.rpartition("!")[2].rpartition("/")[2].lower()
    if head.startswith((zipfields.LOCAL, zipfields.END)):
        return [_zip(path, scene)]
    found: list[Inspector] = [Tail(path, scene.findings)]
    if head.startswith(_APPLE_DOUBLE):
        return found
    if name.endswith((*_PICKLED, *_TORCH)) or _HUGGING_FACE.fullmatch(name):
        return [*found, _pickle(path, Trust.NAMED, scene)]
    if looks_pickled(head):
        found.append(_pickle(path, Trust.LOOKS, scene))
    if name.endswith(".py"):
        found.append(scripts.file_operations(path, scene.host))
    found.append(_special(path, name, head, scene))
    return found


def _zip(path: str, scene: Scene) -> Inspector:
    if scene.zips == _ZIPS_MAX:
        scene.findings.add(path, "nested-archive", Severity.WARNING, "too many archives inside each other to look into")
        return Skip()

    def entry(inside: str, host: Host) -> Inspector:
        return Opening(inside, scene._replace(host=host, zips=scene.zips + 1, use=_nothing))

    return ZipInspector(path, scene.findings, scene.budget, entry, partial(scene.use, path))


def _nothing(_path: str, _contents: Contents) -> None:
    """What a zip is that lies in another says nothing of the training output."""


def _pickle(path: str, trust: Trust, scene: Scene) -> Inspector:
    return Capture(CAPTURE_MAX, Verdict(path, trust, scene.findings, scene.budget, scene.host).judge)


def _special(path: str, name: str, head: bytes, scene: Scene) -> Inspector:
    """What looks into a file that is no zip and no pickle."""
    findings = scene.findings
    if head.startswith(_ARRAY):
        pickled = Verdict(path, Trust.NAMED, findings, scene.budget, scene.host)
        return tensors.numpy_array(path, findings, pickled.judge, CAPTURE_MAX)
    if head.startswith(_HDF5) or name.endswith(_HDF5_NAMES) or name == "keras_metadata.pb":
        return keras.keras_json(path, findings)
    if name == "saved_model.pb":
        return keras.saved_model(path, findings)
    if path.lower().endswith(".keras!config.json"):
        return keras.keras_config(path, findings)
    if name.endswith(".onnx"):
        return onnx.external_data(path, findings)
    if name.endswith(".safetensors"):
        return tensors.safetensors(path, findings)
    if name.endswith(".py"):
        return Digest(partial(scene.host.code, path))
    _remark(path, name, head, findings)
    return Skip()


def _remark(path: str, name: str, head: bytes, findings: Findings) -> None:
    """Note what a file is that nothing looks into, where that matters."""
    if name.endswith(_NATIVE) or head.startswith(_ELF) or (head.startswith(b"MZ") and b"PE\0\0" in head):
        findings.add(path, "native-code", Severity.WARNING, "compiled code, which nobody can read before it runs")
    elif _ARCHIVE.match(head):
        findings.add(path, "nested-archive", Severity.WARNING, "an archive inside the archive; nothing looked into it")
    elif name.endswith(_SCRIPTS) or head.startswith(b"#!"):
        findings.add(path, "script", Severity.NOTE, "a shell script")
