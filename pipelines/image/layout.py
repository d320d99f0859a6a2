"""Images in a folder (OCI image specification 1.1, "Image Layout"), which skopeo, crane and podman read too."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.digests import Hashed
from pipelines.image.images import Reference
from pipelines.image.oci import INDEX_TYPE, MANIFEST_TYPE, REF_NAME, Descriptor, canonical
from registry.errors import Conflict, InvalidInput, NotFound, Refused
from registry.names import check_digest
from registry.store import CHUNK, Blob

LOCAL_HOST = "oci.local"
"""Stands for a registry's host in references to images that are in a folder."""


class _Index(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    schema_version: int = Field(default=2, alias="schemaVersion")
    media_type: str = Field(default=INDEX_TYPE, alias="mediaType")
    manifests: tuple[Descriptor, ...] = ()


class LayoutImage:
    """One image in a layout: `oci:folder` or `oci:folder:tag`, as skopeo writes it."""

    def __init__(self, folder: Path, tag: str | None = None) -> None:
        self._folder = folder
        self._tag = tag

    @classmethod
    def parse(cls, text: str) -> LayoutImage:
        """Read `oci:folder[:tag]` (containers-transports(5)).

        Raises:
            InvalidInput: it is something else.
        """
        scheme, _, rest = text.partition(":")
        folder, _, tag = rest.partition(":")
        if scheme != "oci" or not folder:
            raise InvalidInput(
                f"{text!r} is not an image in a folder: write oci:folder:tag, and fill the folder with"
                " `skopeo copy docker://… oci:folder:tag`."
            )
        return cls(Path(folder), tag or None)

    def manifest(self) -> bytes:
        """The image's manifest.

        Raises:
            NotFound: the folder or the tag does not exist.
            Refused: the tag names an index of several platforms, or the layout is damaged.
        """
        wanted = [
            item
            for item in _read_index(self._folder).manifests
            if self._tag is None or (item.annotations or {}).get(REF_NAME) == self._tag
        ]
        name = f"oci:{self._folder}" + (f":{self._tag}" if self._tag else "")
        if not wanted:
            raise NotFound(f"There is no base image {name}: fill it with `skopeo copy docker://… {name}`.")
        if len(wanted) > 1:
            raise InvalidInput(f"{name} holds {len(wanted)} images: add the tag of one, as in {name}:latest.")
        if wanted[0].media_type == INDEX_TYPE:
            raise Refused(f"{name} holds images for several platforms: copy one, with skopeo's --override-arch amd64.")
        return b"".join(self.blob(wanted[0].digest))

    def blob(self, digest: str) -> Iterator[bytes]:
        """Bytes of the layout, verified at their end.

        Raises:
            NotFound: the layout lacks them.
            Refused: other bytes are there.
        """
        path = _blob_path(self._folder, digest)
        try:
            file = path.open("rb")
        except FileNotFoundError as error:
            raise NotFound(f"The image in {self._folder} lacks {digest}: copy it there again.") from error
        with file:
            hashed = Hashed(iter(lambda: file.read(CHUNK), b""))
            yield from hashed
        if hashed.digest != digest:
            raise Refused(f"{path} holds other bytes than its name says: copy the image there again.")


class LayoutDestination:
    """A layout in a folder of its own for each model; safe for several builders at once."""

    def __init__(self, folder: Path) -> None:
        self._root = folder

    def folder(self, model: str) -> Path:
        """Where the images of a model lie."""
        return self._root / model

    def has(self, model: str, digest: str) -> bool:
        """Whether the model's layout has these bytes."""
        return _blob_path(self.folder(model), digest).exists()

    def put(self, model: str, chunks: Iterable[bytes]) -> Blob:
        """Write bytes under their digest, whole or not at all."""
        folder = self.folder(model)
        (folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        with _scratch(folder) as (file, path):
            hashed = Hashed(chunks)
            for chunk in hashed:
                file.write(chunk)
            _flush(file)
            path.replace(_blob_path(folder, hashed.digest))
        return Blob(hashed.digest, hashed.size)

    def push(self, model: str, manifest: bytes) -> Reference:
        """Write a manifest; it has no tag yet."""
        return Reference(f"{LOCAL_HOST}/{model}", self.put(model, [manifest]).digest)

    def manifest(self, model: str, digest: str) -> bytes:
        """The manifest of an image that was pushed.

        Raises:
            NotFound: there is no such image.
        """
        return b"".join(LayoutImage(self.folder(model)).blob(digest))

    def tag(self, model: str, tag: str, digest: str) -> None:
        """Name an image that was pushed.

        Raises:
            NotFound: there is no such image.
            Conflict: the tag names another image.
        """
        folder, size = self.folder(model), len(self.manifest(model, digest))
        with _locked(folder, ".lock"):
            index = _read_index(folder) if (folder / "index.json").exists() else _Index()
            named = [item for item in index.manifests if (item.annotations or {}).get(REF_NAME) == tag]
            if any(item.digest != digest for item in named):
                raise Conflict(
                    f"{folder} already has another image named {tag}, and tags are never moved: register a new version."
                )
            if named:
                return
            item = Descriptor(media_type=MANIFEST_TYPE, digest=digest, size=size, annotations={REF_NAME: tag})
            _write(folder, "oci-layout", canonical({"imageLayoutVersion": "1.0.0"}))
            changed = index.model_copy(update={"manifests": (*index.manifests, item)})
            _write(folder, "index.json", canonical(changed.model_dump(by_alias=True, exclude_none=True)))


def _blob_path(folder: Path, digest: str) -> Path:
    return folder / "blobs" / "sha256" / check_digest(digest).removeprefix("sha256:")


def _read_index(folder: Path) -> _Index:
    try:
        return _Index.model_validate_json((folder / "index.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(
            f"There is no OCI image layout in {folder}: fill it with `skopeo copy docker://… oci:{folder}:latest`."
        ) from error
    except ValidationError as error:
        raise Refused(f"{folder}/index.json is not an OCI image index: copy the image there again.") from error


def _write(folder: Path, name: str, data: bytes) -> None:
    with _scratch(folder) as (file, path):
        file.write(data)
        _flush(file)
        path.replace(folder / name)


@contextmanager
def _scratch(folder: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A file near its later place; it is gone afterwards unless it was moved there, or at the next when killed."""
    with _locked(folder, ".scratch"):
        for left in folder.glob(".part-*"):
            _remove_abandoned(left)
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=".part-")
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # until it is closed, however that comes
    path = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o644)
            yield file, path
    finally:
        path.unlink(missing_ok=True)


def _remove_abandoned(path: Path) -> None:
    with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def _locked(folder: Path, name: str) -> Iterator[None]:
    with (folder / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
