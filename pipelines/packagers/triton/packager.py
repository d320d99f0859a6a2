"""Triton: a tar of a model repository, `<model>/config.pbtxt` and `<model>/<version>/…` for each of its models.

Triton documentation, "Model Repository".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from posixpath import basename
from typing import Literal

from gitops.release import Runtime
from pipelines.archive import Member
from pipelines.digests import Hashed, wanted_verified
from pipelines.packagers.base import Concern, Layout, Packed, PackRequest
from pipelines.packagers.signatures import SignatureFiles
from pipelines.packagers.triton.config import CONFIG
from pipelines.packagers.triton.places import places
from pipelines.packagers.triton.repository import Repository
from pipelines.tarin import read_tar
from pipelines.tarout import write_tar
from registry.facts import Artifact, FileFact
from registry.names import VersionRef
from registry.store import Reader


class TritonPackager:
    """An ONNX or TorchScript file, or a model repository, as a repository whose served model has the model's name."""

    type: Literal["triton"] = "triton"
    runtime = Runtime.TRITON

    def pack(self, members: Iterable[Member], request: PackRequest, packed: Packed) -> Iterator[bytes]:
        """A tar of a model repository; a `config.pbtxt` is checked, and written where an ONNX or TorchScript has none.

        An ONNX file takes along what lies beside it and may hold its weights. Of a repository each model's folder is
        taken, and nothing beside them. The served model's folder gets the model's name; where there are several
        models, that is the one ensemble, or the one that has the name already.

        Raises:
            InvalidInput: Triton could not load it, or its sample does not fit it.
            Refused: it needs the TensorFlow backend, which Triton has no more.
        """
        return write_tar(self._hashed(self._members(members, request, packed), packed))

    def unpack(self, reader: Reader, artifact: Artifact, wanted: Collection[str] | None = None) -> Iterator[Member]:
        """The wanted files of the repository, verified.

        Raises:
            Refused: the bytes are not what `artifact` says.
        """
        return wanted_verified(read_tar(reader), artifact.files, wanted)

    def concern(self, path: str) -> Concern:
        """Python and configs are code, all else is weights."""
        return Concern.CODE if path.endswith(".py") or basename(path) == CONFIG else Concern.WEIGHTS

    def layout(self, ref: VersionRef, artifact: Artifact) -> Layout:  # noqa: ARG002  # all are laid out alike
        """The repository is `models/`."""
        return Layout(folder="models", config={})

    def _members(self, members: Iterable[Member], request: PackRequest, packed: Packed) -> Iterator[Member]:
        model = request.ref.model
        to, told, repository = places(request.scan, model), SignatureFiles(request.scan.root), Repository(model)
        for member in members:
            noted = told.watch(member)
            if member.path in to:
                yield repository.watch(noted._replace(path=to[member.path]))
            elif noted is not member:
                for _ in noted.chunks:
                    pass
        given = told.signature()
        yield from repository.rest(given)
        packed.signature = repository.signature(given)

    def _hashed(self, members: Iterable[Member], packed: Packed) -> Iterator[Member]:
        for member in members:
            hashed = Hashed(member.chunks)
            yield member._replace(chunks=iter(hashed))
            packed.files.append(FileFact(path=member.path, size=member.size, sha256=hashed.digest))
