"""Zips that say two things at once."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.archive import read_archive
from pipelines.scanning import Scanner
from registry.facts import Severity
from tests.pipelines.scanning.zips import EVIL, GOOD, MIB, Look, Zips, rules, with_end64

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
    "zip64's end without a locator": lambda: with_end64(locator=False),
    "zip64's end elsewhere": lambda: with_end64(place=3),
    "zip64's end of another directory": lambda: with_end64(offset=1),
    "zip64's end with more in it": lambda: with_end64(length=45),
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


@pytest.mark.parametrize("make", LIES.values(), ids=LIES.keys())
@pytest.mark.parametrize("step", [1, MIB])
def test_a_zip_that_says_two_things_is_dangerous(make: Callable[[], bytes], step: int, look: Look) -> None:
    found = look({"m.pt": make()}, step).findings()
    assert ("zip-ambiguous", Severity.DANGER) in {(finding.rule, finding.severity) for finding in found}


@pytest.mark.parametrize("before", [b"x", b"\x7fELF" + bytes(600), GOOD, b"\x93NUMPY", bytes(70_000)])
@pytest.mark.parametrize("path", ["m.pt", "picture.png"])
def test_a_zip_behind_something_else_is_found(before: bytes, path: str, look: Look) -> None:
    assert "zip-ambiguous" in rules(look({path: before + Zips().file("m/data.pkl", EVIL).zip(comment=b"c" * 60_000)}))


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
