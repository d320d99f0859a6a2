"""Training outputs of a few bytes, packed for TorchServe."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from pipelines.archive import Limits, Member
from pipelines.packagers import Packed, PackRequest
from pipelines.packagers.torchserve import TorchServePackager
from registry.facts import Artifact, FileFact, Format, Scan, Signature
from registry.names import VersionRef

NOBODY = "sha256:" + "0" * 64


class Mar(NamedTuple):
    """What came out."""

    data: bytes
    artifact: Artifact
    signature: Signature | None

    @property
    def files(self) -> dict[str, bytes]:
        """What is in it, read back as Sluice does, in its order."""
        found = TorchServePackager().unpack(io.BytesIO(self.data), self.artifact)
        return {member.path: b"".join(member.chunks) for member in found}

    @property
    def paths(self) -> list[str]:
        return [fact.path for fact in self.artifact.files]

    @property
    def manifest(self) -> Any:
        return json.loads(self.files["MAR-INF/MANIFEST.json"])

    @property
    def model(self) -> Any:
        """The manifest's part on the model, without what is the version's."""
        told = self.manifest["model"]
        return {name: value for name, value in told.items() if name not in ("modelName", "modelVersion")}


def members(files: Mapping[str, bytes], step: int) -> Iterator[Member]:
    for path, data in files.items():
        yield Member(path, len(data), (data[at : at + step] for at in range(0, len(data), step)))


@pytest.fixture(scope="session")
def mar() -> Callable[..., Mar]:
    """`mar({"model.pt": b"…"})` packs files as a scan would have found them."""

    def run(
        files: Mapping[str, bytes],
        form: Format = Format.TORCHSCRIPT,
        root: str = "",
        handler: str = "",
        step: int = 1 << 20,
        ref: str = "m@1",
        limits: Limits | None = None,
    ) -> Mar:
        root = root or next(iter(files))
        facts = tuple(FileFact(path=p, size=len(d), sha256=digest_of(d)) for p, d in files.items())
        scan = Scan(source=NOBODY, size=1, format=form, root=root, files=facts)
        created = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
        request = PackRequest(
            ref=VersionRef.parse(ref), scan=scan, created_at=created, handler=handler, limits=limits or Limits()
        )
        packed = Packed()
        data = b"".join(TorchServePackager().pack(members(files, step), request, packed))
        artifact = Artifact(type="mar", source=NOBODY, blob=NOBODY, size=len(data), files=tuple(packed.files))
        return Mar(data, artifact, packed.signature)

    return run


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="session")
def archived() -> Callable[..., bytes]:
    """A `.mar` as torch-model-archiver packs it: `archived({"handler.py": b"…"}, handler="handler.py")`."""

    def run(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED, **model: object) -> bytes:
        manifest = {
            "createdOn": "01/02/2025 03:04:05",
            "runtime": "python",
            "model": {"modelName": "other", "modelVersion": "9.9", **model},
            "archiverVersion": "0.12.0",
        }
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            for path, data in files.items():
                archive.writestr(path, data)
            archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest, indent=2))
        return out.getvalue()

    return run
