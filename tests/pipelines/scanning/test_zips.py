"""Zips as torch and others write them, and such as say two things at once."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.archive import read_archive
from pipelines.scanning import Scanner
from registry.facts import Severity

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


SOUND: dict[str, Callable[[], bytes]] = {
    "stored": lambda: Zips().file("m/data.pkl", GOOD).file("m/data/0", bytes(9)).zip(),
    "deflated": lambda: Zips().file("m/data.pkl", GOOD, deflate=True).file("m/x", b"", deflate=True).zip(),
    "deferred": lambda: Zips().file("m/data.pkl", GOOD, deferred=16).file("m/data/0", b"", deferred=16).zip(),
    "deferred, zip64": lambda: Zips().file("m/data.pkl", GOOD, deferred=24).file("m/data/0", b"", deferred=24).zip(),
    "deferred, deflated": lambda: Zips().file("m/data.pkl", GOOD, deferred=16, deflate=True).zip(),
    "deferred, deflated, zip64": lambda: Zips().file("m/data.pkl", GOOD, deferred=24, deflate=True).zip(),
    "padded by an extra field": lambda: Zips()
    .file("m/data.pkl", GOOD, extra=b"FB\x20\0" + b"Z" * 32)
    .file("m/data/0", b"PK\7\x08" * 90, extra=b"FB\0\0", deferred=16)
    .zip(),
    "a comment": lambda: Zips().file("m/data.pkl", GOOD).zip(comment=b"hello"),
    "data like descriptors": lambda: Zips()
    .file("m/data.pkl", GOOD)
    .file("m/data/0", b"PK\7\x08" + struct.pack("<III", 0, 5, 5) + b"P" * 50 + b"PK\7", deferred=16)
    .zip(),
    "sizes in zip64's field": lambda: Zips()
    .file("m/data.pkl", GOOD, central={
        "packed": 0xFFFFFFFF, "size": 0xFFFFFFFF, "extra": struct.pack("<HHQQ", 1, 16, len(GOOD), len(GOOD)),
    })
    .zip(),
}  # fmt: skip


@pytest.mark.parametrize("make", SOUND.values(), ids=SOUND.keys())
@pytest.mark.parametrize("step", [1, 3, 17, MIB])
def test_a_sound_zip_is_walked_however_its_bytes_come(make: Callable[[], bytes], step: int, look: Look) -> None:
    assert rules(look({"m.pt": make()}, step)) == {"pickle"}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("streamed", [False, True], ids=["seekable", "streamed"])
@pytest.mark.parametrize("zip64", [False, True], ids=["zip", "zip64"])
def test_what_python_writes_is_sound(compression: int, streamed: bool, zip64: bool, look: Look) -> None:
    class Stream:
        def __init__(self) -> None:
            self.data = bytearray()

        def write(self, data: bytes) -> int:
            self.data += data
            return len(data)

        def flush(self) -> None: ...

    stream, whole = Stream(), io.BytesIO()
    with zipfile.ZipFile(stream if streamed else whole, "w", compression) as archive:  # type: ignore[call-overload]
        for name, data in (("m/data.pkl", GOOD), ("m/data/0", bytes(range(256)) * 300), ("m/empty", b"")):
            with archive.open(name, "w", force_zip64=zip64) as file:
                file.write(data)
    data = bytes(stream.data) if streamed else whole.getvalue()
    assert rules(look({"m.pt": data}, 1000)) == {"pickle"}


LIES: dict[str, Callable[[], bytes]] = {
    "a file that the directory does not name": lambda: _unlisted(Zips().file("m/a", b"1").file("m/b", EVIL)),
    "a file twice": lambda: Zips().file("m/data.pkl", GOOD).file("m/data.pkl", EVIL).zip(),
    "another name in the directory": lambda: Zips().file("m/a", GOOD, central={"name": b"m/b"}).zip(),
    "another size in the directory": lambda: Zips().file("m/a", GOOD, central={"size": 3}).zip(),
    "another packed size": lambda: Zips().file("m/a", GOOD, central={"packed": 3}).zip(),
    "another method in the directory": lambda: Zips().file("m/a", GOOD, central={"method": 8}).zip(),
    "another checksum in the directory": lambda: Zips().file("m/a", GOOD, central={"crc": 1}).zip(),
    "another place in the directory": lambda: Zips().file("m/a", GOOD).file("m/b", EVIL, central={"offset": 0}).zip(),
    "two entries for one place": lambda: _listed_twice(Zips().file("m/a", GOOD)),
    "other flags in the directory": lambda: Zips().file("m/a", GOOD, central={"flags": 1}).zip(),
    "zip64 sizes that lie": lambda: Zips()
    .file("m/a", GOOD, central={"size": 0xFFFFFFFF, "extra": struct.pack("<HHQ", 1, 8, 9999)})
    .zip(),
    "a zip64 field cut short": lambda: Zips()
    .file("m/a", GOOD, central={"size": 0xFFFFFFFF, "extra": struct.pack("<HHI", 1, 4, 4)})
    .zip(),
    "two zip64 fields": lambda: Zips().file("m/a", GOOD, extra=struct.pack("<HHQHHQ", 1, 8, 4, 1, 8, 5)).zip(),
    "bytes between files": lambda: Zips().file("m/a", GOOD).junk(EVIL).file("m/b", GOOD).zip(),
    "zeros between files": lambda: Zips().file("m/a", GOOD).junk(bytes(4)).file("m/b", GOOD).zip(),
    "bytes before the directory": lambda: Zips().file("m/a", GOOD).zip(gap=b"xxxx"),
    "bytes after the end": lambda: Zips().file("m/a", GOOD).zip() + b"x",
    "a zip after the zip": lambda: Zips().file("m/a", GOOD).zip() + Zips().file("m/a", EVIL).zip(),
    "a zip in the comment": lambda: Zips().file("m/a", GOOD).zip(comment=Zips().file("m/a", EVIL).zip()),
    "a wrong count of files": lambda: Zips().file("m/a", GOOD).zip(count=2),
    "a directory elsewhere": lambda: Zips().file("m/a", GOOD).zip(offset=0),
    "a directory moved": lambda: Zips().file("m/a", GOOD).zip(offset=5),
    "a descriptor of the tensor's own": lambda: _faked(),
    "a deflate stream that ends early": lambda: Zips().file("m/a", GOOD, deflate=True, size=99).zip(),
    "a stored file of two sizes": lambda: Zips().file("m/a", GOOD, size=99).zip(),
    "a deflate stream that is none": lambda: Zips().file("m/a", b"\xff" * 50, method=8).zip(),
    "deferred without a way to the end": lambda: Zips().file("m/a", GOOD, deferred=16, flags=1).zip(),
    "deferred by an unknown method": lambda: Zips().file("m/a", GOOD, deferred=16, method=12).zip(),
    "several disks": lambda: Zips().file("m/a", GOOD).zip()[:-18] + struct.pack("<4H2IH", 1, 0, 1, 1, 49, 37, 0),
    "an end alone, twice": lambda: Zips().zip() + Zips().zip(),
    "a signed directory": lambda: Zips().file("m/a", GOOD).zip().replace(b"PK\5\6", b"PK\5\5\0\0PK\5\6"),
    "zip64's end without a locator": lambda: _with_end64(locator=False),
    "zip64's end elsewhere": lambda: _with_end64(place=3),
    "zip64's end of another directory": lambda: _with_end64(offset=1),
    "zip64's end with more in it": lambda: _with_end64(length=45),
}  # fmt: skip


def _unlisted(zips: Zips) -> bytes:
    del zips.listed[1]
    return zips.zip()


def _listed_twice(zips: Zips) -> bytes:
    zips.listed *= 2
    return zips.zip()


def _faked() -> bytes:
    """A tensor that ends early for who walks, and hides a file from the directory's readers."""
    inside = b"t" * 100
    fake = inside + struct.pack("<4sIII", b"PK\7\x08", zlib.crc32(inside), 100, 100)
    return Zips().file("m/data/0", fake + bytes(Zips().file("m/data.pkl", EVIL).out), deferred=16).zip()


