"""gzip as it comes from strangers: the same bytes as zlib gives, in small pieces, or one sentence that says why not."""

from __future__ import annotations

import gzip
import random
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.archive import Limits
from pipelines.gunzip import gunzip
from registry.errors import InvalidInput, Refused, SluiceError
from registry.store import CHUNK

WIDE = Limits(size=1 << 30, ratio=2000)


def cut(data: bytes, step: int) -> Iterator[bytes]:
    return (data[at : at + step] for at in range(0, len(data), step))


def content(seed: int, size: int, noisy: bool) -> bytes:
    source = random.Random(seed)
    return source.randbytes(size) if noisy else (source.randbytes(97) * (size // 97 + 1))[:size]


SIZES = st.integers(0, 100_000) | st.sampled_from([CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5])
STREAMS = st.lists(
    st.tuples(st.integers(0, 9), SIZES, st.booleans(), st.sampled_from([0, 1, 6]), st.integers(0, 3)),
    min_size=1,
    max_size=3,
)
"""Seed, size and noise of the content, the level, and how many zeros come behind."""
STEPS = st.sampled_from([1 << 10, 65_537, CHUNK, 16 * CHUNK])


@settings(max_examples=40)
@given(STREAMS, STEPS)
def test_what_zlib_packs_comes_out_whatever_the_chunks(
    streams: list[tuple[int, int, bool, int, int]], step: int
) -> None:
    """Streams of any level one after the other, with zeros behind some."""
    packed, expected = b"", b""
    for seed, size, noisy, level, zeros in streams:
        data = content(seed, size, noisy)
        packed += gzip.compress(data, level, mtime=0) + bytes(zeros)
        expected += data
    pieces = list(gunzip(cut(packed, step), WIDE))
    assert b"".join(pieces) == expected
    assert all(0 < len(piece) <= CHUNK for piece in pieces)


@pytest.mark.parametrize("step", [1, 2, 7])
def test_single_bytes_are_enough(step: int) -> None:
    data = content(1, 5000, noisy=False)
    assert b"".join(gunzip(cut(gzip.compress(data) + bytes(9) + gzip.compress(data), step), WIDE)) == data * 2


def test_empty_chunks_are_no_end() -> None:
    packed = gzip.compress(b"hello") + gzip.compress(b" there")
    chunks = [b"", packed[:9], b"", b"", packed[9:30], b"", packed[30:], b"", bytes(3), b""]
    assert b"".join(gunzip(chunks, WIDE)) == b"hello there"


NAMED = b"\x1f\x8b\x08\x1c" + bytes(4) + b"\0\3" + b"\2\0xy" + b"name\0" + b"a comment\0"
RAW = zlib.compressobj(9, zlib.DEFLATED, -15)
BODY = RAW.compress(b"abc") + RAW.flush() + zlib.crc32(b"abc").to_bytes(4, "little") + (3).to_bytes(4, "little")


def test_a_header_with_all_its_fields_is_read() -> None:
    assert b"".join(gunzip([NAMED + BODY], WIDE)) == b"abc"


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "nothing": (lambda _: b"", "truncated"),
    "zeros": (lambda _: bytes(100), "damaged"),
    "not gzip": (lambda _: b"PK\3\4" + bytes(60), "incorrect header check"),
    "zlib's own form": (lambda _: zlib.compress(b"abc"), "incorrect header check"),
    "a header cut": (lambda good: good[:5], "truncated"),
    "the middle cut": (lambda good: good[: len(good) // 2], "truncated"),
    "the length cut": (lambda good: good[:-1], "truncated"),
    "another checksum": (lambda good: good[:-8] + bytes(4) + good[-4:], "incorrect data check"),
    "another length": (lambda good: good[:-4] + bytes(4), "incorrect length check"),
    "another method": (lambda good: good[:2] + b"\7" + good[3:], "unknown compression method"),
    "something behind": (lambda good: good + bytes(5) + b"x", "truncated|damaged"),
    "a second stream cut": (lambda good: good + good[:-3], "truncated"),
    "a bad block": (lambda good: good[:10] + b"\7" + good[11:], "damaged"),
}


@pytest.mark.parametrize("what", DAMAGE)
@pytest.mark.parametrize("step", [1, CHUNK])
def test_damage_is_told(what: str, step: int) -> None:
    damage, said = DAMAGE[what]
    with pytest.raises(InvalidInput, match=said) as caught:
        list(gunzip(cut(damage(gzip.compress(content(2, 1000, noisy=True), mtime=0)), step), WIDE))
    assert str(caught.value).endswith(".")


@given(st.binary(max_size=200), st.integers(0, 60), STEPS)
def test_any_other_bytes_end_in_one_sentence_or_are_what_zlib_says(data: bytes, kept: int, step: int) -> None:
    """Never another exception, and never bytes that zlib would not give."""
    mutant = gzip.compress(b"0123456789" * 20, mtime=0)[:kept] + data
    given, error = b"", None
    try:
        for piece in gunzip(cut(mutant, step), WIDE):
            given += piece
    except SluiceError as caught:
        error = caught
    expected, inflate = b"", zlib.decompressobj(31)
    try:
        expected = inflate.decompress(mutant)
    except zlib.error:
        assert error is not None
    else:
        assert given.startswith(expected) or error is not None


def bomb(size: int) -> bytes:
    """gzip of `size` zeros, some thousandth of it."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(squeeze.compress(bytes(CHUNK)) for _ in range(size // CHUNK)) + squeeze.flush()


def peak(work: Callable[[], object]) -> int:
    tracemalloc.start(1)
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def used_up(chunks: Iterator[bytes]) -> int:
    return sum(map(len, chunks))


def test_memory_does_not_grow_with_what_comes_out() -> None:
    """128 MiB out of one chunk of 128 KiB."""
    data = bomb(128 * CHUNK)
    assert peak(lambda: used_up(gunzip([data], WIDE))) < 6 * CHUNK


@pytest.mark.parametrize("size", [1, 3, 5])
def test_bombs_in_a_row_come_out_whole(size: int) -> None:
    """A stream's last call begins with what the call before it had to leave, since 1 MiB was full."""
    data = bomb(size * CHUNK) * 3
    for step in (1 << 10, CHUNK):
        assert used_up(gunzip(cut(data, step), WIDE)) == 3 * size * CHUNK


def test_a_bomb_is_refused_as_soon_as_it_is_one() -> None:
    given: list[int] = []
    with pytest.raises(Refused, match="grows more than 200 times"):
        given.extend(map(len, gunzip([bomb(128 * CHUNK)], Limits())))
    assert sum(given) <= 64 * CHUNK


def test_more_than_may_come_is_refused_before_it_is_given() -> None:
    given: list[int] = []
    with pytest.raises(Refused, match="more than 3000000 bytes"):
        given.extend(map(len, gunzip([gzip.compress(content(3, 4_000_000, noisy=True))], Limits(size=3_000_000))))
    assert sum(given) <= 3_000_000


def test_streams_of_nothing_cost_what_their_bytes_cost() -> None:
    """Each stream's end makes zlib copy what it was given behind it; it is given little at a stream's beginning."""
    given: list[int] = []
    empty = gzip.compress(b"", mtime=0)
    data = empty * (CHUNK // len(empty))
    assert peak(lambda: given.append(used_up(gunzip([data], WIDE)))) < CHUNK
    assert given == [0]
