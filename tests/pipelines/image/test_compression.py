"""Compressed layers: the same bytes however a tar comes in, and readable by what others decompress with."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from random import Random

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.image.compression import Compression, compressed

_EDGES = [
    0,
    1,
    65_534,
    65_535,
    65_536,
    1_048_559,
    1_048_560,
    1_048_561,
    (1 << 20) - 1,
    1 << 20,
    (1 << 20) + 1,
    3_000_000,
]


def data_of(size: int) -> bytes:
    return Random(size).randbytes(size)


def in_pieces(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    at = 0
    for size in sizes:
        yield data[at : at + size]
        at += size
    yield data[at:]


def whole(data: bytes, compression: Compression) -> bytes:
    return b"".join(compressed(iter((data,)), compression))


def opened(packed: bytes, compression: Compression) -> bytes:
    if compression is Compression.GZIP:
        return gzip.decompress(packed)
    if compression is Compression.ZSTD:
        reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(packed), read_across_frames=True)
        return bytes(reader.read())
    return packed


@pytest.mark.parametrize("compression", Compression)
@pytest.mark.parametrize("size", _EDGES)
def test_what_goes_in_comes_out(compression: Compression, size: int) -> None:
    data = data_of(size)
    packed = whole(data, compression)
    assert opened(packed, compression) == data
    assert len(packed) <= size + size // 1000 + 64


@settings(max_examples=50)
@given(
    st.sampled_from(Compression),
    st.sampled_from(_EDGES),
    st.lists(st.one_of(st.integers(0, 3), st.integers(0, 1 << 21)), max_size=12),
)
def test_the_bytes_do_not_depend_on_the_pieces(compression: Compression, size: int, pieces: list[int]) -> None:
    data = data_of(size)
    assert b"".join(compressed(in_pieces(data, pieces), compression)) == whole(data, compression)


@pytest.mark.parametrize("compression", Compression)
def test_little_is_held_at_a_time(compression: Compression) -> None:
    taken = given_out = 0

    def chunks() -> Iterator[bytes]:
        nonlocal taken
        for number in range(64):
            taken += (1 << 18) + number
            yield data_of((1 << 18) + number)

    for piece in compressed(chunks(), compression):
        given_out += len(piece)
        assert len(piece) <= (1 << 20) + 4096
        assert taken - given_out <= 2 << 20


def test_gzip_is_what_its_specification_shows() -> None:
    # RFC 1952, 2.3: magic, deflate, no flags, no time, no hint, unknown system; RFC 1951, 3.2.4: stored blocks
    assert whole(b"abc", Compression.GZIP) == (
        bytes.fromhex("1f8b0800 00000000 00ff")
        + bytes.fromhex("00 0300 fcff")
        + b"abc"
        + bytes.fromhex("01 0000 ffff")
        + zlib.crc32(b"abc").to_bytes(4, "little")
        + (3).to_bytes(4, "little")
    )
    assert zlib.decompressobj(wbits=31).decompress(whole(b"", Compression.GZIP)) == b""


def test_weights_are_made_smaller() -> None:
    noise = Random(1)
    halves = b"".join(bytes((noise.randrange(256), 0x3C + noise.randrange(4))) for _ in range(200_000))
    assert len(whole(halves, Compression.ZSTD)) < 0.8 * len(halves)


@pytest.mark.parametrize(("tool", "compression"), [("gzip", Compression.GZIP), ("zstd", Compression.ZSTD)])
def test_other_programs_decompress_it(tool: str, compression: Compression) -> None:
    found = shutil.which(tool)
    if not found:
        pytest.skip(f"Put {tool} on PATH to see that another program reads the layers.")
    data = data_of(3_000_000)
    run = subprocess.run([found, "-dc"], input=whole(data, compression), capture_output=True, check=True)
    assert run.stdout == data
