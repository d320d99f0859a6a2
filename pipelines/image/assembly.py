"""What an image is made of beside its layers, as a pure function: the layer of configuration, the config, the manifest.

So all of an image is known, down to its digest, as soon as its layers are, and before a byte of it is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, PositiveInt

from gitops.runtimes import MODEL_ROOT, RUNTIMES
from pipelines.archive import Member
from pipelines.digests import Hashed
from pipelines.image.canonical import canonical
from pipelines.image.compression import DEFAULT_COMPRESSION, Compression, compressed
from pipelines.image.images import Reference
from pipelines.image.layers import (
    LAYERS_MAX,
    OWN_LAYER_FROM,
    OWN_LAYERS_MAX,
    LayerPlan,
    Place,
    folders,
    media_type,
    plan_layers,
)
from pipelines.image.oci import (
    ANNOTATIONS,
    CONFIG_TYPE,
    Descriptor,
    Edits,
    Layer,
    Manifest,
    dump,
    edit_config,
    new_config,
)
from pipelines.packagers import Concern, Packager
from pipelines.tarout import write_tar
from registry.errors import Refused
from registry.facts import Artifact, Delivery
from registry.names import VersionRef

FILES_LABEL = "dev.sluicegate.files"
_FILES_MAX = 256 << 10


class BuildRequest(BaseModel):
    """What goes into an image beside bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ref: VersionRef
    artifact: Artifact
    created: str
    """RFC 3339."""
    labels: Mapping[str, str]
    """Of the config; annotations of the manifest too."""
    delivery: Delivery = Delivery.IMAGE
    compression: Compression = DEFAULT_COMPRESSION
    own_layer_from: PositiveInt = OWN_LAYER_FROM
    """Bytes from which a file is a layer of its own."""

    @property
    def alone(self) -> bool:
        """Whether the image holds the model and nothing else."""
        return self.delivery is Delivery.VOLUME


class Below(NamedTuple):
    """The base, without its layers' bytes."""

    reference: Reference | None
    """How a cluster names it, where it lies in a registry."""
    digest: str
    """Its manifest's."""
    manifest: Manifest
    config: bytes
    platform: str


class Top(NamedTuple):
    """The layer of configuration, which is small."""

    data: bytes
    layer: Layer


class Composed(NamedTuple):
    """An image that may not be anywhere yet."""

    config: bytes
    manifest: bytes
    size: int
    """Bytes of manifest, config and all layers."""

    @property
    def digest(self) -> str:
        """The manifest's, which names the image."""
        return "sha256:" + sha256(self.manifest).hexdigest()


def plan_of(request: BuildRequest, packager: Packager, below: Below) -> tuple[LayerPlan, ...]:
    """The layers of the artifact, as few beside its base's as an image can have.

    Raises:
        Refused: the base has so many that nothing can be added, or a file is too large for one.
    """
    under = 0 if request.alone else len(below.manifest.layers)
    others = len(Concern) + 1  # what is left of each concern, and the configuration
    plans = plan_layers(
        request.artifact,
        packager,
        _place(request, packager.layout(request.ref, request.artifact).folder),
        owner=RUNTIMES[packager.runtime].user,
        compression=request.compression,
        own_from=request.own_layer_from,
        own_max=max(0, min(OWN_LAYERS_MAX, LAYERS_MAX - under - others)),
    )
    if under + len(plans) + 1 > LAYERS_MAX:
        raise Refused(
            f"The base image has {under} layers and the model needs {len(plans) + 1} more, but an image has at most"
            f" {LAYERS_MAX}: squash the base."
        )
    return plans


def top_of(request: BuildRequest, packager: Packager) -> Top:
    """The layer of configuration."""
    layout = packager.layout(request.ref, request.artifact)
    place = _place(request, "")
    members = [Member(place.path(path), len(data), iter((data,))) for path, data in sorted(layout.config.items())]
    above = folders([member.path for member in members], place.root)
    tar = Hashed(write_tar(members, folders=above, owner=RUNTIMES[packager.runtime].user))
    packed = Hashed(compressed(tar, request.compression))
    data = b"".join(packed)
    layer = Layer(
        concern="config",
        digest=packed.digest,
        size=packed.size,
        diff_id=tar.digest,
        media_type=media_type(request.compression),
    )
    return Top(data, layer)


def compose(request: BuildRequest, packager: Packager, below: Below, layers: Sequence[Layer]) -> Composed:
    """The image of the base's layers and these, or of these alone.

    Raises:
        Refused: the base's config cannot be edited, or a volume cannot be mounted as it would have to be.
    """
    labels = {**request.labels, FILES_LABEL: files_label(request.artifact)}
    annotations, under = dict(request.labels), below.manifest.layers
    if request.alone:
        _check_volume(request, packager, below)
        under, config = (), new_config(below.platform, labels, request.created, layers)
    else:
        on = _base_annotations(below)
        annotations |= on
        config = edit_config(below.config, _edits(request, packager, {**labels, **on}), layers)
    manifest = Manifest(
        config=Descriptor(media_type=CONFIG_TYPE, digest="sha256:" + sha256(config).hexdigest(), size=len(config)),
        layers=(*under, *(layer.descriptor for layer in layers)),
        annotations=dict(sorted(annotations.items())),
    )
    data = dump(manifest)
    return Composed(config, data, len(data) + len(config) + sum(layer.size for layer in manifest.layers))


def files_label(artifact: Artifact) -> str:
    """The artifact's files as canonical JSON, `[[path, size, sha256], …]` in its order.

    A list of more than 256 KiB is told as `{"count": …, "sha256": …}`, with the sha256 of the list. containerd takes
    no label of more than 4 KiB over to a container, and since 1.5.8 does without it there; the image keeps it.
    """
    told = canonical([[file.path, file.size, file.sha256] for file in artifact.files])
    if len(told) > _FILES_MAX:
        told = canonical({"count": len(artifact.files), "sha256": "sha256:" + sha256(told).hexdigest()})
    return told.decode()


def _edits(request: BuildRequest, packager: Packager, labels: Mapping[str, str]) -> Edits:
    spec = RUNTIMES[packager.runtime]
    return Edits(
        entrypoint=tuple(spec.command(request.ref.model)),
        user=f"{spec.user}:{spec.user}",
        working_dir=spec.working_dir,
        env=packager.layout(request.ref, request.artifact).env,
        labels=labels,
        created=request.created,
    )


def _check_volume(request: BuildRequest, packager: Packager, below: Below) -> None:
    if below.reference is None:
        raise Refused(
            "A model that is delivered as a volume needs its server's image in a registry: set the base to one there."
        )
    env = packager.layout(request.ref, request.artifact).env
    if env:
        raise Refused(
            f"The server of {request.ref} needs {', '.join(sorted(env))} in its environment, which a volume cannot"
            " bring: set delivery: image in model.yaml."
        )


def _base_annotations(below: Below) -> dict[str, str]:
    """What the image is built upon (OCI image specification 1.1, "Pre-Defined Annotation Keys")."""
    name = {f"{ANNOTATIONS}base.name": str(below.reference)} if below.reference else {}
    return {**name, f"{ANNOTATIONS}base.digest": below.digest}


def _place(request: BuildRequest, folder: str) -> Place:
    """Below MODEL_ROOT; a volume is mounted there, so its own root is that folder."""
    return Place("" if request.alone else MODEL_ROOT.removeprefix("/"), folder)
