"""Packagers: from what a training output holds to what a model server reads."""

from __future__ import annotations

from gitops.release import Runtime
from pipelines.packagers.base import Concern, Layout, Packager, Packed, PackRequest
from pipelines.packagers.savedmodel import SavedModelPackager
from pipelines.packagers.torchserve import TorchServePackager
from pipelines.packagers.triton import TritonPackager
from registry.errors import InvalidInput, Refused
from registry.facts import Artifact, Format, Scan

__all__ = ["Concern", "Layout", "PackRequest", "Packager", "Packed", "packager_for", "packager_of"]

_TORCHSERVE, _SAVED_MODEL, _TRITON = TorchServePackager(), SavedModelPackager(), TritonPackager()
_ALL: tuple[Packager, ...] = (_TORCHSERVE, _SAVED_MODEL, _TRITON)
_BY_FORMAT: dict[Format, tuple[Packager, ...]] = {
    Format.TORCHSCRIPT: (_TORCHSERVE, _TRITON),
    Format.EAGER: (_TORCHSERVE,),
    Format.MAR: (_TORCHSERVE,),
    Format.SAVED_MODEL: (_SAVED_MODEL,),
    Format.ONNX: (_TRITON,),
    Format.TRITON: (_TRITON,),
}
"""What can be made of each format, the default first."""


def packager_for(scan: Scan, runtime: Runtime | None = None) -> Packager:
    """The packager for what a scan found: for the model server that is asked for, else for the usual one.

    Raises:
        Refused: that server had support for the format, and has it no more.
        InvalidInput: that server does not read the format.
    """
    possible = _BY_FORMAT[scan.format]
    found = next((packager for packager in possible if runtime in (None, packager.runtime)), None)
    if found is not None:
        return found
    assert runtime is not None  # noqa: S101  # each format has a packager
    if (scan.format, runtime) == (Format.SAVED_MODEL, Runtime.TRITON):
        raise Refused(
            "Triton cannot serve a SavedModel: its TensorFlow backend was removed after release 25.02; set runtime:"
            " tensorflow-serving in model.yaml, or export the model to ONNX."
        )
    fitting = " or ".join(packager.runtime.value for packager in possible)
    raise InvalidInput(f"{runtime.value} does not serve {scan.format.value}: set runtime: {fitting} in model.yaml.")


def packager_of(artifact: Artifact) -> Packager:
    """The packager that made an artifact."""
    return next(packager for packager in _ALL if packager.type == artifact.type)
