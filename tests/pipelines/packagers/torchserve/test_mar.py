"""The zip that Sluice writes, read by Python, by Java as TorchServe does, and by Sluice itself."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.packagers.torchserve.mar import BLOCK, MAX32, Entry, end_of_directory, read_mar, stored, write_mar
from registry.errors import Refused
from registry.facts import FileFact

MIB = 1 << 20


def pieces(data: bytes, step: int) -> Iterator[bytes]:
    return (data[at : at + step] for at in range(0, len(data), step))


def written(files: dict[str, bytes], step: int = MIB, sized: bool = True) -> tuple[bytes, list[FileFact]]:
    facts: list[FileFact] = []
    entries = (Entry(path, len(data) if sized else None, pieces(data, step)) for path, data in files.items())
    return b"".join(write_mar(entries, facts)), facts


def read(data: bytes, facts: Sequence[FileFact], wanted: list[str] | None = None) -> dict[str, bytes]:
    return {member.path: b"".join(member.chunks) for member in read_mar(io.BytesIO(data), facts, wanted)}


FILES = {
    "empty": b"",
    "größe/模型.bin": b"x" * 70_000,
    "a" * 250: b"1",
    "one block": bytes(BLOCK),
    "a block and a byte": bytes(BLOCK + 1),
    "large": hashlib.shake_128(b"weights").digest(3 * MIB + 17),
}


def test_python_reads_it_back() -> None:
    data, facts = written(FILES)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {info.filename: archive.read(info) for info in archive.infolist()} == FILES
        assert [info.external_attr >> 16 for info in archive.infolist()] == [0o100644] * len(FILES)
    assert [(f.path, f.size, f.sha256) for f in facts] == [
        (path, len(content), "sha256:" + hashlib.sha256(content).hexdigest()) for path, content in FILES.items()
    ]


def test_unzip_reads_it_back(tmp_path: Path) -> None:
    if not shutil.which("unzip"):
        pytest.skip("Install unzip to let it test the archive.")
    (tmp_path / "a.zip").write_bytes(written(FILES)[0])
    assert "No errors" in subprocess.run(["unzip", "-t", tmp_path / "a.zip"], capture_output=True, text=True).stdout


JAVA = """
import java.io.*;
import java.security.*;
import java.util.*;
import java.util.zip.*;

public class Read {
    public static void main(String[] args) throws Exception {
        ZipInputStream zip = new ZipInputStream(new BufferedInputStream(System.in, 1 << 20));
        byte[] buffer = new byte[1 << 20];
        boolean hashing = args[0].equals("hash");
        for (ZipEntry entry; (entry = zip.getNextEntry()) != null; ) {
            MessageDigest digest = MessageDigest.getInstance("SHA-256");
            long size = 0;
            for (int n; (n = zip.read(buffer)) > 0; size += n) if (hashing) digest.update(buffer, 0, n);
            new PrintStream(System.out, true, "UTF-8")
                .println(entry.getName() + "\\t" + size + "\\t" + HexFormat.of().formatHex(digest.digest()));
        }
    }
}
"""


@pytest.fixture(scope="session")
def java(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a class that reads a zip from its input as TorchServe's front end does, by ZipInputStream."""
    if not (shutil.which("javac") and shutil.which("java")):
        pytest.skip("Put a JDK (17 or later) on PATH: what TorchServe reads a .mar with is a class of Java's.")
    folder = tmp_path_factory.mktemp("java")
    (folder / "Read.java").write_text(JAVA)
    subprocess.run(["javac", "-d", folder, folder / "Read.java"], check=True, timeout=120)
    return folder


