"""Archives that are too large, and the memory that reading any takes."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest

from pipelines.archive import Limits, read_archive
from registry.errors import Refused
from tests.pipelines.archives import MIB, bomb, read
from tests.pipelines.memory import traced


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


def test_a_bomb_is_refused_in_constant_memory() -> None:
    data = b"".join(bomb(128 * MIB))  # in one chunk: what comes out of it must be bounded, not what goes in
    assert len(data) < MIB
    with traced() as peak, pytest.raises(Refused, match="as a bomb does"):
        sum(len(chunk) for member in read_archive([data]) for chunk in member.chunks)
    assert peak.size < 8 * MIB


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
    with traced() as peak:
        assert sum(1 for _ in read_archive([data])) == 3000
    assert peak.size < 32 * MIB


def test_extended_headers_are_not_kept(tars: Any) -> None:
    def entries() -> Iterator[bytes]:
        for number in range(200):
            records = b"".join(tars.record(f"{number}.{i}.{'k' * 500}", b"") for i in range(110))
            yield tars.pax(records) + tars.file(f"f{number}", b"")
        yield bytes(1024)

    data = gzip.compress(b"".join(entries()))
    with traced() as peak:
        assert sum(1 for _ in read_archive([data])) == 200
    assert peak.size < 6 * MIB
