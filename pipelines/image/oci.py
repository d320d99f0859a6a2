"""Manifests and configs of the OCI image format (OCI image specification 1.1, "Image Manifest", "Image Configuration").

Only what is edited is modelled; all else in a base's config is kept as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.image.canonical import canonical as canonical
from registry.errors import Refused
from registry.names import Digest

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX_TYPE = "application/vnd.docker.distribution.manifest.list.v2+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
REF_NAME = "org.opencontainers.image.ref.name"
ANNOTATIONS = "org.opencontainers.image."
"""What the keys that the specification defines begin with ("Annotations", "Pre-Defined Annotation Keys")."""
MANIFEST_MAX = 4 << 20
"""Bytes of a manifest that every registry takes (OCI distribution specification 1.1, "Pushing Manifests")."""

Size = Annotated[int, Field(ge=0, lt=1 << 63)]
"""Bytes; a signed number of 64 bits, as the specification says."""
_Word = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class Descriptor(BaseModel):
    """Points at bytes: their type, digest and size in bytes ("Content Descriptors")."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    media_type: str = Field(alias="mediaType")
    digest: Digest
    size: Size
    annotations: Mapping[str, str] | None = None
    artifact_type: str | None = Field(default=None, alias="artifactType")


class Manifest(BaseModel):
    """An image: its config and its layers, lowest first."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    schema_version: int = Field(default=2, alias="schemaVersion")
    media_type: str = Field(default=MANIFEST_TYPE, alias="mediaType")
    artifact_type: str | None = Field(default=None, alias="artifactType")
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    annotations: Mapping[str, str] | None = None


class _RootFs(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")

    diff_ids: tuple[Digest, ...]


class _Run(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")

    labels: Mapping[str, str] | None = Field(default=None, alias="Labels")


class _Platform(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    os: _Word
    architecture: _Word
    variant: _Word | None = None


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")

    rootfs: _RootFs
    config: _Run | None = None
    history: tuple[Mapping[str, Any], ...] | None = None


class Layer(BaseModel):
    """A layer that was made here, and why there is one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    concern: str
    digest: Digest
    size: Size
    diff_id: Digest
    """The digest of the tar in it; the same as `digest` where it is not compressed."""
    media_type: str = LAYER_TYPE

    @property
    def descriptor(self) -> Descriptor:
        """How a manifest names it."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size=self.size)


class Edits(BaseModel):
    """What an image's config says differently from its base's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    entrypoint: tuple[str, ...]
    user: str
    working_dir: str
    env: Mapping[str, str] = {}
    labels: Mapping[str, str]
    created: str
    """RFC 3339; given, never read from a clock."""


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        Refused: it is none, or has no layers.
    """
    if len(data) > MANIFEST_MAX:
        raise Refused(f"An image's manifest has {len(data)} bytes, which none needs: pull the image again.")
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        raise Refused(
            f"This is not an OCI image manifest ({error.error_count()} fields do not fit): pull the base image again."
        ) from error


def edit_config(base: bytes, edits: Edits, layers: Sequence[Layer]) -> bytes:
    """The base's config with `edits` made and `layers` on top, as canonical JSON.

    Its labels stay, but for those by which the specification describes an image as a whole: the base is another one.

    Raises:
        Refused: the base's config is not one.
    """
    config = _parse_config(base)
    below = config.config or _Run()
    labels = {key: value for key, value in (below.labels or {}).items() if not key.startswith(ANNOTATIONS)}
    run = {
        **{key: value for key, value in (below.model_extra or {}).items() if key != "Cmd"},
        "Entrypoint": list(edits.entrypoint),
        "User": edits.user,
        "WorkingDir": edits.working_dir,
        "Env": _env((below.model_extra or {}).get("Env"), edits.env),
        "Labels": {**labels, **edits.labels},
    }
    edited = {
        **(config.model_extra or {}),
        "created": edits.created,
        "config": run,
        "rootfs": {"type": "layers", "diff_ids": [*config.rootfs.diff_ids, *(layer.diff_id for layer in layers)]},
        "history": [*_history(config), *_added(edits.created, layers)],
    }
    try:
        return canonical(edited)
    except ValueError as error:  # a number that JSON has no word for, such as NaN, which the parser lets through
        raise _bad_config() from error


def new_config(platform: str, labels: Mapping[str, str], created: str, layers: Sequence[Layer]) -> bytes:
    """The config of an image of `layers` alone for a platform as `platform_of` tells it, as canonical JSON."""
    os, architecture, *variant = platform.split("/")
    config = {
        "architecture": architecture,
        "os": os,
        **({"variant": variant[0]} if variant else {}),
        "created": created,
        "config": {"Labels": dict(labels)},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": _added(created, layers),
    }
    return canonical(config)


def layers_of(config: bytes) -> int:
    """How many layers an image's config says that there are.

    Raises:
        Refused: the config is not one.
    """
    return len(_parse_config(config).rootfs.diff_ids)


def _parse_config(data: bytes) -> _Config:
    try:
        return _Config.model_validate_json(data)
    except ValidationError as error:
        raise _bad_config() from error


def _bad_config() -> Refused:
    return Refused("The base image's config cannot be read: pull the base image again.")


def _history(config: _Config) -> Sequence[Mapping[str, Any]]:
    """An entry for each of the base's layers: history is optional, but readers refuse one that counts otherwise."""
    told, count = config.history or (), len(config.rootfs.diff_ids)
    if len([entry for entry in told if not entry.get("empty_layer")]) == count:
        return told
    return [{"created_by": "base image"}] * count


def _added(created: str, layers: Sequence[Layer]) -> list[Mapping[str, str]]:
    return [{"created": created, "created_by": f"sluice: {layer.concern}"} for layer in layers]


def platform_of(config: bytes) -> str:
    """The platform in an image's config: `linux/amd64`, with a variant behind it where the config has one.

    Raises:
        Refused: the config is not one.
    """
    try:
        told = _Platform.model_validate_json(config)
    except ValidationError as error:
        raise _bad_config() from error
    return "/".join(part for part in (told.os, told.architecture, told.variant) if part)


def _env(below: object, added: Mapping[str, str]) -> list[str]:
    """`NAME=value` lines; what is added replaces the base's of the same name."""
    kept = [line for line in below if str(line).partition("=")[0] not in added] if isinstance(below, list) else []
    return [*map(str, kept), *(f"{name}={value}" for name, value in sorted(added.items()))]


def dump(model: Manifest) -> bytes:
    """A manifest as canonical JSON."""
    return canonical(model.model_dump(by_alias=True, exclude_none=True, mode="json"))