def _with_end64(
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


def test_zip64s_end_is_read(look: Look) -> None:
    assert rules(look({"m.npz": _with_end64()})) == {"pickle"}


@pytest.mark.parametrize("make", LIES.values(), ids=LIES.keys())
@pytest.mark.parametrize("step", [1, MIB])
def test_a_zip_that_says_two_things_is_dangerous(make: Callable[[], bytes], step: int, look: Look) -> None:
    found = look({"m.pt": make()}, step).findings()
    assert ("zip-ambiguous", Severity.DANGER) in {(finding.rule, finding.severity) for finding in found}


def test_a_zip_cut_anywhere_is_dangerous(look: Look) -> None:
    data = SOUND["deferred"]()
    for size in range(4, len(data)):
        assert "zip-ambiguous" in rules(look({"m.pt": data[:size]})), size


@pytest.mark.parametrize("before", [b"x", b"\x7fELF" + bytes(600), GOOD, b"\x93NUMPY", bytes(70_000)])
@pytest.mark.parametrize("path", ["m.pt", "picture.png"])
def test_a_zip_behind_something_else_is_found(before: bytes, path: str, look: Look) -> None:
    assert "zip-ambiguous" in rules(look({path: before + Zips().file("m/data.pkl", EVIL).zip(comment=b"c" * 60_000)}))


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/passwd", "C:\\x", "a\\..\\b", "a\nb", "a\0", "a/" * 40 + "b"]
)
def test_a_path_that_leaves_is_dangerous(name: str, look: Look) -> None:
    found = look({"m.mar": Zips().file("MAR-INF/MANIFEST.json", b"{}").file(name, b"x").zip()}).findings()
    assert [(finding.rule, finding.severity) for finding in found] == [("zip-path", Severity.DANGER)]
    assert found[0].path.isprintable()


