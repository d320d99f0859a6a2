import gzip
import io
import tarfile
import tracemalloc

import pytest

from registry.errors import Conflict
from registry.tarring import tar_gz

LONG = "folder/" * 40 + "é"


def test_members_are_there_in_order_without_times_or_owners() -> None:
    members = [("b", 3, [b"ab", b"c"]), ("a/empty", 0, []), (LONG, 1025, [b"x" * 1025])]
    data = b"".join(tar_gz(members))
    assert data[4:8] == bytes(4)
    assert len(gzip.decompress(data)) % tarfile.RECORDSIZE == 0
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        found = tar.getmembers()
        assert [(each.name, each.size) for each in found] == [("b", 3), ("a/empty", 0), (LONG, 1025)]
        assert {(each.mtime, each.uid, each.gid, each.uname, each.gname, each.mode) for each in found} == {
            (0, 0, 0, "", "", 0o644)
        }
        assert tar.extractfile("b").read() == b"abc"  # type: ignore[union-attr]
    assert b"".join(tar_gz(members)) == data


def test_an_archive_of_nothing_is_one() -> None:
    with tarfile.open(fileobj=io.BytesIO(b"".join(tar_gz([]))), mode="r:gz") as tar:
        assert tar.getmembers() == []


@pytest.mark.parametrize("chunks", [[b"ab"], [b"ab", b"cd"], []])
def test_another_size_than_said_is_a_conflict(chunks: list[bytes]) -> None:
    with pytest.raises(Conflict, match="3 bytes"):
        b"".join(tar_gz([("a", 3, chunks)]))


def test_memory_does_not_grow_with_the_archive() -> None:
    chunk = bytes(1 << 20)
    tracemalloc.start()
    for _ in tar_gz([("big", 64 << 20, (chunk for _ in range(64)))]):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20
