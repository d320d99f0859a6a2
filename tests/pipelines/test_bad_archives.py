"""Archives that are damaged or hostile."""

from __future__ import annotations

import gzip
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import InvalidInput, Refused
from tests.pipelines.archives import GZ, TAR, assert_one_sentence, read

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