def test_a_link_is_dangerous(look: Look) -> None:
    data = Zips().file("m/data.pkl", GOOD).file("m/l", b"/etc", central={"made": 3 << 8, "attributes": 0o120777 << 16})
    assert rules(look({"m.pt": data.zip()})) == {"zip-link", "pickle"}


def test_what_cannot_be_read_is_told(look: Look) -> None:
    data = Zips().file("m/data.pkl", GOOD).file("m/secret", b"s", flags=1).file("m/bzip2", b"b", method=12).zip()
    found = {(finding.path, finding.rule, finding.detail) for finding in look({"m.pt": data}).findings()}
    assert ("m.pt!m/secret", "unscanned", "nothing looked into it: it is encrypted") in found
    assert ("m.pt!m/bzip2", "unscanned", "nothing looked into it: it is compressed by method 12") in found


def test_a_checkpoint_in_a_mar_is_looked_into(look: Look) -> None:
    inner = Zips().file("m/data.pkl", EVIL, deferred=16).zip()
    for options in ({}, {"deflate": True}, {"deferred": 16}, {"deflate": True, "deferred": 24}):
        outer = Zips().file("model.pt", inner, **options).file("MAR-INF/MANIFEST.json", b"{}").zip()  # type: ignore[arg-type]
        paths = {finding.path for finding in look({"m.mar": outer}, 5).findings()}
        assert paths == {"m.mar!model.pt!m/data.pkl"}


def test_zips_in_zips_in_zips_are_not_clean(look: Look) -> None:
    data = Zips().file("m/data.pkl", EVIL).zip()
    for _ in range(2):
        data = Zips().file("a.npy", data).zip()
    found = look({"m.npz": data}).findings()
    assert ("m.npz!a.npy!a.npy", "nested-archive") in {(finding.path, finding.rule) for finding in found}


