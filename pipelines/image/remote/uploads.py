"""Sending a blob (OCI distribution specification 1.1, "Pushing blobs").

A small one goes in one piece; a large one in one PATCH as it is made, and then a PUT that commits it. What broke goes
on where the registry stands, if it can tell; else in a new session. Nothing is committed that is not what the content
says of itself, and an answer to a commit that was lost is found out by looking.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from itertools import chain
from typing import NamedTuple

from pipelines.image.content import Content, check_content
from pipelines.image.remote.answers import Answer, Fault, refusal
from pipelines.image.remote.dialects import Dialect
from pipelines.image.remote.feeding import Feed, SourceFailed
from pipelines.image.remote.repository import DIGEST_HEADER, Repository
from pipelines.image.remote.transport import Ask
from pipelines.overlap import ahead
from registry.errors import NotFound, Refused, SluiceError
from registry.store import Blob

SMALL = 1 << 20
"""Bytes up to which a blob is held in memory and sent in one piece."""
_OCTETS = {"Content-Type": "application/octet-stream"}
_OPENED = frozenset({202})
_DAMAGED = frozenset({"DIGEST_INVALID", "SIZE_INVALID", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN"})
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,19})")


def put_blob(repository: Repository, content: Content, dialect: Dialect) -> Blob:
    """Have a content in a repository: found there, mounted from its origin, or sent.

    Raises:
        Refused: the bytes are not the ones that the content names, or the registry does not take them.
        Unavailable: the registry does not answer, or what gives the bytes does not.
    """
    if content.digest is not None and (size := repository.blob_size(content.digest)) is not None:
        blob = Blob(content.digest, size)
        check_content(content, blob)
        return blob
    try:
        return _put_missing(repository, content, dialect)
    except SourceFailed as failed:
        raise failed.error from failed.error.__cause__


def _put_missing(repository: Repository, content: Content, dialect: Dialect) -> Blob:
    mounting = _mount(repository, content)
    if mounting.blob is not None:
        return mounting.blob
    beginning = _Beginning(content)
    if beginning.whole is None:
        return _Upload(repository, Feed(content, beginning.chunks), dialect, mounting.session).run()
    blob = Blob("sha256:" + sha256(beginning.whole).hexdigest(), len(beginning.whole))
    check_content(content, blob)
    there = None if content.digest is not None else repository.blob_size(blob.digest)
    return blob if there is not None else _put_small(repository, beginning.whole, blob, mounting.session)


class _NotTaken(Fault):
    """The registry knows nothing of what was sent to it, or other bytes than were sent."""


class _Mounting(NamedTuple):
    blob: Blob | None
    """What was mounted."""
    session: str | None
    """Else the upload that the registry began instead, where it did."""


def _mount(repository: Repository, content: Content) -> _Mounting:
    """Try to have a blob from another repository of the same registry ("Mounting a blob from another repository")."""
    origin, digest, size = content.origin, content.digest, content.size
    if origin is None or digest is None or size is None or origin.repository == repository.name:
        return _Mounting(None, None)
    if origin.host != repository.transport.host:
        return _Mounting(None, None)
    ask = Ask(
        "POST",
        repository.path(f"blobs/uploads/?mount={digest}&from={origin.repository}"),
        f"a blob of {origin.repository}",
        (*repository.scopes, f"repository:{origin.repository}:pull"),
        frozenset({201, 202}),
        slow=True,
    )
    try:
        answer = repository.transport.ask(ask)
    except (NotFound, Refused):  # it may not be read, or not be mounted; it can be sent all the same
        return _Mounting(None, None)
    if answer.status == 201 and answer.headers.get(DIGEST_HEADER, digest) == digest:
        return _Mounting(Blob(digest, size), None)
    return _Mounting(None, _session(answer) if answer.status == 202 else None)


class _Beginning:
    """The first bytes of a content: all of a small one, as `whole`."""

    def __init__(self, content: Content) -> None:
        self._content, self._opened = content, chain[bytes]()
        self.whole: bytes | None = None
        if content.size is None or content.size <= SMALL:
            self._read()

    def _read(self) -> None:
        opened, pieces, size = self._content.chunks(), [], 0
        for chunk in opened:
            pieces.append(chunk)
            size += len(chunk)
            if size > SMALL:
                self._opened = chain(pieces, opened)
                return
        self.whole = b"".join(pieces)

    def chunks(self, start: int) -> Iterator[bytes]:
        """The content's bytes; what was read of them already is not made again."""
        if start == 0 and (first := next(self._opened, None)) is not None:
            opened, self._opened = self._opened, chain[bytes]()
            return chain((first,), opened)
        return self._content.chunks(start)


def _put_small(repository: Repository, data: bytes, blob: Blob, session: str | None) -> Blob:
    tried = False

    def attempt() -> Blob:
        nonlocal session, tried
        if tried and repository.blob_size_now(blob.digest) == blob.size:  # it was taken, and the answer was lost
            return blob
        at, session, tried = session or _begin(repository), None, True
        return _committed(repository, at, blob, data)

    return repository.transport.patiently(attempt)


def _begin(repository: Repository) -> str:
    ask = Ask("POST", repository.path("blobs/uploads/"), f"an upload to {repository.name}", repository.scopes, _OPENED)
    return _session(repository.transport.once(ask))