def java_reads(java: Path, chunks: Iterable[bytes], what: Literal["hash", "sizes"]) -> list[tuple[str, int, str]]:
    """Path, size and digest of each file; the digest of nothing where only sizes are wanted."""
    with subprocess.Popen(
        ["java", "-cp", java, "Read", what], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        for chunk in chunks:
            process.stdin.write(chunk)
        process.stdin.close()
        lines = process.stdout.read().decode().splitlines()
    assert process.returncode == 0
    return [(name, int(size), "sha256:" + digest) for name, size, digest in (line.split("\t") for line in lines)]


@pytest.mark.slow
def test_java_reads_it_as_a_stream(java: Path) -> None:
    data, facts = written(FILES)
    assert java_reads(java, [data], "hash") == [(fact.path, fact.size, fact.sha256) for fact in facts]


def zeros(size: int) -> Iterator[bytes]:
    block = bytes(MIB)
    for at in range(0, size, MIB):
        yield block[: size - at]


LIMIT = MAX32 - 5 * -(-MAX32 // (BLOCK + 5))
"""The largest file whose stored blocks take no more than 4 GiB."""


@pytest.mark.slow
@pytest.mark.parametrize("size", [3 << 30, LIMIT, LIMIT + 1, MAX32, MAX32 + 1])
def test_java_reads_a_file_of_any_size(size: int, java: Path) -> None:
    """Java takes sizes that follow the data for 64 bits wide by their values, whatever the header says."""
    facts: list[FileFact] = []
    nothing = FileFact(path="large", size=size, sha256="sha256:" + "0" * 64)  # saves hashing what is not compared
    entries = [Entry("large", size, zeros(size), nothing), Entry("after", 1, [b"x"])]
    found = java_reads(java, write_mar(entries, facts), "sizes")
    assert [(name, count) for name, count, _ in found] == [("large", size), ("after", 1)]


class Sparse(io.RawIOBase):
    """A file that remembers only what is not zeros inside a large entry."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[tuple[int, bytes]] = []
        self._size = self._at = 0

    def write_all(self, chunks: Iterable[bytes]) -> None:
        for chunk in chunks:
            if len(chunk) < MIB // 2:
                self._parts.append((self._size, chunk))
            self._size += len(chunk)

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        count = max(0, min(len(buffer), self._size - self._at))
        out = bytearray(count)
        for start, part in self._parts:
            for at in range(max(start, self._at), min(start + len(part), self._at + count)):
                out[at - self._at] = part[at - start]
        buffer[:count] = out
        self._at += count
        return count


@pytest.mark.slow
def test_files_beyond_4_gib_are_found_by_their_64_bits() -> None:
    sparse, size, facts = Sparse(), (4 << 30) + MIB, list[FileFact]()
    nothing = FileFact(path="large", size=size, sha256="sha256:" + "0" * 64)
    entries = [Entry("before", 3, [b"abc"]), Entry("large", size, zeros(size), nothing), Entry("after", 1, [b"x"])]
    sparse.write_all(write_mar(entries, facts))
    with zipfile.ZipFile(sparse) as archive:
        infos = archive.infolist()
        assert [(i.filename, i.file_size) for i in infos] == [("before", 3), ("large", size), ("after", 1)]
        assert infos[2].header_offset > MAX32
        assert archive.read("after") == b"x"
    with_after = {m.path: b"".join(m.chunks) for m in read_mar(sparse, facts, ["before", "after"])}
    assert with_after == {"before": b"abc", "after": b"x"}


def test_more_files_than_16_bits_count() -> None:
    files = dict.fromkeys((f"{number}" for number in range(66_000)), b"")
    data, facts = written(files)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == list(files)
    assert read(data, facts, ["65999"]) == {"65999": b""}


@given(st.integers(0, 3 * BLOCK), st.integers(1, 2 * BLOCK))
@settings(max_examples=60)
def test_stored_blocks_are_deflate_and_do_not_depend_on_chunks(size: int, step: int) -> None:
    data = hashlib.shake_128(b"x").digest(size)
    packed = b"".join(stored(pieces(data, step), size))
    assert packed == b"".join(stored([data] if data else [], size)) == b"".join(stored(pieces(data, step), None))
    inflate = zlib.decompressobj(wbits=-15)
    assert inflate.decompress(packed) == data
    assert inflate.eof
    assert not inflate.unused_data


@pytest.mark.parametrize("size", [0, 4, 6, BLOCK])
def test_a_file_of_another_size_than_told_is_refused(size: int) -> None:
    with pytest.raises(Refused, match="not as large"):
        list(write_mar([Entry("x", size, [b"abc", b"de"])], []))


def test_a_file_that_was_said_to_be_large_and_is_not_is_refused() -> None:
    with pytest.raises(Refused, match="not as large"):
        list(write_mar([Entry("x", None, [b"abc"], least=MAX32 + 1)], []))


def test_files_come_back_and_others_are_not_read() -> None:
    data, facts = written(FILES)
    assert read(data, facts) == FILES
    damaged = data.replace(b"x" * 1000, b"y" * 1000)
    assert read(damaged, facts, ["large", "empty"]) == {"large": FILES["large"], "empty": b""}


SMALL = {"a": b"alpha" * 30, "b/c": b"", "d": bytes(range(256)) * 300}
DATA, FACTS = written(SMALL)


@given(st.integers(0, len(DATA) - 1) | st.integers(len(DATA) - 300, len(DATA) - 1), st.integers(1, 255))
@settings(max_examples=300)
def test_a_changed_archive_is_refused_or_makes_no_difference(at: int, flip: int) -> None:
    damaged = bytearray(DATA)
    damaged[at] ^= flip
    try:
        files = read(bytes(damaged), FACTS)
    except Refused as error:
        assert str(error).endswith(".")  # noqa: PT017  # either is right
        assert str(error).isprintable()  # noqa: PT017
    else:
        assert files == SMALL  # a checksum, or the directory, which nothing that goes into an image comes from


@pytest.mark.parametrize("at", [0, 40, DATA.index(bytes(range(256))) + 70_000, len(DATA) - 1])
def test_a_flip_where_it_matters_is_refused(at: int) -> None:
    damaged = bytearray(DATA)
    damaged[at] ^= 1
    with pytest.raises(Refused, match=r"changed since.*\.$"):
        read(bytes(damaged), FACTS)


@pytest.mark.parametrize("size", [0, 10, len(DATA) // 2, len(DATA) - 1])
def test_a_cut_archive_is_refused(size: int) -> None:
    with pytest.raises(Refused, match=r"changed since"):
        read(DATA[:size], FACTS)


@pytest.mark.parametrize(
    "facts",
    [
        [*FACTS, FACTS[0]],
        FACTS[:-1],
        FACTS[::-1],
        [FACTS[0].model_copy(update={"path": "x"}), *FACTS[1:]],
        [FACTS[0].model_copy(update={"size": 149}), *FACTS[1:]],
        [FACTS[0].model_copy(update={"sha256": "sha256:" + "0" * 64}), *FACTS[1:]],
        [],
    ],
    ids=["more", "fewer", "other order", "other name", "other size", "other bytes", "none"],
)
def test_an_archive_with_other_files_is_refused(facts: list[FileFact]) -> None:
    with pytest.raises(Refused, match="changed since"):
        read(DATA, facts)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_an_archive_that_another_packer_wrote_is_none_of_ours(method: int) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for path, content in SMALL.items():
            archive.writestr(path, content)
    with pytest.raises(Refused, match="changed since"):
        read(out.getvalue(), FACTS)


class Trickle(io.BytesIO):
    """Gives fewer bytes than it is asked for, as a socket may."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size, 1000) if size and size > 0 else size)


def test_a_reader_may_give_few_bytes_at_a_time() -> None:
    assert {m.path: b"".join(m.chunks) for m in read_mar(Trickle(DATA), FACTS, None)} == SMALL


def test_an_empty_archive_is_a_zip() -> None:
    assert b"".join(write_mar([], [])) == end_of_directory(0, 0, 0)
    with zipfile.ZipFile(io.BytesIO(end_of_directory(0, 0, 0))) as archive:
        assert archive.namelist() == []
