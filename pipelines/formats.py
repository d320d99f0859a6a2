"""Telling what a training output holds, from what streams by."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from registry.errors import InvalidInput
from registry.facts import Format

_TAIL = 4 << 20
"""Bytes kept from a file's end: a zip's directory of some 40,000 entries fits."""


class Found(NamedTuple):
    """A format, and where in the archive it lies."""

    format: Format
    root: str


class Sniffer:
    """Watches the files of one archive and says in the end what they are together."""

    def __init__(self) -> None:
        self._found: list[Found] = []
        self._paths: list[str] = []
        self._checkpoints: list[str] = []

    def watch(self, path: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Pass a file's bytes on, and learn from them."""
        self._paths.append(path)
        folder, _, name = path.rpartition("/")
        if name == "saved_model.pb":
            self._found.append(Found(Format.SAVED_MODEL, folder))
        if not name.endswith((".pt", ".pth")) or name.startswith("._"):  # `._x` is what macOS notes about x
            yield from chunks
            return
        tail, size = bytearray(), 0
        for chunk in chunks:
            tail += chunk
            del tail[:-_TAIL]
            size += len(chunk)
            yield chunk
        if _is_torchscript(_End(bytes(tail), size)):
            self._found.append(Found(Format.TORCHSCRIPT, path))
        else:
            self._checkpoints.append(path)

    def verdict(self) -> Found:
        """The one model there is.

        Raises:
            InvalidInput: there is none that can be served, or more than one.
        """
        if len(self._found) == 1:
            return self._found[0]
        if self._found:
            places = ", ".join(found.root or "saved_model.pb" for found in self._found)
            raise InvalidInput(f"The training output holds more than one model ({places}): leave one in it.")
        if self._checkpoints:
            raise InvalidInput(
                f"{self._checkpoints[0]} holds weights without the model: save the model with torch.jit.script(model)"
                ".save(path), or export a SavedModel."
            )
        shown = ", ".join(self._paths[:3]) or "no file at all"
        raise InvalidInput(
            f"The training output holds neither a TorchScript file nor a SavedModel (it has {shown}): save one of the"
            " two where the training job's output goes."
        )


class _End(io.BytesIO):
    """A file of which only the end is there; positions are those of the whole file, as zip64's directory needs them."""

    def __init__(self, tail: bytes, size: int) -> None:
        super().__init__(tail)
        self._before = size - len(tail)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move as in the whole file.

        Raises:
            ValueError: nothing is known of that position.
        """
        return super().seek(offset - self._before if whence == io.SEEK_SET else offset, whence) + self._before

    def tell(self) -> int:
        """The position in the whole file."""
        return super().tell() + self._before


def _is_torchscript(end: _End) -> bool:
    """Whether a zip that ends so has what torch.jit.save writes beside the weights.

    TorchScript keeps the model's code under `<name>/code/` and its constants in `<name>/constants.pkl`; torch.save
    writes neither (PyTorch, "TorchScript serialization", torch/csrc/jit/docs/serialization.md).
    """
    try:
        with zipfile.ZipFile(end) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return False
    inside = {name.partition("/")[2] for name in names}
    return "constants.pkl" in inside and any(name.startswith("code/") for name in inside)