def _session(answer: Answer) -> str:
    """Where an upload goes on: an address that only the registry knows how to read."""
    location = answer.location
    if not location:
        raise Refused("The registry begins an upload and does not say where it goes on: it cannot be used.")
    return location


def _committed(repository: Repository, session: str, blob: Blob, data: bytes = b"") -> Blob:
    """Commit an upload, with its last bytes.

    Raises:
        _NotTaken: it was not committed, and the session is of no more use.
        Fault: whether it was is not known.
    """
    mark = "&" if "?" in session else "?"
    ask = Ask(
        "PUT",
        f"{session}{mark}digest={blob.digest.replace(':', '%3A')}",
        f"a blob of {repository.name}",
        repository.scopes,
        frozenset({200, 201, 204, 400, 404, 416}),
        _OCTETS,
        data,
        slow=True,
    )
    answer = repository.transport.once(ask)
    if answer.status >= 400:
        said = answer.said
        if answer.status == 400 and said.code not in _DAMAGED:
            raise refusal(repository.transport.host, ask.what, answer.status, said)
        if repository.blob_size_now(blob.digest) == blob.size:  # committed before, and the answer was lost
            return blob
        raise _NotTaken(
            f"{repository} did not take an upload as it was sent ({said.code or answer.status}): try again."
        )
    told = answer.headers.get(DIGEST_HEADER, blob.digest)
    if told.startswith("sha256:") and told != blob.digest:
        raise Refused(f"{repository} took {blob.digest} for another blob: what it holds is not to be trusted.")
    return blob


class _Upload:
    """One large blob on its way."""

    def __init__(self, repository: Repository, feed: Feed, dialect: Dialect, session: str | None) -> None:
        self._repository, self._feed, self._dialect = repository, feed, dialect
        self._transport = repository.transport
        self._session = session
        self._used = False
        self._furthest = 0

    def run(self) -> Blob:
        """Send it; as long as it gets on, it is not given up."""
        try:
            while True:
                before = self._furthest
                try:
                    return self._transport.patiently(self._attempt)
                except Fault:
                    if self._furthest <= before:
                        raise
        except BaseException:
            self._abandon()
            raise

    def _attempt(self) -> Blob:
        start = self._position()
        if self._session is None:
            self._session, start = _begin(self._repository), 0
        self._used = True
        self._send(self._session, start)
        return self._commit(self._session)

    def _position(self) -> int:
        """Where to go on in the session; where there is none to go on in, none is left."""
        if not self._used or self._session is None:
            return 0
        if self._dialect.resumes and (position := self._asked(self._session)) is not None:
            self._furthest = max(self._furthest, position)
            return position
        self._abandon()
        return 0

    def _asked(self, session: str) -> int | None:
        """How many bytes the registry has, None where it does not know the session any more."""
        what = f"an upload to {self._repository.name}"
        ask = Ask("GET", session, what, self._repository.scopes, frozenset({200, 202, 204}))
        try:
            answer = self._transport.once(ask)
        except (NotFound, Refused):
            return None
        self._moved(answer)
        match = _RANGE.fullmatch(answer.headers.get("Range", ""))
        if not match:
            return None
        last = int(match[1])
        # `0-0` is what many say where there is nothing yet
        return (last + 1 if last else 0) if last < self._feed.position else None

    def _send(self, session: str, start: int) -> None:
        size = self._feed.content.size
        if start and start == size:
            for _ in self._feed.fed(start):  # all is there, and only its digest is missing
                pass
            return
        with ahead(self._feed.fed(start)) as chunks:  # made and hashed while what was made before is sent
            self._patch(session, start, size, chunks)

    def _patch(self, session: str, start: int, size: int | None, chunks: Iterator[bytes]) -> None:
        span = {"Content-Range": f"{start}-{size - 1}", "Content-Length": str(size - start)} if start and size else {}
        ask = Ask(
            "PATCH",
            session,
            f"a blob of {self._repository.name}",
            self._repository.scopes,
            frozenset({200, 201, 202, 204, 404, 416}),
            {**_OCTETS, **span},
            chunks,
            slow=True,
        )
        answer = self._transport.once(ask)
        if answer.status == 404:
            self._session = None
        if answer.status >= 400:
            raise Fault(f"{self._repository} lost an upload ({answer.status}): try again.")
        self._moved(answer)

    def _commit(self, session: str) -> Blob:
        blob = self._feed.blob
        if blob is None:  # the registry answered before it had all of it
            raise Fault(f"{self._repository} broke an upload off: try again.")
        try:
            return _committed(self._repository, self._session or session, blob)
        except _NotTaken:
            self._abandon()
            raise
        except Fault:
            if self._repository.blob_size_now(blob.digest) == blob.size:
                return blob
            raise

    def _moved(self, answer: Answer) -> None:
        self._session = answer.location or self._session

    def _abandon(self) -> None:
        """Tell the registry that no more comes, so that it may clean up; whether it does is its own affair."""
        session, self._session, self._used = self._session, None, False
        if session is not None:
            what = f"an upload to {self._repository.name}"
            ask = Ask("DELETE", session, what, self._repository.scopes, frozenset({200, 202, 204}))
            with suppress(SluiceError):
                self._transport.once(ask)
