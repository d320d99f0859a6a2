"""Zips as torch and others write them: walked from front to back, and looked into."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable

import pytest

from registry.facts import Severity
from tests.pipelines.scanning.zips import EVIL, GOOD, MIB, Look, Zips, rules, with_end64

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


def test_zip64s_end_is_read(look: Look) -> None:
    assert rules(look({"m.npz": with_end64()})) == {"pickle"}


def test_a_zip_cut_anywhere_is_dangerous(look: Look) -> None:
    data = SOUND["deferred"]()
    for size in range(4, len(data)):
        assert "zip-ambiguous" in rules(look({"m.pt": data[:size]})), size


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
    assert "pickle-global" in rules(look({"m.npz": data}))
    found = look({"m.npz": Zips().file("a.npy", data).zip()}).findings()
    assert ("m.npz!a.npy!a.npy!a.npy", "nested-archive") in {(finding.path, finding.rule) for finding in found}
