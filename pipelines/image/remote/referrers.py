"""Which manifests have an image as their subject, also where a registry does not keep account of it.

OCI distribution specification 1.1, "Listing Referrers", "Pushing Manifests with Subject", "Referrers Tag Schema".
"""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.image.oci import INDEX_TYPE, Descriptor, Manifest, canonical
from pipelines.image.remote.answers import Answer
from pipelines.image.remote.repository import Repository
from pipelines.image.remote.transport import JSON_MAX, Ask
from registry.errors import Conflict, NotFound, Refused

_PAGES = 100
_MANY = 10_000
"""Referrers of one image that are listed: anyone who may push can attach more."""
_TRIES = 8
_NEXT = re.compile(r'<([^<>]{1,4096})>\s*;\s*rel="?next"?')


class _Listed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    media_type: str = Field(default=INDEX_TYPE, alias="mediaType")
    manifests: tuple[Descriptor, ...]


def referrers_of(repository: Repository, digest: str) -> tuple[Descriptor, ...]:
    """The manifests whose subject has this digest: as the registry lists them, else as the tag does.

    Raises:
        Refused: the list cannot be read.
        Unavailable: the registry does not answer.
    """
    found: list[Descriptor] = []
    url = repository.path(f"referrers/{digest}")
    for _ in range(_PAGES):
        answer = _page(repository, url)
        if answer.status != 200:
            return _tagged(repository, digest)
        found += _parse(repository, answer.body).manifests
        if len(found) > _MANY:
            raise Refused(f"{digest} in {repository} has more than {_MANY} referrers: delete old ones.")
        following = _next(answer)
        if following is None:
            return tuple(found)
        url = following
    raise Refused(f"{repository} lists the referrers of {digest} without an end: check the registry.")


def refer(repository: Repository, subject: str, referrer: Descriptor) -> None:
    """Enter a manifest into the list that a registry without referrers keeps under a tag of its subject.

    The list is read, changed and written, and read again, since another writer may have done the same meanwhile.

    Raises:
        Conflict: other writers were always in between, or the registry lets no tag move.
        Refused: what is under the tag is no such list.
    """
    tag = _tag(subject)
    for _ in range(_TRIES):
        there = _tagged(repository, subject)
        if any(item.digest == referrer.digest for item in there):
            return
        items = [item.model_dump(by_alias=True, exclude_none=True, mode="json") for item in (*there, referrer)]
        data = canonical({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": items})
        if len(data) > JSON_MAX:
            raise Refused(f"{subject} in {repository} has more referrers than a list can hold: delete old ones.")
        try:
            repository.put_manifest(tag, data, INDEX_TYPE)
        except Conflict as error:
            raise Conflict(
                f"{repository} lists no referrers, and lets no tag move in which they could be listed: let tags that"
                " begin with sha256- move."
            ) from error
    if all(item.digest != referrer.digest for item in _tagged(repository, subject)):
        raise Conflict(f"Others keep changing the referrers of {subject} in {repository}: try again.")


def descriptor_of(digest: str, size: int, manifest: Manifest) -> Descriptor:
    """How a manifest is entered into a list of referrers."""
    return Descriptor(
        media_type=manifest.media_type,
        digest=digest,
        size=size,
        artifact_type=manifest.artifact_type or manifest.config.media_type,
        annotations=manifest.annotations,
    )


def _tag(digest: str) -> str:
    return digest.replace(":", "-")


def _page(repository: Repository, url: str) -> Answer:
    what = f"the referrers of {repository.name}"
    accepts = frozenset({200, 400, 404, 405, 501})
    return repository.transport.ask(Ask("GET", url, what, repository.scopes, accepts, {"Accept": INDEX_TYPE}))


def _next(answer: Answer) -> str | None:
    """Where the list goes on (RFC 8288)."""
    match = _NEXT.search(answer.headers.get("Link", ""))
    return answer.to(match[1]) if match else None


def _tagged(repository: Repository, subject: str) -> tuple[Descriptor, ...]:
    try:
        return _parse(repository, repository.manifest(_tag(subject)).data).manifests
    except NotFound:
        return ()


def _parse(repository: Repository, data: bytes) -> _Listed:
    try:
        listed = _Listed.model_validate_json(data)
    except ValidationError as error:
        raise Refused(f"{repository} gives no list of referrers: check the registry.") from error
    if listed.media_type != INDEX_TYPE:
        raise Refused(f"{repository} has something else where its list of referrers should be: delete that tag.")
    return listed
