"""TensorFlow Serving: a tar of `<model>/<version>/saved_model.pb` and what belongs to it.

TensorFlow Serving loads `<base path>/<number>/` (TensorFlow Serving guide, "Serving a TensorFlow model"), from a local
folder only: 2.7 dropped its S3 file system.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from gitops.release import Runtime
from pipelines.archive import Member
from pipelines.digests import Hashed, all_verified
from pipelines.packagers.base import Concern, Layout, PackRequest
from pipelines.tarin import read_tar
from pipelines.tarout import write_tar
from registry.facts import Artifact, FileFact
from registry.names import VersionRef
from registry.store import Reader


class SavedModelPackager:
    """A SavedModel, as a tar that TensorFlow Serving's folder is made of."""

    type: Literal["saved-model"] = "saved-model"
    runtime = Runtime.TENSORFLOW_SERVING

    def pack(self, members: Iterable[Member], request: PackRequest, files: list[FileFact]) -> Iterator[bytes]:
        """A tar of the SavedModel's own files, under `<model>/<version>/`; what lies outside it stays out."""
        return write_tar(self._renamed(members, request, files))

    def unpack(self, reader: Reader, artifact: Artifact) -> Iterator[Member]:
        """The files under `<model>/<version>/`, verified.

        Raises:
            Refused: the bytes are not what `artifact` says.
        """
        return all_verified(read_tar(reader), artifact.files)

    def concern(self, path: str) -> Concern:  # noqa: ARG002  # no path is anything else
        """All of it is weights: a SavedModel holds its graph and its variables together."""
        return Concern.WEIGHTS

    def layout(self, ref: VersionRef) -> Layout:
        """`/models/<model>/<version>/`, REST on 8501 and gRPC on 8500."""
        return Layout(
            folder="models",
            config={},
            entrypoint=(
                "tensorflow_model_server",
                "--port=8500",
                "--rest_api_port=8501",
                f"--model_name={ref.model}",
                f"--model_base_path=/models/{ref.model}",
            ),
            user=1000,
            working_dir="/models",
        )

    def _renamed(self, members: Iterable[Member], request: PackRequest, files: list[FileFact]) -> Iterator[Member]:
        root = request.scan.root + "/" if request.scan.root else ""
        for member in members:
            if not member.path.startswith(root):
                continue
            path = f"{request.ref.model}/{request.ref.number}/{member.path.removeprefix(root)}"
            hashed = Hashed(member.chunks)
            yield Member(path, member.size, iter(hashed))
            files.append(FileFact(path=path, size=member.size, sha256=hashed.digest))
