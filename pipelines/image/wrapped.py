"""A destination around another one: what it does not say itself, the other one does."""

from __future__ import annotations

from pipelines.image.content import Content
from pipelines.image.images import Destination, Reference
from pipelines.image.oci import Descriptor
from registry.store import Blob


class WrappedDestination:
    """Passes everything on to `inner`, whose errors it raises; for those that change a little of that."""

    def __init__(self, inner: Destination) -> None:
        self._inner = inner

    def has(self, model: str, digest: str) -> bool:
        """Whether the wrapped destination has these bytes."""
        return self._inner.has(model, digest)

    def prepare(self, model: str) -> None:
        """Make the repository in the wrapped destination."""
        self._inner.prepare(model)

    def put(self, model: str, content: Content) -> Blob:
        """Have the bytes in the wrapped destination."""
        return self._inner.put(model, content)

    def reference(self, model: str, digest: str) -> Reference:
        """How a cluster names an image in the wrapped destination."""
        return self._inner.reference(model, digest)

    def push(self, model: str, manifest: bytes) -> Reference:
        """Send a manifest to the wrapped destination."""
        return self._inner.push(model, manifest)

    def manifest(self, model: str, digest: str) -> bytes:
        """The manifest of an image that was pushed to the wrapped destination."""
        return self._inner.manifest(model, digest)

    def content(self, model: str, descriptor: Descriptor) -> Content:
        """A config or a layer, from the wrapped destination."""
        return self._inner.content(model, descriptor)

    def referrers(self, model: str, digest: str) -> tuple[Descriptor, ...]:
        """The manifests whose subject is this image, in the wrapped destination."""
        return self._inner.referrers(model, digest)

    def tagged(self, model: str, tag: str) -> str | None:
        """The digest of the image with this tag in the wrapped destination, or None."""
        return self._inner.tagged(model, tag)

    def tag(self, model: str, tag: str, digest: str) -> None:
        """Name an image in the wrapped destination."""
        self._inner.tag(model, tag, digest)
