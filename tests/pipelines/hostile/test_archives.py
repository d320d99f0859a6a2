"""Hostile archives through the whole package step: each is refused, and leaves nothing behind."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.archive import Limits
from registry.errors import InvalidInput, Refused, SluiceError
from registry.facts import Scan
from tests.pipelines.archives import MIB, bomb
from tests.pipelines.hostile.outputs import (
    SCRIPT,
    Step,
    no_file_may_be_written,
    tarred,
    zipped,
)

D, R = InvalidInput, Refused
MANIFEST = b'{"runtime": "python", "model": {"modelName": "m", "modelVersion": "1", "handler": "handler.py"}}'


def link(t: Any, name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> bytes:
    return bytes(t.header(name, 0, kind, target))


def model(t: Any) -> bytes:
    """A sound model, so that what stands beside it is all that is wrong."""
    return bytes(t.file("model.pt", zipped(SCRIPT)))


def path_max_chain(t: Any) -> list[bytes]:
    """Links through folders whose names add up to more than PATH_MAX, as in CVE-2025-4517."""
    entries, long = [], "d" * 247
    for step in range(16):
        here = "/".join([long] * step)
        entries += [t.header(f"{here}/{long}/".lstrip("/")[:90], kind=tarfile.DIRTYPE), link(t, f"l{step}", long)]
    return [*entries, link(t, "escape", "l15/" + "../" * 16), t.file("escape/x")]


ARCHIVES: dict[str, tuple[type[SluiceError], Callable[[Any], bytes]]] = {
    "an absolute path": (R, lambda t: t.gz(model(t), t.file("/etc/cron.d/x"))),
    "a path that goes up": (R, lambda t: t.gz(model(t), t.file("../../x"))),
    "a path that goes up behind a folder": (R, lambda t: t.gz(model(t), t.file("a/../../x"))),
    "a symbolic link and a file through it": (R, lambda t: t.gz(link(t, "l", "/tmp"), t.file("l/x"))),
    "a hard link": (R, lambda t: t.gz(model(t), link(t, "h", "model.pt", tarfile.LNKTYPE))),
    "a chain of links past PATH_MAX": (R, lambda t: t.gz(model(t), *path_max_chain(t))),
    "a character device": (R, lambda t: t.gz(model(t), t.header("d", 0, tarfile.CHRTYPE))),
    "a block device": (R, lambda t: t.gz(model(t), t.header("d", 0, tarfile.BLKTYPE))),
    "a named pipe": (R, lambda t: t.gz(model(t), t.header("d", 0, tarfile.FIFOTYPE))),
    "a sparse file": (R, lambda t: t.gz(model(t), t.header("d", 0, tarfile.GNUTYPE_SPARSE))),
    "a file twice": (R, lambda t: t.gz(model(t), model(t))),
    "names that differ in case": (R, lambda t: t.gz(model(t), t.file("MODEL.PT"))),
    "names that differ in composition": (R, lambda t: t.gz(model(t), t.file("\u00e9"), t.file("e\u0301"))),
    "a file as a folder": (R, lambda t: t.gz(model(t), t.file("model.pt/x"))),
    "an escape for terminals": (R, lambda t: t.gz(model(t), t.file("\x1b[2J"))),
    "a turned direction of writing": (R, lambda t: t.gz(model(t), t.file("x\u202egnp.py"))),
    "a path of 400 folders": (R, lambda t: t.gz(model(t), t.long_name(b"a/" * 400 + b"b"), t.file("a"))),
    "21,000 files": (R, lambda t: t.gz(model(t), *(t.file(f"f{n}", b"") for n in range(21_000)))),
    "more files than a record can list": (
        R,
        lambda t: t.gz(model(t), *(t.long_name(b"p" * 240 + b"/%d" % n) + t.file("a", b"") for n in range(6000))),
    ),
    "a negative size": (D, lambda t: t.gz(model(t), t.file("a", raw={"size": b"\xff" * 12}))),
    "an enormous size": (D, lambda t: t.gz(model(t), t.file("a", raw={"size": b"\x80" + b"\xff" * 11}))),
    "a size of no digits": (D, lambda t: t.gz(model(t), t.file("a", raw={"size": b"8" * 12}))),
    "a pax size": (D, lambda t: t.gz(model(t), t.pax(t.record("size", b"1")), t.file("a", b"y" * 600))),
    "a pax path": (R, lambda t: t.gz(model(t), t.pax(t.record("path", b"../x")), t.file("a"))),
    "a global path": (R, lambda t: t.gz(t.pax(t.record("path", b"x"), tarfile.XGLTYPE), model(t))),
    "an extended header of 8 GiB": (R, lambda t: t.gz(model(t), t.header("a", 1 << 33, tarfile.XHDTYPE))),
    "a wrong header checksum": (D, lambda t: gzip.compress(model(t) + b"y" + t.tar(t.file("x"))[1:])),
    "a tar behind the tar": (D, lambda t: gzip.compress(t.tar(model(t)) + t.tar(t.file("b")))),
    "a gzip stream behind, of another tar": (D, lambda t: t.gz(model(t)) + t.gz(t.file("b"))),
    "bytes behind the gzip stream": (D, lambda t: t.gz(model(t)) + b"PK\3\4"),
    "cut in the gzip stream": (D, lambda t: t.gz(model(t))[:-20]),
    "cut in a file": (D, lambda t: gzip.compress(t.tar(model(t))[:9000])),
    "a wrong gzip checksum": (D, lambda t: t.gz(model(t))[:-8] + bytes(8)),
    "a zip instead of a tar": (D, lambda t: zipped(SCRIPT)),
    "a gzip bomb": (R, lambda t: b"".join(bomb(300 * MIB))),
    "no model": (D, lambda t: t.gz(t.file("readme.txt"))),
    "two models": (D, lambda t: t.gz(model(t), t.file("other.pt", zipped(SCRIPT)))),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "make"), ARCHIVES.values(), ids=ARCHIVES.keys())
def test_a_hostile_archive_is_refused_and_leaves_nothing(
    kind: type[SluiceError], make: Callable[[Any], bytes], tars: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    step = Step.of(make(tars))
    with no_file_may_be_written(), pytest.raises((InvalidInput, Refused)) as caught:
        step.package(refuse=None)  # no policy lets it through
    assert type(caught.value) is kind, caught.value
    assert str(caught.value).endswith(".")
    assert str(caught.value).isprintable()
    assert step.registry.fact(step.ref, Scan) is None
    assert step.stored() == set()
    assert list(tmp_path.iterdir()) == []


def test_limits_hold_for_a_ready_archive_in_the_archive_too() -> None:
    ready = zipped({"MAR-INF/MANIFEST.json": MANIFEST, "handler.py": b"", "a": b"", "b": b""})
    step = Step.of(tarred({"m.mar": ready}))
    with pytest.raises(Refused, match=r"The \.mar holds more than 3 files"):
        step.package(limits=Limits(files=3))
    assert step.stored() == set()
    assert len(step.package(limits=Limits(files=4)).files) == 4
