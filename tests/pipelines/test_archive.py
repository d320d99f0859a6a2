"""Archives as they come from strangers, sound ones."""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.archive import read_archive
from tests.pipelines.archives import GOOD, GZ, MIB, TAR, read, tar_of


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
