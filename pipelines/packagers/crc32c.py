"""CRC-32C, which TensorFlow's files guard themselves with (RFC 3720, appendix B.4; the polynomial is Castagnoli's)."""

from __future__ import annotations

from functools import cache

_POLYNOMIAL = 0x82F63B78
"""Castagnoli's, its bits in reverse."""


def crc32c(data: bytes) -> int:
    """The CRC-32C of some bytes; several megabytes a second, so it is for small files."""
    table, crc = _table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def masked_crc32c(data: bytes) -> int:
    """As TensorFlow stores it: rotated and shifted, so that a CRC of data with CRCs in it is no weaker for that.

    TensorFlow documentation, "TFRecord and tf.train.Example", section "TFRecords format details".
    """
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return tuple(table)
