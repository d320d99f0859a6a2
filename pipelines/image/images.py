"""Where images come from and go to: two small protocols, so that a folder and a registry are alike to the builder."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from pipelines.image.content import Content
from pipelines.image.oci import Descriptor
from registry.store import Blob


class Reference(NamedTuple):
    """An image as a cluster names it."""

    repository: str
    """With the registry's host, such as `123456789012.dkr.ecr.eu-west-1.amazonaws.com/sluice/fraud`."""
    digest: str

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}"


class BaseImage(Protocol):
    """An image that can be read; of an index, the image for one platform."""

    @property
    def reference(self) -> Reference | None:
        """How a cluster names it, where it lies in a registry.

        Raises:
            NotFound: there is no such image.
        """

    def manifest(self) -> bytes:
        """The image's manifest, just as it is stored.

        Raises:
            NotFound: there is no such image, or none for the platform.
        """

    def content(self, descriptor: Descriptor) -> Content:
        """A config or a layer; its chunks raise NotFound where the image lacks it, and Refused, at their end, where
        other bytes are there and they were read from the first on."""


class Destination(Protocol):
    """Where images are pushed, a repository for each model. Safe for several builders at once."""

    def has(self, model: str, digest: str) -> bool:
        """Whether the repository has these bytes, so that they need not be sent."""

    def prepare(self, model: str) -> None:
        """Make the repository, where it is not made by what is put into it; once it is there, nothing."""

    def put(self, model: str, content: Content) -> Blob:
        """Have the bytes in the repository: found there, mounted from their origin, or sent.

        What is sent is hashed here as it goes, from its first byte to its last: the blob that is given back is what we
        sent, whatever the other side says that it got. Where the content names no digest, it is read whole each time.

        Nothing is visible before all of it is there. What was sent when a connection broke is not sent again where
        the registry lets an upload go on.

        Raises:
            Refused: the bytes are not the ones that the content's digest names.
            Unavailable: the registry does not answer.
        """

    def reference(self, model: str, digest: str) -> Reference:
        """How a cluster names an image of that digest here, whether it is here or not."""

    def push(self, model: str, manifest: bytes) -> Reference:
        """Send a manifest whose config and layers are there. Its digest names the image; it has no tag yet.

        One that has a `subject` is among that image's referrers from then on.
        """

    def manifest(self, model: str, digest: str) -> bytes:
        """The manifest of an image that was pushed.

        Raises:
            NotFound: there is no such image.
        """

    def content(self, model: str, descriptor: Descriptor) -> Content:
        """A config or a layer that was put, read back."""

    def referrers(self, model: str, digest: str) -> tuple[Descriptor, ...]:
        """The manifests whose subject is this image (OCI distribution specification 1.1, "Listing Referrers")."""

    def tag(self, model: str, tag: str, digest: str) -> None:
        """Name an image that was pushed, for people; naming it again, the same, changes nothing.

        Raises:
            NotFound: there is no such image.
            Conflict: the tag names another image; tags are never moved.
        """

    def tagged(self, model: str, tag: str) -> str | None:
        """The digest of the image with this tag, or None."""
