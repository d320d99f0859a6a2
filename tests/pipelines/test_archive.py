"""Archives as they come from strangers: whole, damaged and hostile."""

from __future__ import annotations

import gzip
import io
import struct
import subprocess
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.archive import Limits, read_archive
from registry.errors import InvalidInput, Refused

Files = list[tuple[str, bytes]]
MIB = 1 << 20

GOOD: Files = [
    ("model.pt", bytes(range(256)) * 40),
    ("empty", b""),
    ("code/inference.py", b"print('hello')\n"),
    ("a" * 90 + "/" + "b" * 120 + "/long", b"1" * 513),
    ("größe/модель.txt", "naïve".encode()),
    ("block", b"2" * 512),
]


def tar_of(files: Files, form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def read(chunks: Iterable[bytes], limits: Limits | None = None) -> Files:
    return [(member.path, b"".join(member.chunks)) for member in read_archive(chunks, limits)]


def assert_one_sentence(error: Exception) -> None:
    message = str(error)
    assert message.endswith(".")
    assert not message.endswith("..")
    assert len(message) < 500
    assert message.isprintable()


TAR = tar_of(GOOD)
GZ = gzip.compress(TAR, mtime=0)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_python_packs_comes_through(form: int) -> None:
    files = [(name, data) for name, data in GOOD if form != tarfile.USTAR_FORMAT or len(name) < 100]
    assert read([gzip.compress(tar_of(files, form))]) == files


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--sort=name"],
        ["--format=ustar"],
        ["--format=v7"],
        ["--format=posix"],
        ["--format=posix", "--pax-option=globexthdr.name=g,comment=hello"],
        ["--format=oldgnu", "--owner=somebody:123456789"],
        ["--blocking-factor=1"],
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_what_gnu_tar_packs_comes_through(options: list[str], tmp_path: Path) -> None:
    files = dict(GOOD)
    if {"--format=ustar", "--format=v7"} & set(options):  # neither can hold such a name
        files = {name: data for name, data in files.items() if len(name) < 90}
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    packed = subprocess.run(["tar", "czf", "-", *options, "."], cwd=tmp_path, capture_output=True, check=True)
    assert dict(read([packed.stdout])) == files


def test_an_extended_attribute_of_any_bytes_is_no_harm(tars: Any) -> None:
    records = tars.record("SCHILY.xattr.user.raw", b"\xff\xfe=\0\n") + tars.record("path", b"named/here")
    assert read([tars.gz(tars.pax(records), tars.file("other"))]) == [("named/here", b"x")]


LEGIT: dict[str, Callable[[Any], bytes]] = {
    "several gzip streams in a row": lambda t: gzip.compress(TAR[:700]) + gzip.compress(b"") + gzip.compress(TAR[700:]),
    "zeros after the gzip stream": lambda t: GZ + bytes(3 * MIB),
    "a name in the gzip header": lambda t: _gzip_with_name(TAR),
    "stored blocks": lambda t: gzip.compress(TAR, 0),
    "much padding": lambda t: gzip.compress(TAR + bytes(10 * MIB), 1),
}


def _gzip_with_name(data: bytes) -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile("model.tar", "wb", fileobj=out) as file:
        file.write(data)
    return out.getvalue()


@pytest.mark.parametrize("make", LEGIT.values(), ids=LEGIT.keys())
def test_unusual_but_sound_archives_come_through(make: Callable[[Any], bytes], tars: Any) -> None:
    assert read([make(tars)]) == GOOD


def test_an_archive_of_nothing_has_no_files(tars: Any) -> None:
    assert read([tars.gz()]) == []


def test_folders_and_dots_are_no_files(tars: Any) -> None:
    entries = [
        tars.header("./", kind=tarfile.DIRTYPE),
        tars.header("./a/", kind=tarfile.DIRTYPE),
        tars.file("./a/b"),
        tars.header("a", kind=tarfile.DIRTYPE),
        tars.file("a//./c"),
        tars.file("._a"),  # what macOS adds
    ]
    assert [path for path, _ in read([tars.gz(*entries)])] == ["a/b", "a/c", "._a"]


D, R = InvalidInput, Refused

BAD: dict[str, tuple[type[Exception], Callable[[Any], bytes]]] = {
    # damaged
    "nothing at all": (D, lambda t: b""),
    "cut in the gzip header": (D, lambda t: GZ[:5]),
    "cut after the gzip header": (D, lambda t: GZ[:10]),
    "cut in the deflate stream": (D, lambda t: GZ[: len(GZ) // 2]),
    "cut before the checksum": (D, lambda t: GZ[:-8]),
    "cut in the checksum": (D, lambda t: GZ[:-3]),
    "cut in a tar header": (D, lambda t: gzip.compress(TAR[:300])),
    "cut in a file": (D, lambda t: gzip.compress(TAR[:700])),
    "cut in the padding": (D, lambda t: gzip.compress(t.file("a")[:-1])),
    "cut before the end blocks": (D, lambda t: gzip.compress(t.file("a"))),
    "gzip of nothing": (D, lambda t: gzip.compress(b"")),
    "not gzip": (D, lambda t: b"PK\x03\x04" + bytes(600)),
    "tar without gzip": (D, lambda t: TAR),
    "zlib instead of gzip": (D, lambda t: zlib.compress(TAR)),
    "not tar": (D, lambda t: gzip.compress(b"hello " * 500)),
    "wrong checksum": (D, lambda t: GZ[:-8] + struct.pack("<I", zlib.crc32(TAR) ^ 1) + GZ[-4:]),
    "wrong length": (D, lambda t: GZ[:-4] + struct.pack("<I", len(TAR) + 1)),
    "garbage after the gzip stream": (D, lambda t: GZ + b"garbage"),
    "a second gzip stream cut": (D, lambda t: GZ + gzip.compress(bytes(512))[:-4]),
    "garbage after the tar": (D, lambda t: gzip.compress(TAR + b"garbage")),
    "two tars in a row": (D, lambda t: gzip.compress(t.tar(t.file("a")) + t.tar(t.file("b")))),
    "two gzipped tars in a row": (D, lambda t: t.gz(t.file("a")) + t.gz(t.file("b"))),
    "a header with a wrong checksum": (D, lambda t: gzip.compress(b"y" + t.tar(t.file("x"))[1:])),
    "a negative size": (D, lambda t: t.gz(t.file("a", raw={"size": b"\xff" * 12}))),
    "a negative size of a pax header": (
        D,
        lambda t: t.gz(t.header("a", 0, tarfile.XHDTYPE, raw={"size": b"\xff" * 12}), t.file("a")),
    ),
    "a size of 2**88": (D, lambda t: t.gz(t.file("a", raw={"size": b"\x80" + b"\xff" * 11}))),
    "a size that goes on after the end": (D, lambda t: t.gz(t.file("a", raw={"size": b"00000100000\0"}))),
    "a base-256 size that is too large": (
        D,
        lambda t: t.gz(t.file("a", raw={"size": b"\x80" + (1 << 40).to_bytes(11)})),
    ),
    "a size of letters": (D, lambda t: t.gz(t.file("a", raw={"size": b"zzz"}))),
    "a folder with a size": (D, lambda t: t.gz(t.header("a", 512, tarfile.DIRTYPE), bytes(512))),
    "a file named as a folder": (D, lambda t: t.gz(t.file("a/"))),
    "a pax size that is too large": (D, lambda t: t.gz(t.pax(t.record("size", b"99999")), t.file("a"))),
    "a pax size that is too small": (D, lambda t: t.gz(t.pax(t.record("size", b"1")), t.file("a", b"y" * 600))),
    "a negative pax size": (D, lambda t: t.gz(t.pax(t.record("size", b"-1")), t.file("a"))),
    "a pax size of other digits": (D, lambda t: t.gz(t.pax(t.record("size", "٣".encode())), t.file("a"))),
    "a pax size that is deleted": (D, lambda t: t.gz(t.pax(t.record("size", b"")), t.file("a"))),
    "a pax size of 5000 digits": (D, lambda t: t.gz(t.pax(t.record("size", b"9" * 5000)), t.file("a"))),
    "a pax record length of 5000 digits": (D, lambda t: t.gz(t.pax(b"9" * 5000 + b" a=b\n"), t.file("a"))),
    "a pax record length of zero": (D, lambda t: t.gz(t.pax(b"0 path=a\n"), t.file("a"))),
    "a pax record length beyond the header": (D, lambda t: t.gz(t.pax(b"99 path=a\n"), t.file("a"))),
    "a pax record without a length": (D, lambda t: t.gz(t.pax(b"path=a\n"), t.file("a"))),
    "a pax record without a value": (D, lambda t: t.gz(t.pax(b"8 path\n\n"), t.file("a"))),
    "a pax path of other bytes than UTF-8": (D, lambda t: t.gz(t.pax(t.record("path", b"\xff")), t.file("a"))),
    "a name of other bytes than UTF-8": (D, lambda t: t.gz(t.file("a", raw={"name": b"gr\xf6\xdfe"}))),
    "a long name of other bytes than UTF-8": (D, lambda t: t.gz(t.long_name(b"\xff" * 200), t.file("a"))),
    "a pax header with nothing behind": (D, lambda t: t.gz(t.pax(t.record("path", b"a")))),
    "a run of pax headers": (D, lambda t: t.gz(*[t.pax(t.record("path", b"a"))] * 9, t.file("a"))),
    # hostile
    "a path that goes up": (R, lambda t: t.gz(t.file("../x"))),
    "a path that goes up inside": (R, lambda t: t.gz(t.file("a/../../x"))),
    "a path that goes down and up": (R, lambda t: t.gz(t.file("a/../x"))),
    "an absolute path": (R, lambda t: t.gz(t.file("/etc/passwd"))),
    "an absolute path on Windows": (R, lambda t: t.gz(t.file("C:\\x"))),
    "a drive": (R, lambda t: t.gz(t.file("./C:x"))),
    "backslashes": (R, lambda t: t.gz(t.file("..\\x"))),
    "a NUL": (R, lambda t: t.gz(t.pax(t.record("path", b"a\0b")), t.file("a"))),
    "a NUL in a long name": (R, lambda t: t.gz(t.long_name(b"a\0b"), t.file("a"))),
    "a line break": (R, lambda t: t.gz(t.file("a\nb"))),
    "an escape": (R, lambda t: t.gz(t.file("a\x1b[2Jb"))),
    "another control character": (R, lambda t: t.gz(t.file("a\x9bb"))),
    "a turned direction of writing": (R, lambda t: t.gz(t.file("a\u202etp.b"))),
    "no name": (R, lambda t: t.gz(t.file(""))),
    "the name of the folder itself": (R, lambda t: t.gz(t.file("."))),
    "a pax path that is deleted": (R, lambda t: t.gz(t.pax(t.record("path", b"")), t.file("a"))),
    "a folder that goes up": (R, lambda t: t.gz(t.header("../a/", kind=tarfile.DIRTYPE))),
    "a pax path that goes up": (R, lambda t: t.gz(t.pax(t.record("path", b"../x")), t.file("a"))),
    "a long name that goes up": (R, lambda t: t.gz(t.long_name(b"../" * 60 + b"x"), t.file("a"))),
    "a prefix that goes up": (R, lambda t: t.gz(_ustar(t.file("x", raw={"prefix": b".."})))),
    "a global pax path": (R, lambda t: t.gz(t.pax(t.record("path", b"a"), tarfile.XGLTYPE), t.file("b"))),
    "a part too long": (R, lambda t: t.gz(t.long_name(b"a" * 256), t.file("a"))),
    "a path too long": (R, lambda t: t.gz(t.long_name(b"a/" * 9 + b"b" * 200 + b"/" + b"c" * 900), t.file("a"))),
    "a path too deep": (R, lambda t: t.gz(t.long_name(b"a/" * 400 + b"b"), t.file("a"))),
    "a symbolic link inside": (R, lambda t: t.gz(t.file("b"), t.header("a", 0, tarfile.SYMTYPE, "b"))),
    "a symbolic link outside": (R, lambda t: t.gz(t.header("a", 0, tarfile.SYMTYPE, "../../b"))),
    "an absolute symbolic link": (R, lambda t: t.gz(t.header("a", 0, tarfile.SYMTYPE, "/etc/passwd"))),
    "a long link": (R, lambda t: t.gz(t.long_name(b"b" * 300, b"K"), t.header("a", 0, tarfile.SYMTYPE, "b"))),
    "a hard link": (R, lambda t: t.gz(t.file("b"), t.header("a", 0, tarfile.LNKTYPE, "b"))),
    "a character device": (R, lambda t: t.gz(t.header("a", 0, tarfile.CHRTYPE))),
    "a block device": (R, lambda t: t.gz(t.header("a", 0, tarfile.BLKTYPE))),
    "a named pipe": (R, lambda t: t.gz(t.header("a", 0, tarfile.FIFOTYPE))),
    "an old sparse file": (R, lambda t: t.gz(t.header("a", 0, tarfile.GNUTYPE_SPARSE))),
    "a pax sparse file": (R, lambda t: t.gz(t.pax(t.record("GNU.sparse.major", b"1")), t.file("a"))),
    "a multi-volume archive": (R, lambda t: t.gz(t.header("a", 0, b"M"))),
    "a Solaris extended header": (R, lambda t: t.gz(t.header("a", 0, tarfile.SOLARIS_XHDTYPE))),
    "a kind that nobody knows": (R, lambda t: t.gz(t.header("a", 0, b"!"))),
    "a huge pax header": (R, lambda t: t.gz(t.header("a", 1 << 33, tarfile.XHDTYPE))),
    "a huge long name": (R, lambda t: t.gz(t.header("a", 1 << 33, tarfile.GNUTYPE_LONGNAME))),
    "a huge global header": (R, lambda t: t.gz(t.header("a", 1 << 33, tarfile.XGLTYPE))),
    "a name twice": (R, lambda t: t.gz(t.file("a"), t.file("a"))),
    "a name twice, written differently": (R, lambda t: t.gz(t.file("a/b"), t.file("./a//b"))),
    "two names that differ in case": (R, lambda t: t.gz(t.file("Model.pt"), t.file("model.PT"))),
    "two names that differ in composition": (R, lambda t: t.gz(t.file("gr\u00f6\u00dfe"), t.file("gro\u0308\u00dfe"))),
    "two folders that differ in case": (R, lambda t: t.gz(t.file("A"), t.file("a/b"))),
    "a file that is a folder too": (R, lambda t: t.gz(t.file("a"), t.file("a/b"))),
    "a folder that is a file too": (R, lambda t: t.gz(t.file("a/b"), t.file("a"))),
    "a file and a folder of one name": (R, lambda t: t.gz(t.file("a"), t.header("a/", kind=tarfile.DIRTYPE))),
    "a folder and a file of one name": (R, lambda t: t.gz(t.header("a/", kind=tarfile.DIRTYPE), t.file("a"))),
    "a folder below a file": (R, lambda t: t.gz(t.file("a"), t.header("a/b/", kind=tarfile.DIRTYPE))),
}


def _ustar(entry: bytes) -> bytes:
    """The entry with POSIX's magic instead of GNU's, so that its prefix counts."""
    block = bytearray(entry)
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block[:512]):06o}\0 ".encode()
    return bytes(block)


@pytest.mark.parametrize(("kind", "make"), BAD.values(), ids=BAD.keys())
def test_a_bad_archive_is_refused_in_one_sentence(
    kind: type[Exception],
    make: Callable[[Any], bytes],
    tars: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    data = make(tars)
    for chunks in ([data], [data[at : at + 1] for at in range(len(data))]):
        with pytest.raises((InvalidInput, Refused)) as caught:
            read(chunks)
        assert type(caught.value) is kind, caught.value
        assert_one_sentence(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_files_and_folders_are_counted_together(tars: Any) -> None:
    entries = [tars.file("a"), tars.header("b/", kind=tarfile.DIRTYPE), tars.file("c")]
    assert len(read([tars.gz(*entries)], Limits(files=3))) == 2
    with pytest.raises(Refused, match="more than 2 files"):
        read([tars.gz(*entries)], Limits(files=2))


def test_bytes_are_counted_after_decompression(tars: Any) -> None:
    data = tars.gz(tars.file("a", b"y" * 2000))
    assert len(read([data], Limits(size=2048 + 512 + 1024))) == 1
    with pytest.raises(Refused, match="holds more than 3583 bytes"):
        read([data], Limits(size=2048 + 512 + 1023))


def bomb(size: int) -> Iterator[bytes]:
    """A tar of one file of `size` zeros, gzipped as it comes."""
    packer = zlib.compressobj(9, wbits=31)
    info = tarfile.TarInfo("zeros")
    info.size = size
    yield packer.compress(info.tobuf(tarfile.PAX_FORMAT))
    for _ in range(size // MIB):
        yield packer.compress(bytes(MIB))
    yield packer.compress(bytes(1024)) + packer.flush()


def test_a_bomb_is_refused_in_constant_memory() -> None:
    data = b"".join(bomb(128 * MIB))  # in one chunk: what comes out of it must be bounded, not what goes in
    assert len(data) < MIB
    tracemalloc.start()
    try:
        with pytest.raises(Refused, match="as a bomb does"):
            sum(len(chunk) for member in read_archive([data]) for chunk in member.chunks)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * MIB


def test_a_model_of_mostly_zeros_is_no_bomb() -> None:
    def sizes(limits: Limits) -> int:
        return sum(len(chunk) for member in read_archive(bomb(66 * MIB), limits) for chunk in member.chunks)

    assert sizes(Limits(ratio=2000)) == 66 * MIB
    with pytest.raises(Refused, match="as a bomb does"):
        sizes(Limits())


def test_deep_paths_cost_no_memory(tars: Any) -> None:
    def entries() -> Iterator[bytes]:
        for number in range(3000):
            yield tars.long_name(f"{number}/{'/'.join('ab' * 15)}/x".encode()) + tars.file("a", b"")
        yield bytes(1024)

    data = gzip.compress(b"".join(entries()))
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_archive([data])) == 3000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 32 * MIB


def test_extended_headers_are_not_kept(tars: Any) -> None:
    def entries() -> Iterator[bytes]:
        for number in range(200):
            records = b"".join(tars.record(f"{number}.{i}.{'k' * 500}", b"") for i in range(110))
            yield tars.pax(records) + tars.file(f"f{number}", b"")
        yield bytes(1024)

    data = gzip.compress(b"".join(entries()))
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_archive([data])) == 200
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * MIB


def test_a_file_that_nobody_reads_is_skipped() -> None:
    assert [member.path for member in read_archive([GZ])] == [name for name, _ in GOOD]
    members = read_archive([GZ])
    assert next(next(members).chunks)
    assert next(members).path == GOOD[1][0]


@given(st.lists(st.integers(0, len(GZ)), max_size=30), st.integers(1, 5000))
@settings(max_examples=60)
def test_members_do_not_depend_on_how_the_bytes_come(cuts: list[int], step: int) -> None:
    edges = [0, *sorted(cuts), len(GZ)]
    assert read(GZ[a:b] for a, b in pairwise(edges)) == GOOD  # empty pieces among them
    assert read(GZ[at : at + step] for at in range(0, len(GZ), step)) == GOOD


Mutation = tuple[str, int, bytes]
MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "copy"]),
        st.integers(0, len(TAR) - 1),
        st.binary(min_size=1, max_size=40) | st.sampled_from([b"\0" * 512, b"\xff" * 12, b"x", b"L", b"../"]),
    ),
    min_size=1,
    max_size=4,
)


