"""What may be built upon: a base image's manifest, as its registry has it, with OCI's own names for what it holds.

Images that Docker pushed lie in registries with the same bytes under other names, which a manifest of OCI's may not
mix with its own (OCI image specification 1.1, "OCI Image Media Types", compatibility matrix).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from posixpath import normpath

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gitops.runtimes import MODEL_ROOT
from pipelines.image.oci import (
    CONFIG_TYPE,
    DOCKER_MANIFEST_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    Descriptor,
    Manifest,
    layers_of,
    parse_manifest,
)
from registry.errors import Refused
from registry.text import plain

_DOCKER_LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar"
_MANIFESTS = (MANIFEST_TYPE, DOCKER_MANIFEST_TYPE)
_CONFIGS: Mapping[str, str] = {
    CONFIG_TYPE: CONFIG_TYPE,
    "application/vnd.docker.container.image.v1+json": CONFIG_TYPE,
}
_LAYERS: Mapping[str, str] = {
    LAYER_TYPE: LAYER_TYPE,
    f"{LAYER_TYPE}+gzip": f"{LAYER_TYPE}+gzip",
    f"{LAYER_TYPE}+zstd": f"{LAYER_TYPE}+zstd",
    _DOCKER_LAYER_TYPE: LAYER_TYPE,
    f"{_DOCKER_LAYER_TYPE}.gzip": f"{LAYER_TYPE}+gzip",
    f"{_DOCKER_LAYER_TYPE}.zstd": f"{LAYER_TYPE}+zstd",  # not in the matrix: BuildKit and containerd write it
}
_ELSEWHERE = ("nondistributable", "foreign")
"""In the types of layers that no registry may hold: Windows once had some."""


def parse_base(data: bytes) -> Manifest:
    """The manifest of an image to build upon; its config and layers have OCI's media types, and nothing else of it is
    kept but the layers' annotations, which lazy pullers read.

    Raises:
        Refused: it is no image's manifest, or holds a layer that cannot be in an image of ours.
    """
    found = parse_manifest(data)
    if found.media_type not in _MANIFESTS:
        raise Refused(f"The base is {found.media_type[:100]!r}, not one image: name the image of one platform.")
    config = _CONFIGS.get(found.config.media_type)
    if config is None:
        raise Refused(f"The base holds {found.config.media_type[:100]!r}, not a server: name a container's image.")
    return Manifest(
        config=Descriptor(media_type=config, digest=found.config.digest, size=found.config.size),
        layers=tuple(_layer(layer) for layer in found.layers),
    )


def check_base(base: Manifest, config: bytes) -> None:
    """Compare a base's manifest with its config.

    Raises:
        Refused: they tell of different numbers of layers, the config is not one, or it has a volume where the model
            is to lie.
    """
    told = layers_of(config)
    if told != len(base.layers):
        raise Refused(
            f"The base image has {len(base.layers)} layers, and its config tells of {told}: pull the base image again."
        )
    for volume in _volumes(config):
        path = PurePosixPath(normpath("/" + volume.lstrip("/")))
        if path.is_relative_to(MODEL_ROOT) or PurePosixPath(MODEL_ROOT).is_relative_to(path):
            raise Refused(
                f"The base image declares the volume {plain(volume)[:100]}, which would hide the model in {MODEL_ROOT}"
                " when a container starts: choose a base without it, or build that one without its VOLUME."
            )


class _Run(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    volumes: Mapping[str, object] | None = Field(default=None, alias="Volumes")


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    config: _Run | None = None


def _volumes(config: bytes) -> tuple[str, ...]:
    """Where a container of the image gets volumes (OCI image specification 1.1, "Image Configuration", `Volumes`)."""
    try:
        told = _Config.model_validate_json(config)
    except ValidationError as error:
        raise Refused("The base image's config does not tell its volumes: pull the base image again.") from error
    return tuple(told.config.volumes or ()) if told.config else ()


def _layer(layer: Descriptor) -> Descriptor:
    kind = _LAYERS.get(layer.media_type)
    if kind is None and any(word in layer.media_type for word in _ELSEWHERE):
        raise Refused(
            f"The base image has a layer, {layer.digest}, that may not be copied to another registry: choose a base"
            " without such layers."
        )
    if kind is None:
        raise Refused(
            f"The base image has a layer of the type {layer.media_type[:100]!r}, which is no file system that Sluice"
            " knows: choose another base."
        )
    return Descriptor(media_type=kind, digest=layer.digest, size=layer.size, annotations=layer.annotations)
