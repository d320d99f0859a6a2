"""Training outputs of any size that cost next to nothing to make: a tar.gz of a TorchScript file and a handler.

Weights repeat every 8 MiB, far beyond what gzip sees at once, so a block is compressed once, as `tar czf` would do it,
and its deflate data given again and again (RFC 1951: a full flush ends at a byte and forgets what came before).
"""

from __future__ import annotations

import pickle
import random
import struct
import tarfile
import zipfile
import zlib
from array import array
from collections.abc import Iterator
from enum import StrEnum
from functools import cache
from typing import NamedTuple

from zlib_ng import zlib_ng

MIB = 1 << 20
BLOCK = 8 * MIB
MODEL = "model.pt"
HANDLER = "code/inference.py"
_ZIP_MAX = (1 << 32) - 1


class Kind(StrEnum):
    """What weights are like."""

    RANDOM = "random"
    """Bytes that no compression makes smaller."""
    TRAINED = "trained"
    """fp32, normally distributed around 0 with a deviation of 0.02."""


class Piece(NamedTuple):
    """Some bytes, and what deflate makes of them, in chunks of 1 MiB at most."""

    raw: bytes
    deflated: tuple[bytes, ...]


def _piece(raw: bytes) -> Piece:
    squeeze = zlib.compressobj(6, zlib.DEFLATED, -15)
    data = squeeze.compress(raw) + squeeze.flush(zlib.Z_FULL_FLUSH)
    return Piece(raw, tuple(data[at : at + MIB] for at in range(0, len(data), MIB)))


@cache
def block(kind: Kind) -> Piece:
    """8 MiB of weights, always the same."""
    source = random.Random(7)
    if kind is Kind.RANDOM:
        return _piece(source.randbytes(BLOCK))
    return _piece(array("f", (source.gauss(0, 0.02) for _ in range(BLOCK // 4))).tobytes())


def handler(note: str = "") -> bytes:
    """A handler as SageMaker's toolkit takes it; another `note`, another handler."""
    return f'"""{note}"""\n\n\ndef model_fn(model_dir):\n    return None\n'.encode()


def model_file(kind: Kind, size: int) -> Iterator[Piece]:
    """A TorchScript file (a zip of stored entries) with `size` bytes of weights, a multiple of 8 MiB."""
    blocks, weights = size // BLOCK, block(kind)
    entries = [
        ("model/data.pkl", [_piece(pickle.dumps({}, protocol=2))]),
        ("model/code/__torch__.py", [_piece(b"class Model(Module):\n  pass\n")]),
        ("model/data/0", [weights] * blocks),
        ("model/constants.pkl", [_piece(pickle.dumps((), protocol=2))]),
        ("model/version", [_piece(b"3\n")]),
    ]
    offset, directory = 0, b""
    for name, pieces in entries:
        info = zipfile.ZipInfo(name)
        info.file_size = info.compress_size = sum(len(piece.raw) for piece in pieces)
        info.header_offset = offset
        for piece in pieces:
            info.CRC = zlib_ng.crc32(piece.raw, getattr(info, "CRC", 0))
        header = info.FileHeader()
        yield _piece(header)
        yield from pieces
        offset += len(header) + info.file_size
        directory += _central(info)
    yield _piece(directory + _end(len(entries), len(directory), offset))


def _central(info: zipfile.ZipInfo) -> bytes:
    """An entry of the zip's directory (APPNOTE 6.3.10, 4.3.12), with 64 bits where it needs them (4.5.3)."""
    name = info.filename.encode()
    wide = [value for value in (info.file_size, info.compress_size, info.header_offset) if value > _ZIP_MAX]
    extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    size, offset = min(info.file_size, _ZIP_MAX), min(info.header_offset, _ZIP_MAX)
    sums = (info.CRC, size, size, len(name), len(extra), 0, 0, 0, 0, offset)
    return struct.pack("<4s6H3L5H2L", b"PK\1\2", 45, 45, 0, 0, 0, 0x21, *sums) + name + extra


def _end(count: int, size: int, offset: int) -> bytes:
    """The zip's end (4.3.14 to 4.3.16)."""
    wide = struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, offset + size, 1)
    short = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, count, count, size, min(offset, _ZIP_MAX), 0)
    return wide + locator + short


def archive(kind: Kind, size: int, note: str = "") -> Iterator[bytes]:
    """A model.tar.gz with `size` bytes of weights, 1 MiB at a time at most."""
    crc, length = 0, 0
    yield b"\x1f\x8b\x08\0\0\0\0\0\0\3"
    for piece in _tar(kind, size, note):
        crc, length = zlib_ng.crc32(piece.raw, crc), length + len(piece.raw)
        yield from piece.deflated
    yield b"\3\0" + struct.pack("<LL", crc, length % (1 << 32))


def _tar(kind: Kind, size: int, note: str) -> Iterator[Piece]:
    inside = sum(len(piece.raw) for piece in model_file(kind, size))
    yield _piece(_tar_header(MODEL, inside))
    yield from model_file(kind, size)
    code = handler(note)
    yield _piece(bytes(-inside % 512) + _tar_header(HANDLER, len(code)) + code + bytes(-len(code) % 512) + bytes(1024))


def _tar_header(path: str, size: int) -> bytes:
    info = tarfile.TarInfo(path)
    info.size = size
    return info.tobuf(tarfile.PAX_FORMAT)
