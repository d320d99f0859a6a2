"""The base images that the settings name, and what extends them for a model that needs more."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from gitops.config import Model
from gitops.release import Runtime
from pipelines.buildkit.buildah import Buildah
from pipelines.buildkit.buildctl import Buildctl
from pipelines.buildkit.tool import BaseBuilder
from pipelines.image.images import BaseImage, Destination
from pipelines.image.layout import LayoutDestination, LayoutImage
from pipelines.image.recipes import StoredBases
from pipelines.image.remote.places import FOLDER, credentials_for, open_image
from pipelines.steps.extend import ExtendInput, Shelf, base_for
from registry.aws import Clients
from registry.errors import Conflict, InvalidInput
from registry.facts import Artifact
from registry.names import VersionRef
from registry.progress import Progress
from registry.registry import Registry
from registry.store import Blobs
from sluice.settings import Settings


class Bases:
    """Base images, by model server and by what a version needs beyond it."""

    def __init__(self, settings: Settings, blobs: Blobs, bases: StoredBases, destination: Destination) -> None:
        self._settings, self._blobs, self._bases, self._destination = settings, blobs, bases, destination

    def named(self, runtime: Runtime) -> str:
        """What the settings call the base image for a model server.

        Raises:
            InvalidInput: nothing.
        """
        named = self._settings.bases.get(runtime)
        if named is None:
            raise InvalidInput(
                f'No base image is set for {runtime.value}: put `{runtime.value} = "host/repository:tag"`, or'
                ' "oci:folder:tag", under [bases] in sluice.toml.'
            )
        return named

    def plain(self, runtime: Runtime) -> BaseImage:
        """The base image for a model server; nothing is asked before it is read.

        Raises:
            InvalidInput: none is set, or nothing can be called that.
        """
        return open_image(self.named(runtime), self._settings.platform, Clients)

    def extended(
        self, ref: VersionRef, settings: Model, registry: Registry, progress: Progress
    ) -> Callable[[Runtime], BaseImage]:
        """From a model server, its base image with what a version needs beyond it.

        Raises as `plain` and `pipelines.steps.extend.base_for`, and Conflict where the version is not packaged.
        """
        wanted = ExtendInput.of(ref, settings)

        def base(runtime: Runtime) -> BaseImage:
            artifact = registry.fact(ref, Artifact)
            if artifact is None:
                raise Conflict(f"{ref} is not packaged yet: run `sluice package {ref}` first.")
            return base_for(
                wanted,
                artifact,
                self.plain(runtime),
                self._blobs,
                self._shelf(ref.model),
                self._tool(),
                lambda host: credentials_for(host, Clients).login(host),
                progress,
                folder=self.named(runtime),
            )

        return base

    def _tool(self) -> BaseBuilder:
        said = self._settings.buildkit
        kind = Buildctl if said.tool == "buildctl" else Buildah
        return kind(said.command or (said.tool,), said.timeout)

    def _shelf(self, model: str) -> Shelf:
        place, platform = self._settings.registry, self._settings.platform
        if place and not place.startswith(FOLDER):
            repository = f"{place.rstrip('/')}/{model}"
            return Shelf(
                repository=repository,
                bases=self._bases,
                open_image=lambda digest: open_image(f"{repository}@{digest}", platform, Clients),
                prepare=partial(self._destination.prepare, model),
            )
        # not the folder of the model's images: another program writes here, and does not know of their lock
        images = Path(place.removeprefix(FOLDER)) if place else self._settings.images
        folder = images.with_name(f"{images.name}-bases") / model
        layout = LayoutDestination(folder.parent)
        return Shelf(
            repository=f"oci:{folder}",
            bases=self._bases,
            open_image=lambda digest: LayoutImage(folder, digest=digest),
            prepare=partial(layout.prepare, model),
        )
