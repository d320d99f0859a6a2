"""Between steps 3 and 4: a base image for a version that needs more than the usual one has."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256

from pydantic import BaseModel, ConfigDict

from gitops.config import ImageSettings, Model
from gitops.runtimes import RUNTIMES
from pipelines.buildkit.dockerfile import context_files, dockerfile
from pipelines.buildkit.needs import Needs, requirements_of
from pipelines.buildkit.tool import BaseBuilder, Extension, Logins
from pipelines.image.content import read_small
from pipelines.image.images import BaseImage
from pipelines.image.oci import parse_manifest, platform_of
from pipelines.image.recipes import StoredBases
from pipelines.image.remote.names import ImageName
from pipelines.packagers import Packager, packager_of
from registry.errors import InvalidInput, NotFound, SluiceError
from registry.facts import Artifact
from registry.names import VersionRef
from registry.progress import Progress
from registry.store import Blobs

_CONFIG_MAX = 8 << 20


class ExtendInput(BaseModel):
    """Which version needs a base, and what its model.yaml says of that."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ref: VersionRef
    image: ImageSettings = ImageSettings()

    @classmethod
    def of(cls, ref: VersionRef, settings: Model) -> ExtendInput:
        """What to do for a version, by what people said of its model."""
        return cls(ref=ref, image=settings.image)


@dataclass(frozen=True)
class Shelf:
    """Where a model's extended bases lie: its own repository, as far as it is needed here."""

    repository: str
    """With the registry's host; or `oci:folder`, for a tool that writes there."""
    bases: StoredBases
    """Which bases were made."""
    open_image: Callable[[str], BaseImage]
    """From a digest, the image."""
    prepare: Callable[[], None]
    """Makes the repository where it is made on first use; asked before anything is pushed."""


def base_for(
    wanted: ExtendInput,
    artifact: Artifact,
    base: BaseImage,
    blobs: Blobs,
    shelf: Shelf,
    builder: BaseBuilder,
    logins: Logins,
    progress: Progress,
    *,
    folder: str = "",
) -> BaseImage:
    """The base image for a version: the given one, or the one extended by what the version needs.

    What was extended once is found by its recipe, in the registry's bucket; its tag is for people. Two builders that
    do so at once both finish, and both use what was entered first. A base that is in no registry is named by `folder`,
    `oci:folder:tag`.

    Raises:
        InvalidInput: what is needed cannot be taken, or the tool is missing or cannot read where the base lies.
        Refused: bytes of the base or of the artifact are not what they should be.
        SluiceError: the tool failed.
    """
    needs = _needs(wanted, artifact, blobs)
    if not needs:
        return base
    raw = base.manifest()
    platform = platform_of(_config(base, raw))
    user = RUNTIMES[packager_of(artifact).runtime].user
    recipe = needs.recipe(f"sha256:{sha256(raw).hexdigest()}", platform, user)
    before = shelf.bases.known(recipe)
    if before is not None and (there := _there(shelf, before)) is not None:
        return there
    source = _name(base, folder, needs)
    extension = Extension(
        what=f"base of {wanted.ref.model}",
        why=str(needs),
        source=source,
        target=_target(shelf.repository, f"base-{recipe}"),
        platform=platform,
        dockerfile=dockerfile(needs, source, recipe, user),
        context=context_files(needs),
    )
    shelf.prepare()
    progress.fact(f"{extension.what}: adding {extension.why}")
    try:
        made = builder.build(extension, logins, progress)
    except SluiceError:
        # where tags never move, the slower of two builders is turned away: the faster one's image is as good
        other = shelf.bases.known(recipe)
        if other is None or other == before:
            raise
        return shelf.open_image(other)
    progress.fact(f"{extension.what}: pushed {extension.target}, {made}")
    return shelf.open_image(shelf.bases.keep(recipe, made, instead=before))


def _there(shelf: Shelf, digest: str) -> BaseImage | None:
    """The base that was made before, unless it is gone."""
    image = shelf.open_image(digest)
    with suppress(NotFound):
        image.manifest()
        return image
    return None


def _needs(wanted: ExtendInput, artifact: Artifact, blobs: Blobs) -> Needs:
    requirements: tuple[str, ...] = ()
    if wanted.image.requirements == "install":
        packager: Packager = packager_of(artifact)
        with blobs.open(artifact.blob) as reader:
            requirements = requirements_of(artifact, packager, reader)
    return Needs.of(wanted.image, requirements)


def _config(base: BaseImage, raw: bytes) -> bytes:
    return read_small(base.content(parse_manifest(raw).config), _CONFIG_MAX, "The base image's config")


def _target(repository: str, tag: str) -> str:
    return f"{repository}:{tag}" if repository.startswith("oci:") else str(ImageName.parse(f"{repository}:{tag}"))


def _name(base: BaseImage, folder: str, needs: Needs) -> str:
    if base.reference is not None:
        return str(base.reference)
    if not folder.startswith("oci:"):
        raise InvalidInput(
            f"The model needs {needs}, and its base image is in no registry from which that could be added to it: set a"
            " base in a registry under [bases] in sluice.toml."
        )
    return folder
