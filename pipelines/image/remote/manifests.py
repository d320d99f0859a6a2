"""Choosing an image out of what a registry answers: one image, or an index of one for each platform.

OCI image specification 1.1, "Image Index"; docker's "Image Manifest Version 2, Schema 2" names the same fields.
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.image.oci import INDEX_TYPE, MANIFEST_TYPE, Descriptor
from pipelines.image.remote.repository import DOCKER_INDEX, DOCKER_MANIFEST, Found
from registry.errors import InvalidInput, NotFound, Refused
from registry.text import plain

_MANIFESTS = (MANIFEST_TYPE, DOCKER_MANIFEST)
_INDEXES = (INDEX_TYPE, DOCKER_INDEX)
_IMPLIED = {"arm64": "v8", "arm": "v7"}
"""The variants that are meant where none is said (containerd's normalisation of platforms)."""
_SHOWN = 20


class Platform(NamedTuple):
    """What an image runs on, as Go names it."""

    os: str
    architecture: str
    variant: str

    def __str__(self) -> str:
        return "/".join(part for part in self if part)

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read `linux/amd64` or `linux/arm64/v8`.

        Raises:
            InvalidInput: it is something else.
        """
        parts = text.split("/")
        if not 2 <= len(parts) <= 3 or not all(part.isascii() and part.isalnum() for part in parts):
            raise InvalidInput(f"{text[:80]!r} is no platform: write it as linux/amd64 or linux/arm64/v8.")
        return cls(parts[0], parts[1], parts[2] if len(parts) > 2 else "")

    def same(self, other: Platform) -> bool:
        """Whether both mean the same."""
        return self._whole() == other._whole()

    def _whole(self) -> tuple[str, ...]:
        return (self.os, self.architecture, self.variant or _IMPLIED.get(self.architecture, ""))


class _Where(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    os: str = ""
    architecture: str = ""
    variant: str = ""


class _Item(Descriptor):
    platform: _Where | None = None


class _Index(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    manifests: tuple[_Item, ...]


class _Kind(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int = Field(default=2, alias="schemaVersion")
    media_type: str = Field(default="", alias="mediaType")
    manifests: tuple[object, ...] | None = None
    layers: tuple[object, ...] | None = None
    config: object | None = None


def is_index(found: Found, name: str) -> bool:
    """Whether it is an index, not one image; `name` is for messages.

    Raises:
        Refused: it is neither, or could be read as both.
    """
    try:
        kind = _Kind.model_validate_json(found.data)
    except ValidationError as error:
        raise _neither(name) from error
    if kind.schema_version != 2:
        raise Refused(f"{name} is in docker's first format, which says too little: push the image again.")
    told = kind.media_type or found.media_type
    index, image = kind.manifests is not None, kind.layers is not None or kind.config is not None
    if index == image or (index and told in _MANIFESTS) or (image and told in _INDEXES):
        raise _neither(name)
    return index


def chosen(found: Found, platform: Platform, name: str) -> str:
    """The digest of the image for a platform in an index.

    Raises:
        NotFound: there is none; the message names those there are.
        Refused: the index is not one.
    """
    try:
        index = _Index.model_validate_json(found.data)
    except ValidationError as error:
        raise _neither(name) from error
    images = [
        (Platform(item.platform.os, item.platform.architecture, item.platform.variant), item.digest)
        for item in index.manifests
        if item.platform is not None and item.media_type in _MANIFESTS
    ]
    for there, digest in images:
        if there.same(platform):
            return digest
    known = sorted({plain(str(there))[:60] for there, _ in images if there.os != "unknown"})[:_SHOWN]
    raise missing(name, platform, known)


def missing(name: str, platform: Platform, known: list[str]) -> NotFound:
    """What to say where there is no image for a platform."""
    there = ", ".join(known) or "none"
    return NotFound(f"{name} has no image for {platform} (there are: {there}): choose one of these, or another base.")


def _neither(name: str) -> Refused:
    return Refused(f"What the registry gives for {name} is neither an image nor an index of images: push it again.")
