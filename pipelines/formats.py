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
        if not name.endswith((".pt", ".pth")):
            yield from chunks
            return
        tail = bytearray()
        for chunk in chunks:
            tail += chunk
            del tail[:-_TAIL]
            yield chunk
        if _is_torchscript(bytes(tail)):
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


def _is_torchscript(tail: bytes) -> bool:
    """Whether a zip whose end is `tail` has what torch.jit.save writes beside the weights.

    TorchScript keeps the model's code under `<name>/code/` and its constants in `<name>/constants.pkl`; torch.save
    writes neither (PyTorch, "TorchScript serialization", torch/csrc/jit/docs/serialization.md).
    """
    try:
        with zipfile.ZipFile(io.BytesIO(tail)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return False
    inside = {name.partition("/")[2] for name in names}
    return "constants.pkl" in inside and any(name.startswith("code/") for name in inside)
