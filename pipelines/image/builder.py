"""Putting an image together: the base's bytes are moved as they are, and only what is new is made.

What can be known without bytes is worked out first. Where that is all of the image, and it is there, nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from hashlib import sha256
from typing import NamedTuple

from pipelines.image.assembly import Below, BuildRequest, Composed, compose, plan_of, top_of
from pipelines.image.bases import check_base, parse_base
from pipelines.image.content import Content, Data, Made, Watched, read_small
from pipelines.image.copying import Shared, Stoppable, copying
from pipelines.image.images import BaseImage, Destination, Reference
from pipelines.image.layers import LayerPlan, Making, Recipes, layer_title, media_type
from pipelines.image.oci import Layer, platform_of
from pipelines.packagers import Packager
from registry.errors import NotFound
from registry.progress import Progress
from registry.store import Blobs

_CONFIG_MAX = 8 << 20


class Built(NamedTuple):
    """An image as it was pushed."""

    reference: Reference
    base: str
    """The digest of the base's manifest."""
    server: Reference | None
    """The base itself, where it is what mounts this image."""
    size: int
    """Bytes of manifest, config and all layers."""
    platform: str


class Builder:
    """Builds images out of the registry's artifacts for one destination."""

    def __init__(self, blobs: Blobs, recipes: Recipes, destination: Destination, progress: Progress) -> None:
        self._blobs, self._recipes, self._destination = blobs, recipes, destination
        self._progress = Shared(progress)

    def build(self, request: BuildRequest, packager: Packager, base: BaseImage) -> Built:
        """Push the image of a version: the base, the artifact's layers, and a layer of configuration; or these layers
        alone, to be mounted beside the base.

        The digest depends on the request, the base and the artifact's bytes alone. Memory and disk are constant in
        the size of the model.

        Raises:
            NotFound: the base or the artifact is not there.
            Refused: bytes are not what their digest says, the base is none that can be built upon, or it lies where
                no cluster can pull it from.
            Conflict: a layer came out otherwise than it did before of the same files.
        """
        below = _below(base)
        compose(request, packager, below, ())  # what cannot be is refused before a byte is sent
        reference, size = self._pushed(request, packager, base, below)
        server = below.reference if request.alone else None
        return Built(reference, below.digest, server, size, below.platform)

    def _pushed(
        self, request: BuildRequest, packager: Packager, base: BaseImage, below: Below
    ) -> tuple[Reference, int]:
        model, top = request.ref.model, top_of(request, packager)
        plans = plan_of(request, packager, below)
        known = [self._known(plan) for plan in plans]
        if (before := _all(known)) is not None:
            image = compose(request, packager, below, [*before, top.layer])
            if self._is_there(model, image):
                return self._destination.reference(model, image.digest), image.size
        with copying(self._from_base(request, base, below), partial(self._destination.put, model)) as stoppable:
            layers = [
                layer
                if layer is not None and self._destination.has(model, layer.digest)
                else self._made(plan, request, packager, stoppable)
                for plan, layer in zip(plans, known, strict=True)
            ]
        self._destination.put(model, Data(top.data))
        image = compose(request, packager, below, [*layers, top.layer])
        self._destination.put(model, Data(image.config))
        return self._destination.push(model, image.manifest), image.size

    def _from_base(self, request: BuildRequest, base: BaseImage, below: Below) -> Iterator[Content]:
        layers = () if request.alone else below.manifest.layers
        for number, layer in enumerate(layers, start=1):
            title = f"layer {number} of {len(layers)} of the base of {request.ref.model}"
            yield Watched(base.content(layer), title, self._progress)

    def _known(self, plan: LayerPlan) -> Layer | None:
        """What the plan made when it was made before, for whatever reason that was."""
        layer = self._recipes.known(plan.recipe)
        if layer is None or layer.media_type != media_type(plan.compression):
            return None
        return layer.model_copy(update={"concern": plan.concern})

    def _is_there(self, model: str, image: Composed) -> bool:
        """Whether the destination has the image, and so all that it names."""
        with suppress(NotFound):
            return self._destination.manifest(model, image.digest) == image.manifest
        return False

    def _made(self, plan: LayerPlan, request: BuildRequest, packager: Packager, stoppable: Stoppable) -> Layer:
        model, title = request.ref.model, layer_title(plan, request.ref)
        making = Making(plan, request.artifact, packager, self._blobs)
        content = stoppable(Watched(Made(making.chunks, plan.size), title, self._progress))
        blob = self._destination.put(model, content)
        self._progress.bytes(title, blob.size, blob.size)
        layer = making.layer(blob)
        self._recipes.keep(plan.recipe, layer)
        return layer


def _all(layers: Sequence[Layer | None]) -> Sequence[Layer] | None:
    """The layers, where all of them are known."""
    found = [layer for layer in layers if layer is not None]
    return found if len(found) == len(layers) else None


def _below(base: BaseImage) -> Below:
    """What is known of a base without its layers' bytes.

    Raises:
        Refused: it is none that can be built upon.
    """
    raw = base.manifest()
    manifest = parse_base(raw)
    config = read_small(base.content(manifest.config), _CONFIG_MAX, "The base image's config")
    check_base(manifest, config)
    digest = "sha256:" + sha256(raw).hexdigest()
    return Below(base.reference, digest, manifest, config, platform_of(config))
