"""Zips as they come from strangers, read from front to back: whole, damaged and hostile."""

from __future__ import annotations

import io
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.archive import Limits
from pipelines.packagers.torchserve.mar import Entry, write_mar
from pipelines.packagers.torchserve.unzip import unzip
from registry.errors import InvalidInput, Refused
from tests.pipelines.memory import traced

MIB = 1 << 20
Files = dict[str, bytes]
GOOD: Files = {
    "model.pt": bytes(range(256)) * 400,
    "empty": b"",
    "code/größe.txt": "naïve".encode() * 50,
    "MAR-INF/MANIFEST.json": b"{}",
}
STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


class OneWay(io.RawIOBase):
    """What cannot be sought in, so that zipfile puts sizes behind the data."""

    def __init__(self) -> None:
        super().__init__()
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        self.data += memoryview(data)  # type: ignore[arg-type]
        return len(memoryview(data))  # type: ignore[arg-type]


def zipped(files: Files, method: int = DEFLATED, *, force_zip64: bool = False) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            with archive.open(info, "w", force_zip64=force_zip64) as file:
                file.write(data)
    return out.getvalue()


def streamed(files: Files, *, force_zip64: bool = False) -> bytes:
    out = OneWay()
    with zipfile.ZipFile(out, "w", DEFLATED) as archive:  # type: ignore[arg-type]
        for name, data in files.items():
            with archive.open(name, "w", force_zip64=force_zip64) as file:
                file.write(data)
    return bytes(out.data)


FULL = {name: data for name, data in GOOD.items() if data}


def with_info_zip(folder: Path, *options: str) -> bytes:
    for name, data in FULL.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return subprocess.run(["zip", "-q", "-r", *options, "-", "."], cwd=folder, capture_output=True, check=True).stdout


def ours(files: Files) -> bytes:
    return b"".join(write_mar((Entry(path, len(data), [data] if data else []) for path, data in files.items()), []))


def read(chunks: Iterable[bytes], limits: Limits | None = None) -> Files:
    return {entry.path: b"".join(entry.chunks) for entry in unzip(chunks, limits or Limits())}


LEGIT: dict[str, Callable[[], bytes]] = {
    "deflated": lambda: zipped(GOOD),
    "stored": lambda: zipped(GOOD, STORED),
    "deflated with 64 bits": lambda: zipped(GOOD, force_zip64=True),
    "stored with 64 bits": lambda: zipped(GOOD, STORED, force_zip64=True),
    "sizes behind": lambda: streamed(GOOD),
    "sizes of 64 bits behind": lambda: streamed(GOOD, force_zip64=True),
    "sizes behind without a signature": lambda: streamed(GOOD).replace(b"PK\7\10", b""),
    "folders": lambda: zipped({"code/": b"", **GOOD, "x/y/": b""}),
    "a comment": lambda: _commented(zipped(GOOD)),
}


def _commented(data: bytes) -> bytes:
    return data[:-2] + struct.pack("<H", 5) + b"hello"


@pytest.mark.parametrize("case", LEGIT)
@pytest.mark.parametrize("step", [1, 777, MIB])
def test_what_packers_make_comes_through(case: str, step: int) -> None:
    data = LEGIT[case]()
    assert read(data[at : at + step] for at in range(0, len(data), step)) == GOOD


@pytest.mark.parametrize("step", [1, 4099, MIB])
def test_what_sluice_makes_comes_through(step: int) -> None:
    data = ours(GOOD)
    assert read(data[at : at + step] for at in range(0, len(data), step)) == GOOD


@pytest.mark.parametrize("options", [(), ("-0",), ("-9",), ("-fz",)], ids=str)
def test_what_info_zip_makes_comes_through(options: tuple[str, ...], tmp_path: Path) -> None:
    try:
        data = with_info_zip(tmp_path, *options)
    except FileNotFoundError:
        pytest.skip("Install zip to have its archives read.")
    if options == ("-0",):  # TorchServe does not read that either
        with pytest.raises(Refused, match="its size behind it"):
            read([data])
    else:
        assert read([data]) == FULL


def test_sizes_are_told_where_they_are_known() -> None:
    assert [entry.size for entry in unzip([zipped(GOOD)], Limits())] == [len(data) for data in GOOD.values()]
    assert {entry.size for entry in unzip([streamed(GOOD)], Limits())} == {None}
    assert {entry.large for entry in unzip([streamed(GOOD)], Limits())} == {False}


