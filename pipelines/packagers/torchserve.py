"""TorchServe: a `.mar` archive (TorchServe docs, "Torch Model archiver for TorchServe").

A `.mar` is a zip of the model's files with `MAR-INF/MANIFEST.json`. TorchServe reads it front to back and refuses an
entry that is stored with its size behind it; one that is deflated at level 0 is as fast, and it takes that.
Inside an image the archive lies unpacked, which TorchServe loads without a copy.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from importlib import resources
from typing import IO, Literal, cast

from gitops.release import Runtime
from pipelines.archive import Member
from pipelines.digests import Hashed, all_verified, even
from pipelines.packagers.base import Concern, Layout, PackRequest
from registry.errors import Refused
from registry.facts import Artifact, FileFact
from registry.names import VersionRef
from registry.store import CHUNK, Reader

HANDLER = "sluice_handler.py"
MANIFEST = "MAR-INF/MANIFEST.json"
_HOME = "home/model-server"
_ZIP64_FROM = 1 << 30
"""Well below the 2 GiB at which zipfile gives up on an entry without it: deflate at level 0 adds some bytes."""
_UTF8_AND_DESCRIPTOR = 0x808
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError)
_LOAD_SECONDS = 1200
"""How long a worker may load: as long as a pod may start. TorchServe's own 120 s are too few for a large model."""
_SERVE = (
    "trap 'torchserve --stop --foreground' TERM; "
    f"torchserve --start --foreground --ncs --ts-config /{_HOME}/config.properties & wait $!"
)
"""TorchServe's launcher does not handle SIGTERM, so as process 1 it would ignore it and be killed at the end of the
grace period; a shell takes the signal and stops the server in order."""


class TorchServePackager:
    """A TorchScript file with the handler that serves it, as a `.mar`."""

    type: Literal["mar"] = "mar"
    runtime = Runtime.TORCHSERVE

    def pack(self, members: Iterable[Member], request: PackRequest, files: list[FileFact]) -> Iterator[bytes]:
        """A `.mar` of the TorchScript file, the handler and the manifest; what else the training left stays out."""
        sink = _Sink()
        with zipfile.ZipFile(cast("IO[bytes]", sink), "w", zipfile.ZIP_DEFLATED, compresslevel=0) as mar:
            for member in _with_additions(members, request):
                hashed = Hashed(member.chunks)
                # by name, not ZipInfo: only so does zipfile keep to level 0, and it sets no clock's time
                with mar.open(member.path, "w", force_zip64=member.size >= _ZIP64_FROM) as entry:
                    for chunk in even(hashed):
                        entry.write(chunk)
                        yield sink.taken()
                yield sink.taken()
                files.append(FileFact(path=member.path, size=member.size, sha256=hashed.digest))
        yield sink.taken()

    def unpack(self, reader: Reader, artifact: Artifact) -> Iterator[Member]:
        """The files of the `.mar`, verified.

        Raises:
            Refused: the bytes are not what `artifact` says.
        """
        try:
            mar = zipfile.ZipFile(cast("IO[bytes]", reader))
        except _DAMAGED as error:
            raise _refused(error) from error
        with mar:
            members = (Member(i.filename, i.file_size, _chunks(mar, i)) for i in mar.infolist())
            yield from all_verified(members, artifact.files)

    def concern(self, path: str) -> Concern:
        """Python and the manifest are code, all else is weights."""
        return Concern.CODE if path.endswith(".py") or path == MANIFEST else Concern.WEIGHTS

    def layout(self, ref: VersionRef) -> Layout:
        """An unpacked archive in the model store; inference on 8080, management on loopback only, metrics on 8082."""
        config = (
            "inference_address=http://0.0.0.0:8080\n"
            "management_address=http://127.0.0.1:8081\n"
            "metrics_address=http://0.0.0.0:8082\n"
            "metrics_mode=prometheus\n"
            f"model_store=/{_HOME}/model-store\n"
            f"load_models={ref.model}\n"
            "default_workers_per_model=1\n"
            f"default_startup_timeout={_LOAD_SECONDS}\n"
            "disable_token_authorization=true\n"
            "install_py_dep_per_model=false\n"
        )
        return Layout(
            folder=f"{_HOME}/model-store/{ref.model}",
            config={f"{_HOME}/config.properties": config.encode()},
            entrypoint=("sh", "-c", _SERVE),
            user=1000,
            working_dir=f"/{_HOME}",
        )


def _with_additions(members: Iterable[Member], request: PackRequest) -> Iterator[Member]:
    for member in members:
        # TorchServe puts the model's folder on its workers' import path, so any other file could become their code
        if member.path == request.scan.root:
            yield member
    yield _bytes_member(HANDLER, _handler())
    yield _bytes_member(MANIFEST, _manifest(request))


def _handler() -> bytes:
    return resources.files("pipelines.packagers").joinpath("handlers", HANDLER).read_bytes()


def _manifest(request: PackRequest) -> bytes:
    manifest = {
        "createdOn": request.created_at.strftime("%d/%m/%Y %H:%M:%S"),
        "runtime": "python",
        "model": {
            "modelName": request.ref.model,
            "serializedFile": request.scan.root,
            "handler": HANDLER,
            "modelVersion": str(request.ref.number),
        },
        "archiverVersion": "0.12.0",
    }
    return json.dumps(manifest, indent=2).encode() + b"\n"


def _bytes_member(path: str, data: bytes) -> Member:
    return Member(path, len(data), iter((data,)))


def _chunks(mar: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    if info.compress_type != zipfile.ZIP_DEFLATED or info.flag_bits & ~_UTF8_AND_DESCRIPTOR:
        raise Refused(f"The .mar holds {info.filename[:200]!r} as Sluice never writes it: restore it from a copy.")
    try:
        with mar.open(info) as file:
            while chunk := file.read(CHUNK):
                yield chunk
    except _DAMAGED as error:
        raise _refused(error) from error


def _refused(error: Exception) -> Refused:
    return Refused(f"The artifact is not the .mar it should be ({error}): restore it from a copy.")


class _Sink(io.RawIOBase):
    """What zipfile writes to, so that the bytes can be taken out again as they come."""

    def __init__(self) -> None:
        super().__init__()
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        view = memoryview(cast("bytes", data))
        self._written += view
        return view.nbytes

    def taken(self) -> bytes:
        data = bytes(self._written)
        self._written.clear()
        return data
