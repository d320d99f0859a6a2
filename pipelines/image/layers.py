"""Which files of an artifact make which layer, and the layers' bytes.

A large file is a layer of its own, so that what changed beside it moves without it. A layer is a pure function of its
plan and of the files' bytes, whose digests are in the plan: one that was made before is known by its plan, and is not
made again to find out its digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, NonNegativeInt

from pipelines.archive import Member
from pipelines.digests import Hashed
from pipelines.image.canonical import canonical
from pipelines.image.compression import Compression, compressed, maker
from pipelines.image.oci import LAYER_TYPE, Layer
from pipelines.packagers import Concern, Packager
from pipelines.tarout import tar_size, write_tar
from registry.errors import Refused
from registry.facts import Artifact
from registry.names import Digest, VersionRef
from registry.store import Blob, Blobs

OWN_LAYER_FROM = 4 << 20
"""Bytes from which a file is a layer of its own."""
OWN_LAYERS_MAX = 64
"""Files that get one, the largest first."""
LAYERS_MAX = 127
"""Layers of an image, its base's among them: more are not mounted (overlayfs as Docker and containerd use it)."""
LAYER_MAX = 52_000 << 20
"""Bytes of a layer that ECR takes (Amazon ECR service quotas, "Maximum layer size")."""
_SPARE = 1 << 20
"""Left of that for headers and for what a compressor adds to what it cannot compress, beside 1 in 1000."""
_MAKING = 1
"""Raised whenever the same plan makes other bytes than before."""


class Placed(BaseModel):
    """A file of the artifact, and where the image has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    """In the image, without a leading slash."""
    member: str
    """In the artifact."""
    size: NonNegativeInt
    sha256: Digest


class LayerPlan(BaseModel):
    """All that a layer's bytes depend on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    concern: str
    """Why there is one; the bytes do not depend on it."""
    files: tuple[Placed, ...]
    folders: tuple[str, ...]
    """Those above the files that are not the base's, outermost first."""
    owner: int
    compression: Compression

    @property
    def recipe(self) -> str:
        """The name of what the plan makes: the sha256, in hexadecimal digits, of the plan."""
        files = [[file.path, file.size, file.sha256] for file in self.files]
        told = [_MAKING, self.owner, maker(self.compression), self.folders, files]
        return sha256(canonical(told)).hexdigest()

    @property
    def size(self) -> int | None:
        """Bytes of what the plan makes, where that is known before it is made."""
        if self.compression is not Compression.NONE:
            return None
        return tar_size(((file.path, file.size) for file in self.files), folders=self.folders, owner=self.owner)


class Recipes(Protocol):
    """Layers that were made before, by their recipes."""

    def known(self, recipe: str) -> Layer | None:
        """The layer that a plan made, or None."""

    def keep(self, recipe: str, layer: Layer) -> None:
        """Remember what a plan made.

        Raises:
            Conflict: another layer is remembered, although a plan always makes the same one.
        """


class Place(NamedTuple):
    """Where in an image an artifact goes; no slash at either end."""

    root: str
    """The folder that is Sluice's, "" where all of the image is; folders above it are the base's."""
    folder: str
    """The one below it that gets the artifact's files, "" for the root itself."""

    def path(self, file: str) -> str:
        """Where a file of that folder lies."""
        return "/".join(part for part in (self.root, self.folder, file) if part)


