"""A `.mar` that lies ready inside a training output: taken apart and put together again as it streams by.

What its packer compressed lies in stored blocks then, as in every `.mar` of Sluice's, its files have their digests,
and its manifest names the version.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from gitops import yamls
from pipelines.archive import Member
from pipelines.packagers.base import Packed, PackRequest
from pipelines.packagers.signatures import SignatureFiles
from pipelines.packagers.torchserve.manifest import MANIFEST, MANIFEST_MAX, check_named, rewrite
from pipelines.packagers.torchserve.mar import Entry
from pipelines.packagers.torchserve.unzip import unzip
from registry.errors import InvalidInput
from registry.store import CHUNK

_NOTED_MAX = 64
"""YAML files at the archive's top that are kept in memory, since its manifest comes last and names one of them."""


class ReadyMar:
    """One ready archive on its way."""

    def __init__(self, request: PackRequest) -> None:
        self._request = request
        self._outside, self._inside = SignatureFiles(request.scan.root), SignatureFiles()
        self._noted: dict[str, bytes] = {}
        self._paths: set[str] = set()

    def entries(self, members: Iterable[Member], packed: Packed) -> Iterator[Entry]:
        """What goes into the version's `.mar`: the ready one's files, and the manifest last.

        Raises:
            InvalidInput: it is damaged, or has no manifest that is one.
            Refused: it is hostile, or its manifest names what is not there.
        """
        for member in members:
            watched = self._outside.watch(member)
            if member.path == self._request.scan.root:
                for entry in unzip(watched.chunks, self._request.limits):
                    yield from self._passed(settled(entry))
            elif watched is not member:
                used_up(watched)
        yield self._manifest()
        packed.signature = self._outside.signature() or self._inside.signature()

    def _passed(self, entry: Entry) -> Iterator[Entry]:
        self._paths.add(entry.path)
        if entry.path == MANIFEST:
            self._noted[MANIFEST] = _small(entry, MANIFEST_MAX)
            return
        if entry.size is None:
            yield entry
            return
        member = self._inside.watch(Member(entry.path, entry.size, iter(entry.chunks)))
        if self._is_settings(entry):
            data = b"".join(member.chunks)
            self._noted[entry.path] = data
            member = member._replace(chunks=iter((data,)))
        yield entry._replace(chunks=member.chunks)

    def _is_settings(self, entry: Entry) -> bool:
        small = entry.size is not None and entry.size <= yamls.MAX_BYTES and len(self._noted) < _NOTED_MAX
        return small and "/" not in entry.path and entry.path.endswith((".yaml", ".yml"))

    def _manifest(self) -> Entry:
        request = self._request
        if MANIFEST not in self._noted:
            raise InvalidInput(f"{request.scan.root} holds no {MANIFEST}: pack it with torch-model-archiver.")
        model, data = rewrite(self._noted[MANIFEST], request.ref, request.created_at, request.handler)
        check_named(model, self._paths)
        if model.configFile:
            if model.configFile not in self._noted:
                raise InvalidInput(
                    f"{model.configFile[:200]} is no small YAML file at the top of the .mar: pack it so."
                )
            yamls.load(self._noted[model.configFile], model.configFile)
        return bytes_entry(MANIFEST, data)


def bytes_entry(path: str, data: bytes) -> Entry:
    """A file of these bytes."""
    return Entry(path, len(data), iter((data,)) if data else ())


def used_up(member: Member) -> None:
    """Let a member's bytes go by, for somebody who watches them."""
    for _ in member.chunks:
        pass


def settled(entry: Entry) -> Entry:
    """The entry with its size, where up to 1 MiB tells it."""
    if entry.size is not None:
        return entry
    chunks, held, size = iter(entry.chunks), list[bytes](), 0
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size > CHUNK:
            return entry._replace(chunks=chain(held, chunks))
    return entry._replace(size=size, chunks=iter(held), least=0)


def _small(entry: Entry, most: int) -> bytes:
    data = b""
    for chunk in entry.chunks:
        data += chunk
        if len(data) > most:
            raise InvalidInput(f"{entry.path} of the .mar has more than {most} bytes: pack it again.")
    return data
