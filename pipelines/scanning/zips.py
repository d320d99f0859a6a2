"""Walking through a zip as it streams by, in the order of its bytes, and comparing that with its directory.

Readers of zips differ: some go by the directory at the end, as Python's and PyTorch's do, some by the headers before
each file, as Java's stream does, and where the two disagree an attacker shows one file to the scanner and another to
the server. So every byte must belong to a header or to a file, and both must say the same.

What torch.save and torch.jit.save write has no sizes in front of a file that is stored as it is, so its end is where
a descriptor says that just so many bytes came before it. A tensor may hold such bytes by malice, and then the
directory disagrees.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from zlib_ng import zlib_ng

from pipelines.scanning import zipfields
from pipelines.scanning.findings import Budget, Exhausted
from pipelines.scanning.inlet import CutShort, Inlet, Waits
from pipelines.scanning.inspector import Inspector, Piece, Skip
from pipelines.scanning.zipfields import Ambiguous, Directory, Entry
from registry.store import CHUNK

ENTRIES_MAX = 250_000
_STEPS = 20
"""What a file costs of the budget."""
_STEP_MIN, _STEP_MAX = 1024, CHUNK // 8
"""Bytes inflated at a time, from little to much in each file, since what follows its end is copied."""
_RATIO, _RATIO_FLOOR = 200, 64 << 20
"""As for the training output itself: how many bytes may come out for each one, above so many."""


class Bomb(Exception):
    """It gives more bytes than a model does."""


class ZipWalk:
    """Looks through one zip, and afterwards says in `problem` what was wrong with it.

    `open_entry` is told each name, and gives what looks into that file; `unread` the names of files that nothing can
    look into, `link` those of symbolic links.
    """

    def __init__(
        self,
        budget: Budget,
        open_entry: Callable[[str], Inspector],
        unread: Callable[[str, str], None],
        link: Callable[[str], None],
    ) -> None:
        self._budget, self._open_entry, self._unread, self._link = budget, open_entry, unread, link
        self._inlet = Inlet()
        self._parser: Generator[None, None, None] | None = self._archive()
        self._seen = dict[int, int]()
        self._names = set[int]()
        self._inflated = 0
        self.problem: Exception | None = None

    def feed(self, piece: Piece) -> None:
        """Go on; after a problem nothing more is looked at."""
        if self._parser is not None:
            self._inlet.put(piece)
            self._run(self._parser)

    def close(self) -> None:
        """There is no more."""
        if self._parser is not None:
            self._inlet.ended = True
            self._run(self._parser)

    def _run(self, parser: Generator[None, None, None]) -> None:
        try:
            next(parser)
        except StopIteration:
            self._parser = None
        except (Ambiguous, CutShort, Bomb, Exhausted) as error:
            self._parser, self.problem = None, error

    def _archive(self) -> Waits[None]:
        signature = yield from self._inlet.exactly(4)
        while signature == zipfields.LOCAL:
            yield from self._file()
            signature = yield from self._inlet.exactly(4)
        start, entries = self._inlet.position - 4, len(self._names)
        while signature == zipfields.CENTRAL:
            yield from self._listed()
            signature = yield from self._inlet.exactly(4)
        if self._seen:
            raise Ambiguous("it holds files that its directory does not name")
        size = self._inlet.position - 4 - start
        yield from self._end(signature, Directory(entries, size, start))

    def _file(self) -> Waits[None]:
        inlet, offset = self._inlet, self._inlet.position - 4
        fixed = yield from inlet.exactly(zipfields.LOCAL_SIZE)
        lengths = zipfields.local_lengths(fixed)
        raw = yield from inlet.exactly(lengths.name)
        extra = yield from inlet.exactly(lengths.extra)
        entry = zipfields.local(fixed, raw, extra)
        self._count(raw)
        name = raw.decode("utf-8", "backslashreplace")
        if entry.encrypted or entry.method not in (zipfields.STORED, zipfields.DEFLATED):
            if entry.deferred:
                raise Ambiguous("it holds a file whose end cannot be told")
            self._unread(name, "encrypted" if entry.encrypted else f"compressed by method {entry.method}")
            yield from self._known(entry.packed, Skip())
        else:
            sink = self._open_entry(name)
            entry = yield from self._content(entry, sink)
            sink.close()
        self._seen[offset] = hash(entry)

    def _count(self, name: bytes) -> None:
        self._budget.step(_STEPS)
        if len(self._names) >= ENTRIES_MAX:
            raise Bomb(f"it holds more than {ENTRIES_MAX} files")
        if hash(name) in self._names:
            raise Ambiguous("it holds two files of one name")
        self._names.add(hash(name))

    def _content(self, entry: Entry, sink: Inspector) -> Waits[Entry]:
        """Pass a file on; gives its header with what a descriptor adds to it."""
        if entry.method == zipfields.DEFLATED:
            packed, size = yield from self._deflated(entry, sink)
        elif entry.deferred:
            return (yield from self._stored(entry, sink))
        else:
            yield from self._known(entry.packed, sink)
            packed = size = entry.packed
        if entry.deferred:
            window = yield from self._window()
            length, crc = zipfields.packed_descriptor(window, packed, size)
            if not length:
                raise Ambiguous("a file is not followed by what tells its size")
            yield from self._inlet.exactly(length)
            return entry._replace(crc=crc, packed=packed, size=size)
        if (packed, size) != (entry.packed, entry.size):
            raise Ambiguous("a file has another size than it is said to have")
        return entry

    def _known(self, size: int, sink: Inspector) -> Waits[None]:
        while size:
            part = yield from self._inlet.some(size)
            if not part:
                raise CutShort
            size -= len(part)
            sink.feed(part)

    def _stored(self, entry: Entry, sink: Inspector) -> Waits[Entry]:
        """A file that ends where a descriptor says so."""
        inlet, start = self._inlet, self._inlet.position
        while True:
            piece = yield from inlet.peek()
            if not piece:
                raise CutShort
            at = inlet.at
            found = piece.find(zipfields.DESCRIPTOR, at)
            if found < 0:
                found = max(at, len(piece) - _begun(piece))
            sink.feed(memoryview(piece)[at:found])
            inlet.advance(found - at)
            if found == len(piece):
                continue
            self._budget.step()
            window = yield from self._window()
            size = inlet.position - start
            length, crc = zipfields.descriptor(window, size) if window.startswith(zipfields.DESCRIPTOR) else (0, 0)
            if length:
                yield from inlet.exactly(length)
                return entry._replace(crc=crc, packed=size, size=size)
            sink.feed((yield from inlet.some(1)))

    def _deflated(self, entry: Entry, sink: Inspector) -> Waits[tuple[int, int]]:
        """A file as it was before compression; gives its compressed and its real size."""
        inlet, start, size, step = self._inlet, self._inlet.position, 0, _STEP_MIN
        inflate = zlib_ng.decompressobj(wbits=-15)
        while not inflate.eof:
            piece = yield from inlet.peek()
            packed = inlet.position - start
            room = step if entry.deferred else min(step, entry.packed - packed)
            part = memoryview(piece)[inlet.at : inlet.at + room]
            out = _inflated(inflate, part)
            if not part and not out and not inflate.eof:
                raise CutShort
            inlet.advance(len(part) - len(inflate.unconsumed_tail) - len(inflate.unused_data))
            size += len(out)
            self._inflate(len(out))
            sink.feed(out)
            step = min(2 * step, _STEP_MAX)
        return inlet.position - start, size

    def _inflate(self, size: int) -> None:
        self._budget.inflate(size)
        self._inflated += size
        if self._inflated > max(_RATIO_FLOOR, _RATIO * self._inlet.position):
            raise Bomb(f"it grows more than {_RATIO} times when it is unpacked, as a bomb does")

    def _window(self) -> Waits[bytes]:
        """The next bytes, as many as a descriptor may have, without taking them for read."""
        inlet = self._inlet
        piece = yield from inlet.peek()
        window = piece[inlet.at : inlet.at + zipfields.DESCRIPTOR_MAX]
        if len(window) < zipfields.DESCRIPTOR_MAX:
            window = yield from inlet.exactly(zipfields.DESCRIPTOR_MAX)
            inlet.back(window)
        return window

    def _listed(self) -> Waits[None]:
        inlet = self._inlet
        fixed = yield from inlet.exactly(zipfields.CENTRAL_SIZE)
        lengths = zipfields.central_lengths(fixed)
        name = yield from inlet.exactly(lengths.name)
        extra = yield from inlet.exactly(lengths.extra)
        yield from inlet.exactly(lengths.comment)
        listed = zipfields.central(fixed, name, extra)
        if self._seen.pop(listed.offset, None) != hash(listed.entry):
            raise Ambiguous("its directory says other than its files' headers")
        if listed.link:
            self._link(name.decode("utf-8", "backslashreplace"))

    def _end(self, signature: bytes, real: Directory) -> Waits[None]:
        inlet, said = self._inlet, [Directory(None, None, None)]
        if signature == zipfields.END64:
            place = inlet.position - 4
            said = [zipfields.end64((yield from inlet.exactly(zipfields.END64_SIZE)))]
            signature = yield from inlet.exactly(4)
            at = zipfields.locator((yield from inlet.exactly(zipfields.LOCATOR_SIZE)))
            if signature != zipfields.LOCATOR or at != place:
                raise Ambiguous("zip64's end lies elsewhere than it is said to lie")
            signature = yield from inlet.exactly(4)
        if signature != zipfields.END:
            raise Ambiguous("it holds bytes that belong to no file")
        directory, comment = zipfields.end((yield from inlet.exactly(zipfields.END_SIZE)))
        _agree([*said, directory], real)
        text = yield from inlet.exactly(comment)
        if b"PK" in text or (yield from inlet.peek()):
            raise Ambiguous("something follows its end")


def _agree(said: list[Directory], real: Directory) -> None:
    """Compare what the ends say of the directory with where it is.

    Raises:
        Ambiguous: they say otherwise.
    """
    for field, value in zip(zip(*said, strict=True), real, strict=True):
        told = {item for item in field if item is not None}
        if told != {value}:
            raise Ambiguous("its end says other than its directory")


def _inflated(inflate: zlib_ng._Decompress, part: memoryview) -> bytes:
    try:
        return inflate.decompress(part, CHUNK)
    except zlib_ng.error as error:  # type: ignore[misc]  # its stubs say an exception where they mean its class
        raise Ambiguous("a file cannot be inflated") from error


def _begun(piece: bytes) -> int:
    """How many bytes at a piece's end may be the beginning of a descriptor."""
    return next((length for length in (3, 2, 1) if piece.endswith(zipfields.DESCRIPTOR[:length])), 0)
