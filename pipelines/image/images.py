"""Where images come from and go to: two small protocols, so that a folder and a registry are alike to the builder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from registry.store import Blob


class Reference(NamedTuple):
    """An image as a cluster names it."""

    repository: str
    """With the registry's host, such as `123456789012.dkr.ecr.eu-west-1.amazonaws.com/sluice/fraud`."""
    digest: str

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}"


class BaseImage(Protocol):
    """An image that can be read."""

    def manifest(self) -> bytes:
        """The image's manifest, just as it is stored.

        Raises:
            NotFound: there is no such image.
        """

    def blob(self, digest: str) -> Iterator[bytes]:
        """A config's or layer's bytes, verified at their end.

        Raises:
            NotFound: the image lacks it.
            Refused: other bytes are there.
        """


class Destination(Protocol):
    """Where images are pushed, a repository for each model."""

    def has(self, model: str, digest: str) -> bool:
        """Whether the repository has these bytes, so that they need not be sent."""

    def put(self, model: str, chunks: Iterable[bytes]) -> Blob:
        """Send bytes; nothing is visible before all of it is there."""

    def push(self, model: str, manifest: bytes) -> Reference:
        """Send a manifest whose config and layers are there. Its digest names the image; it has no tag yet."""

    def manifest(self, model: str, digest: str) -> bytes:
        """The manifest of an image that was pushed.

        Raises:
            NotFound: there is no such image.
        """

    def tag(self, model: str, tag: str, digest: str) -> None:
        """Name an image that was pushed, for people; naming it again, the same, changes nothing.

        Raises:
            NotFound: there is no such image.
            Conflict: the tag names another image; tags are never moved.
        """
