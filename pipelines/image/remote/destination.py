"""Pushing to a registry."""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from threading import Lock

from pipelines.image.content import Content
from pipelines.image.images import Reference
from pipelines.image.oci import Descriptor, parse_manifest
from pipelines.image.remote.dialects import Dialect
from pipelines.image.remote.image import blob_content
from pipelines.image.remote.names import Place, check_tag
from pipelines.image.remote.referrers import descriptor_of, refer, referrers_of
from pipelines.image.remote.repository import Repository
from pipelines.image.remote.transport import Transport
from pipelines.image.remote.uploads import put_blob
from registry.errors import Conflict
from registry.names import check_digest
from registry.store import Blob


class RegistryDestination:
    """Repositories below one place in a registry, one for each model. Safe for several builders at once."""

    def __init__(self, place: Place, transport: Transport, dialect: Dialect | None = None) -> None:
        self.place = place
        self._transport = transport
        self._dialect = dialect or Dialect.of(place.host)
        self._listing = Lock()

    def has(self, model: str, digest: str) -> bool:
        """Whether the repository has these bytes, as a blob or as a manifest; one request, two where it is no blob."""
        repository = self._repository(model)
        return repository.blob_size(digest) is not None or repository.digest_of(digest) is not None

    def prepare(self, model: str) -> None:
        """Nothing: a registry makes a repository of what is put there, or wants it made by hand."""
        self._repository(model)

    def put(self, model: str, content: Content) -> Blob:
        """Have the bytes in the repository: found there, mounted from their origin, or sent.

        One request where they are there. Three to send what is small or of an unknown digest, four otherwise.

        Raises:
            Refused: the bytes are not the ones that the content's digest names, or the registry does not take them.
            Unavailable: the registry does not answer.
        """
        return put_blob(self._repository(model), content, self._dialect)

    def reference(self, model: str, digest: str) -> Reference:
        """How a cluster names an image of that digest here; nothing is asked."""
        return Reference(str(self._repository(model)), check_digest(digest))

    def push(self, model: str, manifest: bytes) -> Reference:
        """Send a manifest whose config and layers are there, unless it is there; two requests, one where it is.

        Raises:
            Refused: it is none, or the registry does not take it.
            Conflict: it has a subject, and the registry cannot keep account of it.
        """
        repository, parsed = self._repository(model), parse_manifest(manifest)
        digest = "sha256:" + sha256(manifest).hexdigest()
        there = repository.digest_of(digest) is not None
        listed = False
        if not there:
            headers = repository.put_manifest(digest, manifest, parsed.media_type)
            listed = "OCI-Subject" in headers
        if parsed.subject is not None and not listed:
            self._list(repository, parsed.subject.digest, descriptor_of(digest, len(manifest), parsed))
        return self.reference(model, digest)

    def manifest(self, model: str, digest: str) -> bytes:
        """The manifest of an image that was pushed.

        Raises:
            NotFound: there is no such image.
            Refused: other bytes are there.
        """
        return self._repository(model).manifest(check_digest(digest)).data

    def content(self, model: str, descriptor: Descriptor) -> Content:
        """A config or a layer that was put."""
        return blob_content(self._repository(model), descriptor)

    def referrers(self, model: str, digest: str) -> tuple[Descriptor, ...]:
        """The manifests whose subject is this image; one request, two where the registry does not list them."""
        return referrers_of(self._repository(model), check_digest(digest))

    def tagged(self, model: str, tag: str) -> str | None:
        """The digest of the image with this tag, or None; one request."""
        return self._repository(model).digest_of(check_tag(tag))

    def tag(self, model: str, tag: str, digest: str) -> None:
        """Name an image that was pushed; four requests, one where it has the name already.

        Raises:
            NotFound: there is no such image.
            Conflict: the tag names another image.
        """
        repository = self._repository(model)
        there = self.tagged(model, tag)
        if there is None:
            found = repository.manifest(check_digest(digest))
            with suppress(Conflict):  # another builder was as quick; with what, is seen next
                repository.put_manifest(tag, found.data, parse_manifest(found.data).media_type)
            there = self.tagged(model, tag)
        if there != digest:
            raise Conflict(
                f"{repository} already has another image named {tag}, and tags never move: register a new version."
            )

    def _list(self, repository: Repository, subject: str, referrer: Descriptor) -> None:
        """See to it that a manifest is among its subject's referrers."""
        with self._listing:
            if all(item.digest != referrer.digest for item in referrers_of(repository, subject)):
                refer(repository, subject, referrer)

    def _repository(self, model: str) -> Repository:
        return Repository(self._transport, self.place.repository(model), "pull,push")
