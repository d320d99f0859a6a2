"""One repository of a registry: its blobs and manifests (OCI distribution specification 1.1, "Pull", "Push").

Uploading blobs is in `uploads`; everything here is a request or two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from pipelines.digests import Hashed
from pipelines.image.oci import INDEX_TYPE, MANIFEST_TYPE
from pipelines.image.remote.answers import Answer, Fault, refusal
from pipelines.image.remote.transport import Ask, Transport
from registry.errors import Conflict, InvalidInput, Refused
from registry.names import check_digest

if TYPE_CHECKING:
    import httpx

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DIGEST_HEADER = "Docker-Content-Digest"
_READABLE = ", ".join((MANIFEST_TYPE, INDEX_TYPE, DOCKER_MANIFEST, DOCKER_INDEX))
_RESUMES = 5


class Found(NamedTuple):
    """A manifest or an index, verified where it was asked for by its digest."""

    data: bytes
    digest: str
    """Of these very bytes, whatever the registry says."""
    media_type: str
    """As the registry tells it; "" where it does not."""


class Repository:
    """A repository that is read, and written to where `actions` say `pull,push`."""

    def __init__(self, transport: Transport, name: str, actions: str = "pull") -> None:
        self.transport, self.name = transport, name
        self.scopes: tuple[str, ...] = (f"repository:{name}:{actions}",)

    def __str__(self) -> str:
        return f"{self.transport.host}/{self.name}"

    def path(self, rest: str) -> str:
        """The path of something in this repository."""
        return f"/v2/{self.name}/{rest}"

    def blob_size(self, digest: str) -> int | None:
        """The bytes of a blob, None where there is none; one request.

        Raises:
            Refused: the registry does not say how many bytes they are, or does not let us look.
        """
        return self.transport.patiently(lambda: self.blob_size_now(digest))

    def blob_size_now(self, digest: str) -> int | None:
        """As `blob_size`, for who tries again by himself.

        Raises:
            Fault: it may work the next time.
        """
        ask = Ask("HEAD", self.path(f"blobs/{check_digest(digest)}"), f"a blob of {self.name}", self.scopes)
        answer = self.transport.once(ask._replace(accepts=frozenset({200, 404})))
        if answer.status == 404:
            return None
        said = answer.headers.get("Content-Length", "")
        if not (said.isascii() and said.isdigit() and len(said) < 20):
            raise Refused(
                f"{self.transport.host} does not say how large a blob is: it is no registry that can be used."
            )
        return int(said)

    def blob(self, digest: str, size: int, start: int = 0) -> Iterator[bytes]:
        """The `size` bytes of a blob from `start` on; goes on where it was after a dropped connection.

        Read from the first byte on, they are verified at their end.

        Raises:
            NotFound: there is no such blob.
            Refused: other bytes are there.
            Unavailable: the registry dropped the connection again and again.
        """
        check_digest(digest)
        hashed = Hashed(self._resumed(digest, size, start))
        yield from hashed
        if start + hashed.size != size or (start == 0 and hashed.digest != digest):
            raise Refused(f"{self} gives other bytes than {digest} names: push them there again.")

    def _resumed(self, digest: str, size: int, start: int) -> Iterator[bytes]:
        position, failures = start, 0
        while position < size:
            before = position
            try:
                for chunk in self._from(digest, size, position):
                    position += len(chunk)
                    yield chunk
                return
            except Fault:
                failures = failures + 1 if position == before else 1
                if failures > _RESUMES:
                    raise

    def _from(self, digest: str, size: int, start: int) -> Iterator[bytes]:
        """What one answer gives of a blob; whoever reads it sees where it ends."""
        ask = Ask(
            "GET",
            self.path(f"blobs/{digest}"),
            f"the blob {digest} of {self.name}",
            self.scopes,
            frozenset({200, 206}),
            {"Range": f"bytes={start}-"} if start else {},
        )
        transport = self.transport
        with transport.translating(), closing(transport.patiently(lambda: transport.begin(ask))) as response:
            skip, left = _skipped(response, start), size - start
            for chunk in response.iter_raw():
                piece = chunk[skip:]
                skip = max(0, skip - len(chunk))
                left -= len(piece)
                if left < 0:
                    raise Refused(f"{self} gives more bytes than {digest} has: push them there again.")
                if piece:
                    yield piece

    def digest_of(self, reference: str) -> str | None:
        """The digest of the manifest under a tag or a digest, None where there is none; one request, else two.

        Raises:
            Refused: the registry names a digest that is none.
        """
        ask = self._manifest("HEAD", reference)
        answer = self.transport.ask(ask._replace(accepts=frozenset({200, 404})))
        if answer.status == 404:
            return None
        if reference.startswith("sha256:"):
            return reference
        said = answer.headers.get(DIGEST_HEADER)
        return self.manifest(reference).digest if said is None else self._checked(said)

    def manifest(self, reference: str) -> Found:
        """The manifest or index under a tag or a digest; one request.

        Raises:
            NotFound: there is none.
            Refused: other bytes are there than the digest names, or more than 4 MiB.
        """
        answer = self.transport.ask(self._manifest("GET", reference))
        digest = "sha256:" + sha256(answer.body).hexdigest()
        if reference.startswith("sha256:") and digest != reference:
            raise Refused(f"{self} gives another manifest than {reference} names: push it there again.")
        media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return Found(answer.body, digest, media_type)

    def put_manifest(self, reference: str, data: bytes, media_type: str) -> Mapping[str, str]:
        """Send a manifest under its digest or a tag; gives the headers of the answer. One request.

        Raises:
            Conflict: the registry has another manifest under the tag, and lets none move.
            Refused: the registry does not take it, or took it for another one.
            Unavailable: it does not answer, or always reads other bytes than are sent.
        """
        return self.transport.patiently(lambda: self._put_manifest(reference, data, media_type))

    def _put_manifest(self, reference: str, data: bytes, media_type: str) -> Mapping[str, str]:
        ask = self._manifest("PUT", reference)._replace(
            headers={"Content-Type": media_type},
            body=data,
            accepts=frozenset({200, 201, 202, 400, 405, 409}),
            slow=True,
        )
        answer = self.transport.once(ask)
        if answer.status >= 400:
            raise self._not_taken(reference, answer)
        said = answer.headers.get(DIGEST_HEADER)
        digest = "sha256:" + sha256(data).hexdigest()
        if said is not None and said.startswith("sha256:") and said != digest:
            raise Refused(f"{self} took {digest} for {self._checked(said)}: what it holds is not to be trusted.")
        return answer.headers

    def _manifest(self, method: str, reference: str) -> Ask:
        ask = Ask(method, self.path(f"manifests/{reference}"), f"{self.name}, {reference}", self.scopes)
        return ask if method == "PUT" else ask._replace(headers={"Accept": _READABLE})

    def _not_taken(self, reference: str, answer: Answer) -> Exception:
        said = answer.said
        if said.code == "DIGEST_INVALID":  # docker's own, too, while another builder writes the same manifest
            return Fault(f"{self} did not take {reference} as it was sent ({said.code}): try again.")
        told = f"{said.code} {said.message}".lower()
        if "tagalreadyexists" in told or ("already exists" in told and "tag" in told):
            return Conflict(
                f"{self} already has another image named {reference}, and tags never move: register a new version."
            )
        if answer.status == 405:
            return Refused(f"{self} takes no manifest of this kind (405): check that the registry knows OCI 1.1.")
        return refusal(self.transport.host, f"{self.name}, {reference}", answer.status, said)

    def _checked(self, digest: str) -> str:
        try:
            return check_digest(digest)
        except InvalidInput:
            raise Refused(f"{self} names a manifest by what is no sha256 digest: it cannot be used here.") from None


def _skipped(response: httpx.Response, start: int) -> int:
    """How many bytes at the beginning of an answer lie before `start`, which was asked for."""
    resumed = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
    return 0 if response.status_code == 206 and resumed else start