def plan_layers(
    artifact: Artifact,
    packager: Packager,
    place: Place,
    *,
    owner: int,
    compression: Compression,
    own_from: int = OWN_LAYER_FROM,
    own_max: int = OWN_LAYERS_MAX,
) -> tuple[LayerPlan, ...]:
    """The layers of an artifact: each large file, and then what is left, of the weights and after them of the code.

    Code is on top of weights, since what changes often is best read last.

    Raises:
        Refused: a file is larger than a layer can be.
    """
    placed = [
        Placed(path=place.path(file.path), member=file.path, size=file.size, sha256=file.sha256)
        for file in artifact.files
    ]
    large = sorted((file for file in placed if file.size >= own_from), key=lambda file: (-file.size, file.path))
    alone = {file.path for file in large[:own_max]}
    for file in placed:  # whether it is to be alone in its layer or not
        if _taken(file.size) > LAYER_MAX:
            raise Refused(
                f"{file.member} has {file.size} bytes, and a layer at most {LAYER_MAX}: save the weights in shards."
            )
    plans: list[LayerPlan] = []
    for concern in Concern:
        here = [file for file in placed if packager.concern(file.member) is concern]
        groups = [(file,) for file in here if file.path in alone]
        for files in (*groups, *_filled(file for file in here if file.path not in alone)):
            above = folders([file.path for file in files], place.root)
            plans.append(
                LayerPlan(concern=concern.value, files=files, folders=above, owner=owner, compression=compression)
            )
    return tuple(plans)


def _filled(files: Iterable[Placed]) -> Iterator[tuple[Placed, ...]]:
    """The files in their order, as many together as a layer can hold."""
    some: list[Placed] = []
    size = 0
    for file in files:
        if some and size + _taken(file.size) > LAYER_MAX:
            yield tuple(some)
            some, size = [], 0
        some.append(file)
        size += _taken(file.size)
    if some:
        yield tuple(some)


def _taken(size: int) -> int:
    """No less than what a file of this size takes of a layer, whatever the compression."""
    return size + size // 1000 + (_SPARE if size >= OWN_LAYER_FROM else 4096)


class Making:
    """One layer's bytes, made from the artifact; when they have arrived, it tells what `layer` they are.

    Each file's sha256 is compared with the artifact's as it is read. The layer's own is taken from whoever sends it,
    who hashes all that is sent anyway; only a tar that is compressed on its way is hashed here, for its diff id.
    """

    def __init__(self, plan: LayerPlan, artifact: Artifact, packager: Packager, blobs: Blobs) -> None:
        self._plan, self._artifact, self._packager, self._blobs = plan, artifact, packager, blobs
        self._tar = Hashed(())

    def chunks(self) -> Iterator[bytes]:
        """The layer's bytes; the same each time."""
        with self._blobs.open(self._artifact.blob) as reader:
            places = {file.member: file.path for file in self._plan.files}
            members = (
                member._replace(path=places[member.path])
                for member in self._packager.unpack(reader, self._artifact, places.keys())
            )
            yield from self._packed(members)

    def _packed(self, members: Iterable[Member]) -> Iterator[bytes]:
        tar = write_tar(members, folders=self._plan.folders, owner=self._plan.owner)
        if self._plan.compression is Compression.NONE:
            return tar
        self._tar = Hashed(tar)
        return compressed(self._tar, self._plan.compression)

    def layer(self, arrived: Blob) -> Layer:
        """What was made; `arrived` is what all of its bytes were when they were sent, as we counted and hashed them."""
        plain = self._plan.compression is Compression.NONE
        return Layer(
            concern=self._plan.concern,
            digest=arrived.digest,
            size=arrived.size,
            diff_id=arrived.digest if plain else self._tar.digest,
            media_type=media_type(self._plan.compression),
        )


def folders(paths: Iterable[str], root: str) -> tuple[str, ...]:
    """Every folder above the paths from `root` on, outermost first; those above `root` belong to the base."""
    above = {path[:at] for path in paths for at, letter in enumerate(path) if letter == "/"}
    return tuple(sorted(folder for folder in above if not root or f"{folder}/".startswith(f"{root}/")))


def media_type(compression: Compression) -> str:
    """The media type of a layer."""
    return LAYER_TYPE if compression is Compression.NONE else f"{LAYER_TYPE}+{compression.value}"


def layer_title(plan: LayerPlan, ref: VersionRef) -> str:
    """What progress calls the making of a layer."""
    what = plan.files[0].path.rpartition("/")[2] if len(plan.files) == 1 else plan.concern
    return f"{what} of {ref}"
