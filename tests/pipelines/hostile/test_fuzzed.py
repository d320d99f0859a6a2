"""Archives and models that hypothesis makes up: each is packaged, or refused and leaves nothing behind."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import SluiceError
from registry.facts import SEVERITIES, Artifact, Scan, Severity, Signature
from tests.pipelines.hostile.outputs import (
    SCRIPT,
    SYSTEM,
    Step,
    tarred,
    zipped,
)

NAMES = st.sampled_from(
    ["model.pt", "a/b", "../x", "/x", "code/inference.py", "1/saved_model.pb", "config.pbtxt", "\u00e9", "."]
)
KINDS = st.sampled_from(
    [tarfile.REGTYPE] * 4 + [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, b"x", b"L", b"g"]
)
CONTENT = st.sampled_from([b"", zipped(SCRIPT), SYSTEM, b"27 path=../../../etc/passw\n", bytes(513)]) | st.binary()
ENTRIES = st.lists(st.tuples(NAMES, KINDS, CONTENT, st.none() | st.integers(0, 600)), max_size=6)


def entries(drawn: Iterable[tuple[str, bytes, bytes, int | None]]) -> bytes:
    """A tar of what was drawn; a size that is given is a lie."""
    out = b""
    for name, kind, data, size in drawn:
        info = tarfile.TarInfo(name)
        info.type, info.size = kind, len(data) if size is None else size
        info.linkname = "../x" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
        out += info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)
    return out + bytes(1024)


def packaged_or_refused(data: bytes) -> tuple[Step, Artifact | None]:
    """Packages a training output, unless a sentence says why not; then nothing is left."""
    step = Step.of(data)
    try:
        return step, step.package()
    except SluiceError as error:
        told = str(error)
    assert told.endswith(".")
    assert step.stored() == set()
    return step, None


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@given(ENTRIES)
@settings(max_examples=200)
def test_any_archive_is_packaged_or_refused(drawn: list[tuple[str, bytes, bytes, int | None]]) -> None:
    step, artifact = packaged_or_refused(gzip.compress(entries(drawn), 1))
    if artifact is not None:
        found = step.registry.fact(step.ref, Scan)
        assert found is not None
        assert found.worst is None or SEVERITIES.index(found.worst) < SEVERITIES.index(Severity.DANGER)
        assert all(".." not in fact.path.split("/") and fact.path[0] != "/" for fact in artifact.files)


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@given(data=st.data())
@settings(max_examples=100)
def test_any_damaged_model_is_packaged_or_refused(data: st.DataObject) -> None:
    damaged = bytearray(zipped(SCRIPT))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=40))
    step, artifact = packaged_or_refused(tarred({"model.pt": bytes(damaged)}))
    if artifact is not None:
        signature = step.registry.fact(step.ref, Signature)
        assert signature is None or signature.told_by
