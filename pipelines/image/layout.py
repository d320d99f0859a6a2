"""Images in a folder (OCI image specification 1.1, "Image Layout"), which skopeo, crane and podman read too."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.digests import Hashed
from pipelines.image.content import Content, Data, Kept, check_content, read_small
from pipelines.image.images import Reference
from pipelines.image.oci import (
    DOCKER_INDEX_TYPE,
    INDEX_TYPE,
    MANIFEST_MAX,
    MANIFEST_TYPE,
    REF_NAME,
    Descriptor,
    canonical,
    parse_manifest,
)
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

    def __init__(self, folder: Path, tag: str | None = None, digest: str | None = None) -> None:
        self._folder = folder
        self._tag = tag
        self._digest = digest

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

    @property
    def reference(self) -> Reference | None:
        """None: no cluster can pull from a folder."""
        return None

    def manifest(self) -> bytes:
        """The image's manifest.

        Raises:
            NotFound: the folder or the tag does not exist.
            Refused: the tag names an index of several platforms, or the layout is damaged.
        """
        wanted = [item for item in _read_index(self._folder).manifests if self._is_this(item)]
        name = f"oci:{self._folder}" + (f":{self._tag}" if self._tag else "")
        if not wanted:
            raise NotFound(f"There is no base image {name}: fill it with `skopeo copy docker://… {name}`.")
        if len(wanted) > 1:
            raise InvalidInput(f"{name} holds {len(wanted)} images: add the tag of one, as in {name}:latest.")
        if wanted[0].media_type in (INDEX_TYPE, DOCKER_INDEX_TYPE):
            raise Refused(f"{name} holds images for several platforms: copy one, with skopeo's --override-arch amd64.")
        return read_small(self.content(wanted[0]), MANIFEST_MAX, f"The manifest of {name}")

    def _is_this(self, item: Descriptor) -> bool:
        if self._digest is not None:
            return item.digest == self._digest
        named = (item.annotations or {}).get(REF_NAME)
        return item.artifact_type is None if self._tag is None else named == self._tag

    def content(self, descriptor: Descriptor) -> Content:
        """A config or a layer."""
        return Kept(descriptor.digest, descriptor.size, lambda start: self._blob(descriptor.digest, start))

    def _blob(self, digest: str, start: int = 0) -> Iterator[bytes]:
        """Bytes of the layout; read from the first on, they are verified at their end.

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
            file.seek(start)
            hashed = Hashed(iter(lambda: file.read(CHUNK), b""))
            yield from hashed
        if not start and hashed.digest != digest:
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

    def prepare(self, model: str) -> None:
        """Make the folder."""
        (self.folder(model) / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)

    def put(self, model: str, content: Content) -> Blob:
        """Write bytes under their digest, whole or not at all; what is there already is not read.

        Raises:
            Refused: they are not the ones that the content's digest names.
        """
        folder = self.folder(model)
        if content.digest is not None and content.size is not None and self.has(model, content.digest):
            return Blob(content.digest, content.size)
        (folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        with _scratch(folder) as (file, path):
            hashed = Hashed(content.chunks())
            for chunk in hashed:
                file.write(chunk)
            check_content(content, Blob(hashed.digest, hashed.size))
            _flush(file)
            path.replace(_blob_path(folder, hashed.digest))
        return Blob(hashed.digest, hashed.size)

    def reference(self, model: str, digest: str) -> Reference:
        """How the folder's images are named, though no cluster can pull them by that."""
        return Reference(f"{LOCAL_HOST}/{model}", check_digest(digest))

    def push(self, model: str, manifest: bytes) -> Reference:
        """Write a manifest; it has no tag yet, and where it has a subject, the index lists it without one."""
        folder, parsed = self.folder(model), parse_manifest(manifest)
        digest = self.put(model, Data(manifest)).digest
        if parsed.subject is not None:
            item = Descriptor(
                media_type=MANIFEST_TYPE, digest=digest, size=len(manifest), artifact_type=parsed.artifact_type
            )
            with _locked(folder, ".lock"):
                index = _index_or_new(folder)
                if all(other.digest != digest for other in index.manifests):
                    _enter(folder, index, item)
        return self.reference(model, digest)

    def manifest(self, model: str, digest: str) -> bytes:
        """The manifest of an image that was pushed.

        Raises:
            NotFound: there is no such image.
        """
        stored = self.content(model, Descriptor(media_type=MANIFEST_TYPE, digest=check_digest(digest), size=0))
        return read_small(stored, MANIFEST_MAX, f"The manifest {digest}")

    def content(self, model: str, descriptor: Descriptor) -> Content:
        """A config or a layer that was put."""
        return LayoutImage(self.folder(model)).content(descriptor)

    def referrers(self, model: str, digest: str) -> tuple[Descriptor, ...]:
        """The manifests whose subject is this image."""
        found = []
        for item in _index_or_new(self.folder(model)).manifests:
            if REF_NAME not in (item.annotations or {}):
                manifest = parse_manifest(self.manifest(model, item.digest))
                if manifest.subject is not None and manifest.subject.digest == digest:
                    found.append(item)
        return tuple(found)

    def tagged(self, model: str, tag: str) -> str | None:
        """The digest of the image with this tag, or None."""
        named = _named(_index_or_new(self.folder(model)), tag)
        return named[0].digest if named else None

    def tag(self, model: str, tag: str, digest: str) -> None:
        """Name an image that was pushed.

        Raises:
            NotFound: there is no such image.
            Conflict: the tag names another image.
        """
        folder, size = self.folder(model), len(self.manifest(model, digest))
        with _locked(folder, ".lock"):
            index = _index_or_new(folder)
            named = _named(index, tag)
            if any(item.digest != digest for item in named):
                raise Conflict(
                    f"{folder} already has another image named {tag}, and tags are never moved: register a new version."
                )
            if named:
                return
            item = Descriptor(media_type=MANIFEST_TYPE, digest=digest, size=size, annotations={REF_NAME: tag})
            _enter(folder, index, item)


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


def _index_or_new(folder: Path) -> _Index:
    return _read_index(folder) if (folder / "index.json").exists() else _Index()


def _named(index: _Index, tag: str) -> list[Descriptor]:
    return [item for item in index.manifests if (item.annotations or {}).get(REF_NAME) == tag]


def _enter(folder: Path, index: _Index, item: Descriptor) -> None:
    _write(folder, "oci-layout", canonical({"imageLayoutVersion": "1.0.0"}))
    changed = index.model_copy(update={"manifests": (*index.manifests, item)})
    _write(folder, "index.json", canonical(changed.model_dump(by_alias=True, exclude_none=True)))


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