def zeros(size: int) -> Iterator[bytes]:
    packer = zlib.compressobj(9, wbits=-15)
    for _ in range(size // MIB):
        yield packer.compress(bytes(MIB))
    yield packer.flush()


def test_a_bomb_is_found_in_constant_memory(look: Look) -> None:
    bomb = b"".join(zeros(300 * MIB))
    out = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 0, 0, 8, 0, 0, 0, len(bomb), 300 * MIB, 8, 0) + b"m/data/0" + bomb
    tracemalloc.start()
    try:
        scanner = look({"m.pt": out})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "zip-bomb" in rules(scanner)
    assert peak < 8 * MIB


def test_all_zips_together_are_limited(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.scanning.findings.Budget.__init__.__defaults__", (10_000, 1 << 30))
    data = Zips().file("m/data.pkl", GOOD).file("m/0", bytes(6000), deflate=True).zip()
    found = look({"a.pt": data, "b.pt": data}).findings()
    assert [(item.path, item.severity) for item in found if item.rule == "zip-ambiguous"] == [("b.pt", Severity.DANGER)]


def test_many_files_are_limited(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.scanning.zips.ENTRIES_MAX", 3)
    zips = Zips()
    for number in range(4):
        zips.file(f"m/{number}", b"")
    assert "zip-bomb" in rules(look({"m.pt": zips.zip()}))


def test_a_large_checkpoint_takes_constant_memory() -> None:
    head, tail = Zips().file("m/data.pkl", GOOD, deferred=16), Zips()
    tail.listed, size = head.listed, 64 * MIB
    head.out += struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 0, 8, 0, 0, 0, 0, 0, 0, 8, 0) + b"m/data/0"
    scanner, block = Scanner(), bytes(range(256)) * 4096

    def chunks() -> Iterator[bytes]:
        yield bytes(head.out)
        for _ in range(size // MIB):
            yield block

    tracemalloc.start()
    try:
        assert sum(len(chunk) for chunk in scanner.watch("m.pt", chunks())) > size
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MIB


def _example() -> bytes:
    data = (Path(__file__).parents[3] / "examples/digits/jobs/digits-2026-11-08/model.tar.gz").read_bytes()
    return next(b"".join(member.chunks) for member in read_archive([data]))


EXAMPLE = _example()


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@given(data=st.data())
@settings(max_examples=400)
def test_any_damage_to_a_real_file_is_judged(data: st.DataObject) -> None:
    damaged = bytearray(EXAMPLE)
    for _ in range(data.draw(st.integers(1, 4))):
        last = len(damaged) - 1
        at = data.draw(st.integers(0, last) | st.integers(max(0, last - 1200), last))  # its directory, half the time
        match data.draw(st.sampled_from(["flip", "cut", "insert", "copy", "field"])):
            case "flip":
                damaged[at] ^= data.draw(st.integers(1, 255))
            case "cut":
                del damaged[at : at + data.draw(st.integers(1, 2000))]
            case "insert":
                damaged[at:at] = data.draw(st.sampled_from([b"PK\3\4", b"PK\7\x08" + bytes(12), EVIL, b"\0" * 30]))
            case "copy":
                damaged[at:at] = damaged[:at][-500:]
            case _:
                place = damaged.find(data.draw(st.sampled_from([b"PK\1\2", b"PK\3\4", b"PK\5\6"])), at)
                damaged[place + 4 : place + 46] = data.draw(st.binary(min_size=42, max_size=42))
    scanner = Scanner()
    pieces = [bytes(damaged[:at]), bytes(damaged[at:])]
    assert list(scanner.watch("model.pt", pieces)) == pieces
    # what a reader that goes by the directory finds otherwise, it was told of; a checksum is the reader's business
    assert scanner.findings() or _read(bytes(damaged)) in (None, _read(EXAMPLE))


def _read(data: bytes) -> dict[str, bytes] | None:
    """What a reader that goes by the directory finds, None where it finds nothing."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # noqa: BLE001  # as damaged as it is
        return None
