"""Zips made header by header, as `zipfile` would not make them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

from pipelines.scanning import Scanner

Look = Callable[..., Scanner]
MIB = 1 << 20
EVIL = b"\x80\x02cos\nsystem\nX\x01\0\0\0x\x85R."
GOOD = b"\x80\x02)."


class Zips:
    """Makes zips header by header, as `zipfile` would not make them."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.listed: list[bytes] = []

    def file(
        self,
        name: str,
        data: bytes,
        *,
        deferred: int = 0,
        deflate: bool = False,
        extra: bytes = b"",
        flags: int = 0,
        method: int | None = None,
        size: int | None = None,
        central: dict[str, Any] | None = None,
    ) -> Zips:
        """A file; `deferred` is the length of its descriptor, 16 or 24; `central` is what its directory says else."""
        crc, offset = zlib.crc32(data), len(self.out)
        packed = _deflated(data) if deflate else data
        method = (8 if deflate else 0) if method is None else method
        sizes = (crc, len(packed), len(data) if size is None else size)
        flags |= 8 if deferred else 0
        raw = name.encode()
        self.out += struct.pack(
            "<4sHHHHHIIIHH",
            b"PK\3\4",
            0,
            flags,
            method,
            0,
            0,
            *((0, 0, 0) if deferred else sizes),
            len(raw),
            len(extra),
        )
        self.out += raw + extra + packed
        if deferred:
            self.out += struct.pack("<4sIII" if deferred == 16 else "<4sIQQ", b"PK\7\x08", *sizes)
        fields = {"name": raw, "flags": flags, "method": method, "crc": crc, "packed": sizes[1], "size": sizes[2]}
        fields |= {"offset": offset, "attributes": 0, "made": 0, "extra": b"", **(central or {})}
        self.listed.append(
            struct.pack(
                "<4sHHHHHHIIIHHHHHII",
                b"PK\1\2",
                fields["made"],
                0,
                fields["flags"],
                fields["method"],
                0,
                0,
                fields["crc"],
                fields["packed"],
                fields["size"],
                len(fields["name"]),
                len(fields["extra"]),
                0,
                0,
                0,
                fields["attributes"],
                fields["offset"],
            )
            + fields["name"]
            + fields["extra"]
        )
        return self

    def junk(self, data: bytes) -> Zips:
        self.out += data
        return self

    def zip(self, comment: bytes = b"", count: int | None = None, offset: int | None = None, gap: bytes = b"") -> bytes:
        directory, start = b"".join(self.listed), len(self.out) + len(gap)
        n = len(self.listed) if count is None else count
        where = start if offset is None else offset
        end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, n, n, len(directory), where, len(comment))
        return bytes(self.out) + gap + directory + end + comment


def _deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=-15)
    return packer.compress(data) + packer.flush()


def rules(scanner: Scanner) -> set[str]:
    return {finding.rule for finding in scanner.findings()}


def with_end64(
    locator: bool = True, place: int | None = None, offset: int | None = None, length: int = 44, count: int = 1
) -> bytes:
    zips = Zips().file("m/a.npy", GOOD)
    plain = zips.zip()
    start, size = len(zips.out), len(zips.listed[0])
    at = len(plain) - 22
    where = start if offset is None else offset
    end64 = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", length, 0, 0, 0, 0, count, count, size, where)
    pointer = struct.pack("<4sIQI", b"PK\6\7", 0, at if place is None else place, 1) if locator else b""
    return plain[:-22] + end64 + pointer + plain[-22:]
