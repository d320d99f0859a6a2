"""Reading what matters of a protobuf message that streams by, of any size, in little memory.

The fields that the message's class knows are kept as they are written, embedded messages field by field, and all
others are passed over. What is left is a message of the same kind, small enough to be held and read as usual.
Encoding: protobuf documentation, "Encoding".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from registry.errors import InvalidInput

_KEPT_MAX = 16 << 20
"""Bytes that may be left of one message."""
_FIELDS_MAX = 10_000_000
"""Fields that are looked at; those inside a field that is passed over do not count."""
_DEPTH_MAX = 64
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_HEADER_MAX = 20
"""Bytes of a tag and a length, or a number, which are two varints of at most ten."""
_UNSIGNED_MAX = 1 << 64


class _Frame:
    """A message that is being read."""

    __slots__ = ("end", "fields", "kept", "number")

    def __init__(self, fields: Mapping[int, Any], number: int, end: int | None) -> None:
        self.fields, self.number, self.end = fields, number, end
        self.kept = bytearray()


class Sieve:
    """Lets one message pass, and keeps what the class `kind` knows of it; `path` is what errors call its file."""

    def __init__(self, kind: Any, path: str) -> None:
        self._kind, self._path = kind, path
        self._frames = [_Frame(_fields(kind.DESCRIPTOR), 0, None)]
        self._header = bytearray()
        """The beginning of a field, as far as it has come."""
        self._left = 0
        """Bytes of the value still to come."""
        self._keeping = False
        self._position = self._looked = self._kept = 0

    def watch(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Pass the bytes on, and learn from them.

        Raises:
            InvalidInput: they are no protobuf message, or more is left of it than can be held.
        """
        for chunk in chunks:
            self.feed(chunk)
            yield chunk

    def feed(self, chunk: bytes) -> None:
        """Learn from the next bytes.

        Raises:
            InvalidInput: as `watch`.
        """
        at = 0
        while at < len(chunk):
            if self._left:
                taken = min(self._left, len(chunk) - at)
                if self._keeping:
                    self._frames[-1].kept += chunk[at : at + taken]
                self._left -= taken
                at += taken
                self._position += taken
            else:
                at += self._begun(chunk, at)
            while not (self._left or self._header) and self._position == self._frames[-1].end:
                self._close()

    def message(self) -> Any:
        """What is left of the message, as a `kind`, once all of it has passed.

        Raises:
            InvalidInput: it is no such message, or is cut short.
        """
        from google.protobuf.message import DecodeError

        if self._left or self._header or len(self._frames) > 1:
            raise InvalidInput(f"{self._path} is cut short: copy it again, or export the model again.")
        try:
            return self._kind.FromString(bytes(self._frames[0].kept))
        except DecodeError as error:
            raise self._damaged() from error

    def _begun(self, chunk: bytes, at: int) -> int:
        """Take as much of the next field's beginning as is there; how many bytes that is."""
        before = len(self._header)
        self._header += chunk[at : at + _HEADER_MAX - before]
        value, (tag, used) = 0, _varint(self._header, 0)
        if used and tag & 7 in (_VARINT, _LENGTH):
            value, used = _varint(self._header, used)
        elif used:
            value = _FIXED.get(tag & 7, -1)
        if used:
            self._header.clear()
            self._position += used
            self._open(tag, value)
            return used - before
        if len(self._header) == _HEADER_MAX:
            raise self._damaged()
        return len(self._header) - before

    def _open(self, tag: int, value: int) -> None:
        number, wire = tag >> 3, tag & 7
        frame = self._frames[-1]
        self._left = 0 if wire == _VARINT else value
        beyond = frame.end is not None and self._position + self._left > frame.end
        self._looked += 1
        if value < 0 or not 0 < number < 1 << 29 or max(tag, value) >= _UNSIGNED_MAX or beyond:
            raise self._damaged()
        if self._looked > _FIELDS_MAX or len(self._frames) > _DEPTH_MAX:
            raise InvalidInput(f"{self._path} has more parts than any model: export the model again.")
        message = frame.fields.get(number)
        self._keeping = number in frame.fields and message is None
        if self._keeping:
            self._keep(frame, tag, value)
        elif message is not None and wire == _LENGTH:
            self._frames.append(_Frame(_fields(message), number, self._position + value))
            self._left = 0

    def _keep(self, frame: _Frame, tag: int, value: int) -> None:
        self._account(self._left + _HEADER_MAX)
        frame.kept += _encoded(tag)
        if tag & 7 in (_VARINT, _LENGTH):
            frame.kept += _encoded(value)

    def _close(self) -> None:
        inner = self._frames.pop()
        self._account(_HEADER_MAX)
        outer = self._frames[-1].kept
        outer += _encoded(inner.number << 3 | _LENGTH) + _encoded(len(inner.kept)) + inner.kept

    def _account(self, size: int) -> None:
        self._kept += size
        if self._kept > _KEPT_MAX:
            raise InvalidInput(f"{self._path} describes itself in more than {_KEPT_MAX} bytes: export the model again.")

    def _damaged(self) -> InvalidInput:
        return InvalidInput(
            f"{self._path} is damaged, or is no {self._kind.DESCRIPTOR.name}: copy it again, or export the model again."
        )


@cache
def _fields(descriptor: Any) -> Mapping[int, Any]:
    """The descriptor of each embedded message by its field's number, None for a scalar."""
    return {field.number: field.message_type for field in descriptor.fields}


def _varint(data: bytearray, at: int) -> tuple[int, int]:
    """The number at `at`, and where it ends, which is 0 where it does not."""
    value = shift = 0
    for place in range(at, min(at + 10, len(data))):
        byte = data[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place + 1
        shift += 7
    return 0, 0


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
