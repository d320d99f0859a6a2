"""Manifests and configs of the OCI image format (OCI image specification 1.1, "Image Manifest", "Image Configuration").

Only what is edited is modelled; all else in a base's config is kept as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from registry.errors import Refused
from registry.names import Digest

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
REF_NAME = "org.opencontainers.image.ref.name"


class Descriptor(BaseModel):
    """Points at bytes: their type, digest and size in bytes ("Content Descriptors")."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    media_type: str = Field(alias="mediaType")
    digest: Digest
    size: NonNegativeInt
    annotations: Mapping[str, str] | None = None


class Manifest(BaseModel):
    """An image: its config and its layers, lowest first."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    schema_version: int = Field(default=2, alias="schemaVersion")
    media_type: str = Field(default=MANIFEST_TYPE, alias="mediaType")
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] | None = None


class _RootFs(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")

    diff_ids: tuple[Digest, ...]


class _Run(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")

    labels: Mapping[str, str] | None = Field(default=None, alias="Labels")


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")

    rootfs: _RootFs
    config: _Run | None = None
    history: tuple[Mapping[str, Any], ...] | None = None


class Layer(BaseModel):
    """A layer that was made here; uncompressed, so its digest is its diff id too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    concern: str
    digest: Digest
    size: NonNegativeInt


class Edits(BaseModel):
    """What an image's config says differently from its base's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    entrypoint: tuple[str, ...]
    user: str
    working_dir: str
    labels: Mapping[str, str]
    created: str
    """RFC 3339; given, never read from a clock."""


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        Refused: it is none, or has no layers.
    """
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        raise Refused(
            f"This is not an OCI image manifest ({error.error_count()} fields do not fit): pull the base image again."
        ) from error


def edit_config(base: bytes, edits: Edits, layers: Sequence[Layer]) -> bytes:
    """The base's config with `edits` made and `layers` on top, as canonical JSON.

    Raises:
        Refused: the base's config is not one.
    """
    try:
        config = _Config.model_validate_json(base)
    except ValidationError as error:
        raise Refused("The base image's config cannot be read: pull the base image again.") from error
    below = config.config or _Run()
    run = {
        **{key: value for key, value in (below.model_extra or {}).items() if key != "Cmd"},
        "Entrypoint": list(edits.entrypoint),
        "User": edits.user,
        "WorkingDir": edits.working_dir,
        "Labels": {**(below.labels or {}), **edits.labels},
    }
    diff_ids = config.rootfs.diff_ids
    # history is optional, but where there is some, every layer needs an entry
    old = config.history or [{"created_by": "base image"} for _ in diff_ids]
    new = [{"created": edits.created, "created_by": f"sluice: {layer.concern}"} for layer in layers]
    edited = {
        **(config.model_extra or {}),
        "created": edits.created,
        "config": run,
        "rootfs": {"type": "layers", "diff_ids": [*diff_ids, *(layer.digest for layer in layers)]},
        "history": [*old, *new],
    }
    return canonical(edited)


def canonical(value: object) -> bytes:
    """JSON of one shape only: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def dump(model: Manifest) -> bytes:
    """A manifest as canonical JSON."""
    return canonical(model.model_dump(by_alias=True, exclude_none=True, mode="json"))
