"""Packagers: from what a training output holds to what a model server reads."""

from __future__ import annotations

from pipelines.packagers.base import Concern, Layout, Packager, PackRequest
from pipelines.packagers.savedmodel import SavedModelPackager
from pipelines.packagers.torchserve import TorchServePackager
from registry.facts import Artifact, Format, Scan

__all__ = ["Concern", "Layout", "PackRequest", "Packager", "packager_for", "packager_of"]

_BY_FORMAT: dict[Format, Packager] = {
    Format.TORCHSCRIPT: TorchServePackager(),
    Format.SAVED_MODEL: SavedModelPackager(),
}


def packager_for(scan: Scan) -> Packager:
    """The packager for what a scan found."""
    return _BY_FORMAT[scan.format]


def packager_of(artifact: Artifact) -> Packager:
    """The packager that made an artifact."""
    return next(packager for packager in _BY_FORMAT.values() if packager.type == artifact.type)
