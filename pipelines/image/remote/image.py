"""A base image in a registry."""

from __future__ import annotations

from hashlib import sha256
from threading import Lock
from typing import NamedTuple

from pipelines.image.content import Content, Data, Kept, Origin
from pipelines.image.images import Reference
from pipelines.image.oci import Descriptor, parse_manifest, platform_of
from pipelines.image.remote.manifests import Platform, chosen, is_index, missing
from pipelines.image.remote.names import ImageName
from pipelines.image.remote.repository import Found, Repository
from pipelines.image.remote.transport import Transport
from registry.errors import Refused

_CONFIG_MAX = 8 << 20


class _Resolved(NamedTuple):
    manifest: Found
    config: bytes | None
    """Where it had to be read."""


class RemoteImage:
    """One image in a registry; of an index, the one for a platform. Its manifest is fetched once.

    Raises:
        InvalidInput: the platform is none.
    """

    def __init__(self, name: ImageName, transport: Transport, platform: str = "linux/amd64") -> None:
        self._name = name
        self._platform = Platform.parse(platform)
        self._repository = Repository(transport, name.repository)
        self._lock = Lock()
        self._known: _Resolved | None = None

    @property
    def reference(self) -> Reference:
        """The image by the digest of its own manifest, also where the name is an index's.

        Raises:
            NotFound: there is no such image, or none for the platform.
            Refused: what is there cannot be used.
            Unavailable: the registry does not answer.
        """
        return Reference(f"{self._name.host}/{self._name.repository}", self._resolved().manifest.digest)

    def manifest(self) -> bytes:
        """The image's manifest, as it is stored: OCI's, or docker's schema 2.

        Raises:
            As `reference`.
        """
        return self._resolved().manifest.data

    def content(self, descriptor: Descriptor) -> Content:
        """A config or a layer."""
        known = self._known
        if known and known.config is not None and descriptor.digest == _digest(known.config):
            return Data(known.config)
        return blob_content(self._repository, descriptor)

    def _resolved(self) -> _Resolved:
        with self._lock:
            if self._known is None:
                self._known = self._resolve()
            return self._known

    def _resolve(self) -> _Resolved:
        name = str(self._name)
        found = self._repository.manifest(self._name.version)
        if is_index(found, name):
            image = self._repository.manifest(chosen(found, self._platform, name))
            if is_index(image, name):
                raise Refused(f"{name} holds an index in its index: give the image itself by its digest.")
            return _Resolved(image, None)
        return _Resolved(found, self._checked_config(found, name))

    def _checked_config(self, found: Found, name: str) -> bytes:
        """The config of an image that no index gave for a platform, so that it must say itself what it runs on."""
        wanted = parse_manifest(found.data).config
        if wanted.size > _CONFIG_MAX:
            raise Refused(f"The config of {name} has {wanted.size} bytes, which none needs: push the image again.")
        config = b"".join(blob_content(self._repository, wanted).chunks())
        there = platform_of(config)
        if not Platform.parse(there).same(self._platform):
            raise missing(name, self._platform, [there])
        return config


def blob_content(repository: Repository, descriptor: Descriptor) -> Content:
    """A blob of a repository; other repositories of the same registry may mount it."""
    return Kept(
        descriptor.digest,
        descriptor.size,
        lambda start: repository.blob(descriptor.digest, descriptor.size, start),
        Origin(repository.transport.host, repository.name),
    )


def _digest(data: bytes) -> str:
    return "sha256:" + sha256(data).hexdigest()
