"""Triton: a model repository, written from an ONNX or TorchScript file or passed through, with its config checked."""

from pipelines.packagers.triton.packager import TritonPackager

__all__ = ["TritonPackager"]
