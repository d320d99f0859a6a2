"""A local file or folder as model.tar.gz."""

from __future__ import annotations

import gzip
import io
import os
import socket
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from pipelines.archive import read_archive
from registry.archive import tar_gz_of
from registry.errors import Conflict, InvalidInput, NotFound, Refused
from registry.store import CHUNK


def files_of(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        members = tar.getmembers()
        assert all(m.isreg() and (m.mtime, m.uid, m.gid, m.mode, m.uname) == (0, 0, 0, 0o644, "") for m in members)
        return {m.name: tar.extractfile(m).read() for m in members}


def packed(path: Path) -> bytes:
    return b"".join(tar_gz_of(path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    for name, data in {
        "b.txt": b"b",
        "a/z": b"az",
        "a.txt": b"",
        "a-b/x": b"x" * (3 * CHUNK + 5),
        "ü/é": b"accents",
        "deep/" * 30 + "file": b"deep",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "empty").mkdir()
    return folder


def test_a_folder_lies_at_the_root_in_order_of_names(folder: Path) -> None:
    files = files_of(packed(folder))
    assert list(files) == ["a-b/x", "a.txt", "a/z", "b.txt", "deep/" * 30 + "file", "ü/é"]
    assert files["a-b/x"] == b"x" * (3 * CHUNK + 5)
    assert files["ü/é"] == b"accents"


def test_what_pipelines_read_is_what_was_packed(folder: Path) -> None:
    read = {member.path: b"".join(member.chunks) for member in read_archive(tar_gz_of(folder))}
    assert read == files_of(packed(folder))


def test_equal_files_are_equal_bytes_whenever_and_wherever_they_lie(folder: Path, tmp_path: Path) -> None:
    first = packed(folder)
    other = tmp_path / "elsewhere" / "other"
    for name, data in reversed(files_of(first).items()):
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        (other / name).write_bytes(data)
        (other / name).chmod(0o700)
        os.utime(other / name, (1, 1))
    assert packed(other) == first
    assert packed(tmp_path / "elsewhere" / ".." / "model") == first
    (other / "b.txt").write_bytes(b"c")
    assert packed(other) != first


def test_a_link_to_the_folder_is_the_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert packed(tmp_path / "link") == packed(folder)


@pytest.mark.parametrize("name", ["model.tar.gz", "model.tgz"])
def test_an_archive_is_given_as_it_is(tmp_path: Path, name: str) -> None:
    data = gzip.compress(os.urandom(2 * CHUNK + 3))
    (tmp_path / name).write_bytes(data)
    chunks = list(tar_gz_of(tmp_path / name))
    assert b"".join(chunks) == data
    assert all(len(chunk) <= CHUNK for chunk in chunks)


def test_a_single_file_is_an_archive_of_one(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"weights")
    assert files_of(packed(tmp_path / "model.pt")) == {"model.pt": b"weights"}
    (tmp_path / "alias.pt").symlink_to("model.pt")
    assert files_of(packed(tmp_path / "alias.pt")) == {"alias.pt": b"weights"}


def test_links_inside_the_folder_are_what_they_lead_to(folder: Path) -> None:
    before = files_of(packed(folder))
    (folder / "c.txt").symlink_to("a/z")
    (folder / "again").symlink_to("a", target_is_directory=True)
    assert files_of(packed(folder)) == {**before, "c.txt": b"az", "again/z": b"az"}


@pytest.mark.parametrize("target", ["../secret", "/etc/hostname", "../outside", "a/../../secret"])
def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "outside").mkdir()
    (folder / "link").symlink_to(target)
    with pytest.raises(Refused, match=r"/model/link is a link that leads out of the folder: put in its place"):
        packed(folder)


@pytest.mark.parametrize("target", ["nowhere", "link", "../model/nowhere"])
def test_a_link_to_nowhere_is_refused(folder: Path, target: str) -> None:
    (folder / "link").symlink_to(target)
    with pytest.raises(Refused, match=r"/model/link is a link that leads nowhere: remove it\.$"):
        packed(folder)


@pytest.mark.parametrize("target", [".", "..", "../a"])
def test_a_link_into_itself_is_refused(folder: Path, target: str) -> None:
    (folder / "a" / "loop").symlink_to(target)
    with pytest.raises(Refused, match=r"leads into itself|leads out"):
        packed(folder)


def test_what_is_no_file_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(Refused, match=r"/model/pipe is neither a file nor a folder: remove it\.$"):
        packed(folder)
    with pytest.raises(Refused, match=r"/model/pipe is neither a file nor a folder: give one that is\.$"):
        packed(folder / "pipe")
    (folder / "pipe").unlink()
    monkeypatch.chdir(folder)  # a socket's path may be no longer than 107 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(Refused, match=r"/model/socket is neither a file nor a folder: remove it\.$"):
            packed(folder)
    with pytest.raises(Refused, match=r"^/dev/null is neither a file nor a folder"):
        packed(Path("/dev/null"))


def test_nothing_there_and_nothing_in_it(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=rf"^There is nothing at {tmp_path}/none: check the path\.$"):
        packed(tmp_path / "none")
    (tmp_path / "empty" / "in" / "it").mkdir(parents=True)
    with pytest.raises(InvalidInput, match=r"/empty holds no file: give a folder that does\.$"):
        packed(tmp_path / "empty")


def test_a_name_that_is_no_text(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).write_bytes(b"x")
    with pytest.raises(InvalidInput, match=r"is not UTF-8: rename the file\.$"):
        packed(folder)


def test_a_file_that_is_written_meanwhile(folder: Path) -> None:
    chunks = tar_gz_of(folder)
    for change in (b"x", b"x" * (9 * CHUNK)):
        chunks = tar_gz_of(folder)
        (folder / "a-b/x").write_bytes(b"x" * (3 * CHUNK + 5))
        next(chunks)
        (folder / "a-b/x").write_bytes(change)
        with pytest.raises(Conflict, match="start again"):
            list(chunks)


@pytest.mark.parametrize("name", ["b.txt/x", "x" * 300])
def test_what_the_system_does_not_read(folder: Path, name: str) -> None:
    with pytest.raises(Refused, match=r"cannot be read \(.+\): allow it, or leave it out\.$"):
        packed(folder / name)


def test_memory_is_constant(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(64 * CHUNK)
    tracemalloc.start()
    try:
        assert sum(map(len, tar_gz_of(tmp_path / "big"))) > 0
        assert tracemalloc.get_traced_memory()[1] < 8 * CHUNK
    finally:
        tracemalloc.stop()