def test_a_file_that_nobody_reads_is_skipped() -> None:
    assert [entry.path for entry in unzip([zipped(GOOD)], Limits())] == list(GOOD)


def header(data: bytes, name: bytes = b"x", **fields: int) -> bytes:
    """A local header with these bytes after it."""
    told = {"flags": 0, "method": 0, "crc": zlib.crc32(data), "packed": len(data), "size": len(data), **fields}
    values = (20, told["flags"], told["method"], 0, 0x21, told["crc"], told["packed"], told["size"], len(name), 0)
    return b"PK\3\4" + struct.pack("<HHHHHLLLHH", *values) + name + data


def whole(*names: bytes, entries: bytes) -> bytes:
    """Entries with the directory that belongs to them."""
    directory = b"".join(
        struct.pack("<4sHHHHHHLLLHHHHHLL", b"PK\1\2", 20, 20, *[0] * 7, len(name), *[0] * 6) + name for name in names
    )
    end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, len(names), len(names), len(directory), len(entries), 0)
    return entries + directory + end


def one(data: bytes = b"data", name: bytes = b"x", **fields: int) -> bytes:
    return whole(name, entries=header(data, name, **fields))


def named(name: str) -> bytes:
    return zipped({name: b"x"})


RAW = zlib.compressobj(wbits=-15)
PACKED = RAW.compress(b"data" * 50) + RAW.flush()
D, R = InvalidInput, Refused
Z = zipped(GOOD)
BAD: dict[str, tuple[type[Exception], Callable[[], bytes]]] = {
    # damaged
    "nothing": (D, lambda: b""),
    "no zip": (D, lambda: b"hello " * 100),
    "an empty zip": (D, lambda: zipped({})),
    "something before it": (D, lambda: b"#!/bin/sh\n" + Z),
    "cut in a header": (D, lambda: Z[:20]),
    "cut in a name": (D, lambda: Z[:33]),
    "cut in the data": (D, lambda: Z[:300]),
    "cut in stored data": (D, lambda: zipped(GOOD, STORED)[:300]),
    "cut in a descriptor": (D, lambda: streamed({"x": b"x"})[:40]),
    "cut in the directory": (D, lambda: Z[: Z.index(b"PK\1\2") + 20]),
    "something after it": (D, lambda: Z + bytes(200_000)),
    "a wrong checksum": (D, lambda: one(crc=1)),
    "a size too small": (D, lambda: one(PACKED, method=8, crc=zlib.crc32(b"data" * 50), size=10)),
    "a size too large": (D, lambda: one(PACKED, method=8, crc=zlib.crc32(b"data" * 50), size=1000)),
    "a packed size too small": (D, lambda: one(PACKED, method=8, crc=zlib.crc32(b"data" * 50), size=200, packed=1)),
    "stored with two sizes": (D, lambda: one(size=3)),
    "no deflate": (D, lambda: one(b"\xff" * 50, method=8)),
    "a descriptor of another file": (D, lambda: streamed({"x": b"abc"}).replace(b"PK\7\10", b"PK\7\10\1")),
    "a name that is not UTF-8": (D, lambda: one(name=b"\xff", flags=0x800)),
    "a name in an old code page": (D, lambda: one(name=b"gr\x94\xe1e")),
    # hostile
    "a path that goes up": (R, lambda: named("../x")),
    "a path that goes up inside": (R, lambda: named("a/../../x")),
    "an absolute path": (R, lambda: named("/etc/passwd")),
    "a drive": (R, lambda: named("C:x")),
    "a backslash": (R, lambda: one(name=b"..\\x")),
    "a NUL": (R, lambda: one(name=b"a\0b")),
    "a line break": (R, lambda: named("a\nb")),
    "a turned direction of writing": (R, lambda: named("a\u202etp.b")),
    "no name": (R, lambda: one(name=b"")),
    "the folder itself": (R, lambda: named(".")),
    "a path too long": (R, lambda: named("a/" * 20 + "b" * 1100)),
    "a path too deep": (R, lambda: named("a/" * 40 + "b")),
    "a folder that goes up": (R, lambda: named("../").replace(b"x", b"")),
    "a folder with bytes": (R, lambda: one(name=b"folder/")),
    "a name twice": (R, lambda: whole(b"a", b"a", entries=header(b"1", b"a") + header(b"2", b"a"))),
    "two names that differ in case": (R, lambda: zipped({"a": b"1", "A": b"2"})),
    "a file that is a folder too": (R, lambda: zipped({"a": b"1", "a/b": b"2"})),
    "an encrypted file": (R, lambda: one(flags=1)),
    "a strongly encrypted file": (R, lambda: one(flags=0x41)),
    "a patch": (R, lambda: one(flags=0x20)),
    "masked headers": (R, lambda: one(flags=0x2000)),
    "bzip2": (R, lambda: zipped(GOOD, zipfile.ZIP_BZIP2)),
    "lzma": (R, lambda: zipped(GOOD, zipfile.ZIP_LZMA)),
    "deflate64": (R, lambda: one(method=9)),
    "a method that nobody knows": (R, lambda: one(method=77)),
    "stored with its size behind": (R, lambda: one(b"", flags=8)),
    "a directory that names another file": (R, lambda: whole(b"y", entries=header(b"d"))),
    "a directory that names fewer files": (R, lambda: whole(b"x", entries=header(b"d") + header(b"d", b"y"))),
    "a directory that names more files": (R, lambda: whole(b"x", b"y", entries=header(b"d"))),
    "a directory in another order": (R, lambda: whole(b"y", b"x", entries=header(b"d") + header(b"d", b"y"))),
    "no directory": (R, lambda: header(b"data")),
    "a hidden entry": (R, lambda: whole(b"x", entries=header(b"d") + b"junk" + header(b"e", b"y"))),
    "extra archive data": (R, lambda: header(b"d") + b"PK\6\x08" + bytes(30)),
}


