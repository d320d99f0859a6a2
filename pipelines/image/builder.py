"""Appending a model to a base image: the base's bytes are copied as they are, and only what is new is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from pipelines.archive import Member
from pipelines.digests import watched
from pipelines.image.images import BaseImage, Destination, Reference
from pipelines.image.oci import (
    CONFIG_TYPE,
    LAYER_TYPE,
    Descriptor,
    Edits,
    Layer,
    Manifest,
    dump,
    edit_config,
    parse_manifest,
)
from pipelines.packagers import Concern, Layout, Packager
from pipelines.tarout import write_tar
from registry.errors import Refused
from registry.facts import Artifact
from registry.names import VersionRef
from registry.progress import Progress
from registry.store import Blobs


class BuildRequest(BaseModel):
    """What goes into an image beside bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ref: VersionRef
    artifact: Artifact
    created: str
    """RFC 3339."""
    labels: Mapping[str, str]


class Built(NamedTuple):
    """An image as it was pushed."""

    reference: Reference
    base: str
    """The digest of the base's manifest."""
    size: int
    """Bytes of manifest, config and all layers."""


def build_image(
    request: BuildRequest,
    packager: Packager,
    blobs: Blobs,
    base: BaseImage,
    destination: Destination,
    progress: Progress,
) -> Built:
    """Push the image of a version: the base, a layer for each concern, and a layer of configuration.

    The digest depends on the arguments alone. Memory and disk are constant in the size of the model.

    Raises:
        NotFound: the base or the artifact is not there.
        Refused: bytes are not what their digest says.
    """
    model = request.ref.model
    raw = base.manifest()
    below = parse_manifest(raw)
    for descriptor in below.layers:
        _copy(base, destination, model, descriptor, progress)
    layout = packager.layout(request.ref)
    layers = [
        *_model_layers(request, packager, layout, blobs, destination, progress),
        _config_layer(model, layout, destination),
    ]
    edits = Edits(
        entrypoint=layout.entrypoint,
        user=f"{layout.user}:{layout.user}",
        working_dir=layout.working_dir,
        labels=request.labels,
        created=request.created,
    )
    config = destination.put(model, [edit_config(_small(base, below.config), edits, layers)])
    manifest = Manifest(
        config=Descriptor(media_type=CONFIG_TYPE, digest=config.digest, size=config.size),
        layers=(*below.layers, *map(_descriptor, layers)),
        annotations=dict(sorted(request.labels.items())),
    )
    data = dump(manifest)
    reference = destination.push(model, data)
    size = len(data) + config.size + sum(layer.size for layer in manifest.layers)
    return Built(reference, "sha256:" + sha256(raw).hexdigest(), size)


def _copy(base: BaseImage, destination: Destination, model: str, wanted: Descriptor, progress: Progress) -> None:
    if destination.has(model, wanted.digest):
        return
    chunks = watched(base.blob(wanted.digest), f"base of {model}", wanted.size, progress)
    copied = destination.put(model, chunks)
    if copied != (wanted.digest, wanted.size):
        raise Refused(f"The base image's {wanted.digest} holds other bytes than its name says: copy the base again.")


def _small(base: BaseImage, wanted: Descriptor) -> bytes:
    if wanted.size > 8 << 20:
        raise Refused(f"The base image's config has {wanted.size} bytes, which no config needs: pull the base again.")
    return b"".join(base.blob(wanted.digest))


def _model_layers(
    request: BuildRequest,
    packager: Packager,
    layout: Layout,
    blobs: Blobs,
    destination: Destination,
    progress: Progress,
) -> Iterator[Layer]:
    """A layer for each concern that the artifact has; the artifact is read once for each."""
    for concern in Concern:
        paths = {file.path for file in request.artifact.files if packager.concern(file.path) is concern}
        if not paths:
            continue
        with blobs.open(request.artifact.blob) as reader:
            wanted = (member for member in packager.unpack(reader, request.artifact) if member.path in paths)
            placed = [f"{layout.folder}/{path}" for path in paths]
            tar = write_tar(
                (member._replace(path=f"{layout.folder}/{member.path}") for member in wanted),
                folders=_folders(placed),
                owner=layout.user,
            )
            what = f"{concern.value} of {request.ref}"
            blob = destination.put(request.ref.model, watched(tar, what, None, progress))
        progress.bytes(what, blob.size, blob.size)
        yield Layer(concern=concern.value, digest=blob.digest, size=blob.size)


def _config_layer(model: str, layout: Layout, destination: Destination) -> Layer:
    members = (Member(path, len(data), iter((data,))) for path, data in sorted(layout.config.items()))
    blob = destination.put(model, write_tar(members, owner=layout.user))
    return Layer(concern="config", digest=blob.digest, size=blob.size)


def _descriptor(layer: Layer) -> Descriptor:
    return Descriptor(media_type=LAYER_TYPE, digest=layer.digest, size=layer.size)


def _folders(paths: Sequence[str]) -> list[str]:
    """Every folder above the paths but those at the root, which belong to the base; outermost first."""
    folders = {path[:at] for path in paths for at, letter in enumerate(path) if letter == "/"}
    return sorted(folder for folder in folders if "/" in folder)
