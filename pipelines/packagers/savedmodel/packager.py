"""TensorFlow Serving: a tar of `<model>/<version>/saved_model.pb` and what belongs to it.

TensorFlow Serving loads `<base path>/<number>/` (TensorFlow Serving guide, "Serving a TensorFlow model"), from a local
folder only: 2.7 dropped its S3 file system.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Literal

from gitops.release import Runtime
from pipelines.archive import Member
from pipelines.digests import Hashed, wanted_verified
from pipelines.packagers.base import Concern, Layout, Packed, PackRequest
from pipelines.packagers.protos.sieve import Sieve
from pipelines.packagers.protos.tensorflow import saved_model
from pipelines.packagers.savedmodel.described import Described, described
from pipelines.packagers.savedmodel.requests import WARMUP, made_sample, read_sample, warmup
from pipelines.packagers.savedmodel.variables import INDEX, INDEX_MAX, check_variables
from pipelines.packagers.signatures import SignatureFiles
from pipelines.packagers.values import check_names
from pipelines.tarin import read_tar
from pipelines.tarout import write_tar
from registry.errors import InvalidInput
from registry.facts import Artifact, FileFact, Signature
from registry.names import VersionRef
from registry.store import Reader

_MODEL = "saved_model.pb"


class SavedModelPackager:
    """A SavedModel, as a tar that TensorFlow Serving's folder is made of."""

    type: Literal["saved-model"] = "saved-model"
    runtime = Runtime.TENSORFLOW_SERVING

    def pack(self, members: Iterable[Member], request: PackRequest, packed: Packed) -> Iterator[bytes]:
        """A tar of the SavedModel's own files, under `<model>/<version>/`, and a warm-up request where it has none.

        What lies outside the SavedModel stays out, once a sample in it has been noted.

        Raises:
            InvalidInput: TensorFlow Serving would not load it, or its sample does not fit it.
        """
        return write_tar(self._hashed(self._members(members, request, packed), packed))

    def unpack(self, reader: Reader, artifact: Artifact, wanted: Collection[str] | None = None) -> Iterator[Member]:
        """The wanted files under `<model>/<version>/`, verified.

        Raises:
            Refused: the bytes are not what `artifact` says.
        """
        return wanted_verified(read_tar(reader), artifact.files, wanted)

    def concern(self, path: str) -> Concern:  # noqa: ARG002  # no path is anything else
        """All of it is weights: a SavedModel holds its graph and its variables together."""
        return Concern.WEIGHTS

    def layout(self, ref: VersionRef, artifact: Artifact) -> Layout:  # noqa: ARG002  # all are laid out alike
        """`models/<model>/<version>/`."""
        return Layout(folder="models", config={})

    def _members(self, members: Iterable[Member], request: PackRequest, packed: Packed) -> Iterator[Member]:
        root = request.scan.root + "/" if request.scan.root else ""
        to = f"{request.ref.model}/{request.ref.number}/"
        told, contents = SignatureFiles(request.scan.root), _Contents()
        for member in members:
            noted = told.watch(member)
            if member.path.startswith(root):
                noted = contents.watch(noted._replace(path=member.path.removeprefix(root)))
                yield noted._replace(path=to + noted.path)
            elif noted is not member:
                for _ in noted.chunks:
                    pass
        model = contents.described()
        given = told.signature()
        packed.signature = _signature(model, given)
        if WARMUP not in contents.sizes:
            sample = read_sample(given.sample, model) if given and given.sample is not None else None
            made = warmup(request.ref.model, model, sample)
            if made is not None:
                yield Member(to + WARMUP, len(made), iter((made,)))

    def _hashed(self, members: Iterable[Member], packed: Packed) -> Iterator[Member]:
        for member in members:
            hashed = Hashed(member.chunks)
            yield member._replace(chunks=iter(hashed))
            packed.files.append(FileFact(path=member.path, size=member.size, sha256=hashed.digest))


class _Contents:
    """The files of one SavedModel, by their paths in it, and what is learnt of them as they go by."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self._sieve = Sieve(saved_model()["SavedModel"], _MODEL)
        self._index: list[bytes] = []

    def watch(self, member: Member) -> Member:
        """The member as it came, noting what matters in it."""
        self.sizes[member.path] = member.size
        if member.path == _MODEL:
            return member._replace(chunks=self._sieve.watch(member.chunks))
        if member.path != INDEX:
            return member
        if member.size > INDEX_MAX:
            raise InvalidInput(
                f"{INDEX} has {member.size} bytes, and {INDEX_MAX} are the most: export the model again."
            )
        return member._replace(chunks=self._noted(member.chunks))

    def described(self) -> Described:
        """What the SavedModel says of itself, once all its files have gone by.

        Raises:
            InvalidInput: TensorFlow Serving would not load it.
        """
        model = described(self._sieve.message())
        index = b"".join(self._index) if INDEX in self.sizes else None
        check_variables(index, self.sizes, model.has_variables)
        missing = next((name for name in model.assets if f"assets/{name}" not in self.sizes), None)
        if missing is not None:
            raise InvalidInput(
                f"The SavedModel needs {f'assets/{missing[:200]}'!r}, which is missing: copy the whole folder that"
                " tf.saved_model.save wrote."
            )
        return model

    def _noted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._index.append(chunk)
            yield chunk


def _signature(model: Described, given: Signature | None) -> Signature:
    """The model's own inputs and outputs; the sample that came with it, else one of zeros."""
    sample, told_by = made_sample(model), _MODEL
    if given is not None:
        check_names(given, model.inputs, model.outputs, _MODEL)
        if given.sample is not None:
            sample, told_by = given.sample, f"{_MODEL} and {given.told_by}"
    return Signature(inputs=model.inputs, outputs=model.outputs, sample=sample, told_by=told_by)