def mutated(data: bytes, mutations: list[Mutation]) -> bytes:
    out = bytearray(data)
    for how, place, piece in mutations:
        at = place % (len(out) or 1)
        if how == "flip":
            out[at : at + len(piece)] = bytes(a ^ b for a, b in zip(out[at : at + len(piece)], piece, strict=False))
        elif how == "cut":
            del out[at : at + len(piece) * 20]
        elif how == "insert":
            out[at:at] = piece
        else:
            out[at:at] = out[:at][-1024:]
    return bytes(out)


def assert_read_or_refused(data: bytes) -> None:
    try:
        files = read([data])
    except (InvalidInput, Refused) as error:
        assert_one_sentence(error)
    else:
        assert len({path for path, _ in files}) == len(files)
        assert all(path and path[0] != "/" and ".." not in path.split("/") for path, _ in files)


@given(MUTATIONS)
@settings(max_examples=300)
def test_any_damage_to_the_gzip_stream_is_told_in_one_sentence(mutations: list[Mutation]) -> None:
    assert_read_or_refused(mutated(GZ, mutations))


@given(MUTATIONS)
@settings(max_examples=300)
def test_any_damage_to_the_tar_is_told_in_one_sentence(mutations: list[Mutation]) -> None:
    assert_read_or_refused(gzip.compress(mutated(TAR, mutations), 1))


@given(st.integers(0, 11), st.binary(min_size=1, max_size=512), st.integers(0, 511))
@settings(max_examples=300)
def test_any_header_that_is_well_summed_is_read_or_refused(which: int, piece: bytes, at: int) -> None:
    """Damage behind a right checksum, which is what an attacker makes."""
    block = bytearray(TAR[which * 512 : which * 512 + 512])
    block[at : at + len(piece)] = piece[: 512 - at]
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    tar = TAR[: which * 512] + bytes(block) + TAR[which * 512 + 512 :]
    assert_read_or_refused(gzip.compress(tar, 1))


@given(st.binary(max_size=600))
@settings(max_examples=200)
def test_any_extended_header_is_read_or_refused(records: bytes) -> None:
    header = tarfile.TarInfo("PaxHeader")
    header.size, header.type = len(records), tarfile.XHDTYPE
    blocks = [header.tobuf(tarfile.USTAR_FORMAT), records, bytes(-len(records) % 512), tarfile.TarInfo("a").tobuf()]
    assert_read_or_refused(gzip.compress(b"".join([*blocks, bytes(1024)]), 1))
