"""TorchServe: a `.mar` archive (TorchServe documentation, "Torch Model archiver for TorchServe").

A `.mar` is a zip of the model's files with `MAR-INF/MANIFEST.json`. Inside an image it lies unpacked, which TorchServe
loads without a copy.
"""

from __future__ import annotations

from pipelines.packagers.torchserve.packager import TorchServePackager

__all__ = ["TorchServePackager"]
