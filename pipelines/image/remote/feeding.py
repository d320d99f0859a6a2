"""The bytes of an upload, hashed as they go, so that it may go on from any position with its hash still right.

What was handed to a socket is not what a registry stored, so the hash cannot simply go on where it was. Its state is
kept every 32 MiB, and after a break the content is read again from the last such place before the registry's position:
at most 32 MiB that are hashed and not sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

from pipelines.image.content import Content, check_content
from registry.errors import SluiceError
from registry.store import Blob

MARK = 32 << 20


class SourceFailed(Exception):
    """The content could not be read; `error` is why. Not a fault of the registry that it is sent to."""

    def __init__(self, error: SluiceError) -> None:
        super().__init__(str(error))
        self.error = error


class Feed:
    """A content on its way; fed to its end, it tells what it was as `blob`."""

    def __init__(self, content: Content, chunks: Callable[[int], Iterator[bytes]], mark: int = MARK) -> None:
        self.content = content
        self.blob: Blob | None = None
        self.position = 0
        """How far the content was ever read."""
        self._chunks, self._mark = chunks, mark
        self._marks: list[tuple[int, Any]] = [(0, hashlib.sha256())]

    def fed(self, start: int) -> Iterator[bytes]:
        """The bytes from `start` on.

        Raises:
            SourceFailed: they cannot be read, or are not those that the content names; told before the last piece.
        """
        self.blob = None
        while self._marks[-1][0] > start:
            self._marks.pop()
        at, state = self._marks[-1]
        hashed = state.copy()
        before = b""
        try:
            for chunk in self._chunks(at):
                hashed.update(chunk)
                begin, at = at, at + len(chunk)
                self.position = max(self.position, at)
                if self.content.size is not None and at > self.content.size:
                    break
                if at - self._marks[-1][0] >= self._mark:
                    self._marks.append((at, hashed.copy()))
                if at > start:
                    if before:
                        yield before
                    before = chunk[max(0, start - begin) :]
            blob = Blob("sha256:" + hashed.hexdigest(), at)
            check_content(self.content, blob)
        except SluiceError as error:
            raise SourceFailed(error) from error
        self.blob = blob
        if before:
            yield before