def assert_one_sentence(error: Exception) -> None:
    message = str(error)
    assert message.endswith(".")
    assert ": " in message
    assert len(message) < 500
    assert message.isprintable()


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("step", [1, MIB])
def test_a_bad_archive_is_refused_in_one_sentence(case: str, step: int) -> None:
    kind, make = BAD[case]
    data = make()
    with pytest.raises((InvalidInput, Refused)) as caught:
        read(data[at : at + step] for at in range(0, len(data), step))
    assert type(caught.value) is kind, caught.value
    assert_one_sentence(caught.value)


def test_files_are_counted() -> None:
    assert len(read([Z], Limits(files=4))) == 4
    with pytest.raises(Refused, match="more than 3 files"):
        read([Z], Limits(files=3))


def test_bytes_are_counted() -> None:
    with pytest.raises(Refused, match="more than 1000 bytes"):
        read([Z], Limits(size=1000))


def bomb(size: int) -> Iterator[bytes]:
    packer = zlib.compressobj(9, wbits=-15)
    yield header(b"", method=8, flags=8)
    for _ in range(size // MIB):
        yield packer.compress(bytes(MIB))
    yield packer.flush()


def test_a_bomb_is_refused_in_constant_memory() -> None:
    data = b"".join(bomb(128 * MIB))
    assert len(data) < MIB
    with traced() as peak, pytest.raises(Refused, match="as a bomb does"):
        sum(len(chunk) for entry in unzip([data], Limits()) for chunk in entry.chunks)
    assert peak.size < 8 * MIB


def test_nested_files_that_share_their_bytes_do_not_overlap_here() -> None:
    """A directory that names one entry often, as in "A better zip bomb" (Fifield 2019), disagrees with what is read."""
    with pytest.raises(Refused, match="directory"):
        read([whole(*[b"x"] * 50, entries=header(b"data"))])


MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert"]),
        st.integers(0, 4000),
        st.binary(min_size=1, max_size=30) | st.sampled_from([b"PK\3\4", b"PK\1\2", b"\xff" * 8, b"../", b"\0" * 30]),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("make", [lambda: zipped(GOOD), lambda: zipped(GOOD, STORED), lambda: streamed(GOOD)])
@given(mutations=MUTATIONS)
@settings(max_examples=300)
def test_any_damage_is_told_in_one_sentence(make: Callable[[], bytes], mutations: list[tuple[str, int, bytes]]) -> None:
    out = bytearray(make())
    for how, place, piece in mutations:
        at = place % (len(out) or 1)
        if how == "flip":
            out[at : at + len(piece)] = bytes(a ^ b for a, b in zip(out[at : at + len(piece)], piece, strict=False))
        elif how == "cut":
            del out[at : at + len(piece)]
        else:
            out[at:at] = piece
    try:
        files = read([bytes(out)])
    except (InvalidInput, Refused) as error:
        assert_one_sentence(error)
    else:
        assert all(path and path[0] != "/" and ".." not in path.split("/") for path in files)
