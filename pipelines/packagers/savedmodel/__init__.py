"""TensorFlow Serving: a SavedModel, checked without TensorFlow."""

from pipelines.packagers.savedmodel.packager import SavedModelPackager

__all__ = ["SavedModelPackager"]
