"""Zips of any size: bombs are found, and nothing is kept."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import pytest

from pipelines.scanning import Scanner
from registry.facts import Severity
from tests.pipelines.memory import traced
from tests.pipelines.scanning.zips import GOOD, MIB, Look, Zips, rules


def zeros(size: int) -> Iterator[bytes]:
    packer = zlib.compressobj(9, wbits=-15)
    for _ in range(size // MIB):
        yield packer.compress(bytes(MIB))
    yield packer.flush()


def test_a_bomb_is_found_in_constant_memory(look: Look) -> None:
    bomb = b"".join(zeros(300 * MIB))
    out = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 0, 0, 8, 0, 0, 0, len(bomb), 300 * MIB, 8, 0) + b"m/data/0" + bomb
    with traced() as peak:
        scanner = look({"m.pt": out})
    assert "zip-bomb" in rules(scanner)
    assert peak.size < 8 * MIB


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

    with traced() as peak:
        assert sum(len(chunk) for chunk in scanner.watch("m.pt", chunks())) > size
    assert peak.size < 4 * MIB
