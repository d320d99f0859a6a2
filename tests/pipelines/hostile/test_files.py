"""What is hostile inside of a file, through scan and package: it is told of, and policy decides."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.archive import Limits
from pipelines.steps.scan import look
from registry.errors import Refused
from registry.facts import Artifact, Severity
from registry.limits import RECORD_MAX
from registry.progress import Silent
from tests.pipelines.hostile.outputs import (
    SCRIPT,
    SYSTEM,
    Step,
    calls,
    deflated_zeros,
    no_file_may_be_written,
    tarred,
    zipped,
)

ALICE = b"\x80\x02}X\x01\x00\x00\x00aK\x01s."


def with_(name: str, data: bytes) -> bytes:
    return zipped({**SCRIPT, name: data})


def unlisted() -> bytes:
    """A zip with a file that its directory does not name."""
    whole = zipped({**SCRIPT, "model/z": calls("os", "system")})
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        start, entry = archive.start_dir, b"PK\1\2" + whole.rpartition(b"PK\1\2")[2].partition(b"PK\5\6")[0]
    size = whole.rindex(b"PK\5\6") - start - len(entry)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, len(SCRIPT), len(SCRIPT), size, start, 0)
    return whole[: start + size] + end


def faked_descriptor() -> bytes:
    """A tensor in which a descriptor stands, as if it ended there."""
    inside = b"t" * 64
    fake = inside + struct.pack("<4sIII", b"PK\7\x08", zlib.crc32(inside), 64, 64) + bytes(100)
    out = bytearray(struct.pack("<4s5H3I2H", b"PK\3\4", 0, 8, 0, 0, 0, 0, 0, 0, 3, 0) + b"m/0" + fake)
    return bytes(out + struct.pack("<4sIII", b"PK\7\x08", zlib.crc32(fake), len(fake), len(fake)))


def overlapping() -> bytes:
    """A zip with a file that lies inside of another one."""
    inner, evil = b"model/x", calls("os", "system")
    sizes = (zlib.crc32(evil), len(evil), len(evil))
    hidden = struct.pack("<4s5H3I2H", b"PK\3\4", 0, 0, 0, 0, 0, *sizes, len(inner), 0) + inner + evil
    whole = with_("model/data/9", hidden)
    at, size = whole.index(hidden), int.from_bytes(whole[-10:-6], "little")
    start = int.from_bytes(whole[-6:-2], "little")
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 0, 0, 0, 0, 0, 0, *sizes, len(inner), 0, 0, 0, 0, 0, at) + inner
    count = len(SCRIPT) + 2
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, size + len(entry), start, 0)
    return whole[:-22] + entry + end


LAMBDA = json.dumps({"class_name": "Lambda", "config": {}}).encode()
OBJECTS = b"\x93NUMPY\x01\0\x14\0" + b"{'descr': '|O'}".ljust(20)
CALLED = [
    *(("os", "system"), ("subprocess", "Popen"), ("builtins", "eval"), ("builtins", "getattr"), ("pip", "main")),
    *(("ctypes", "CDLL"), ("timeit", "timeit"), ("cProfile", "run"), ("torch.storage", "_load_from_bytes")),
    *(("torch", "load"), ("joblib", "load"), ("nobody.knows", "this")),
]
FILES: dict[str, tuple[str, str, str, Callable[[], bytes]]] = {
    # rule and severity, and what stands beside a sound model, or in place of it
    **{
        f"a pickle that calls {module}.{name}": (
            *("pickle-global", "danger", "model.pt"),
            lambda module=module, name=name: with_("model/extra.pkl", calls(module, name)),
        )
        for module, name in CALLED
    },
    "by STACK_GLOBAL": ("pickle-global", "danger", "model.pt", lambda: with_("model/x", calls("os", "system", 4))),
    "in data.pkl itself": ("pickle-global", "danger", "model.pt", lambda: with_("model/data.pkl", SYSTEM)),
    "in constants.pkl": ("pickle-global", "danger", "model.pt", lambda: with_("model/constants.pkl", SYSTEM)),
    "in a tensor's place": ("pickle-global", "danger", "model.pt", lambda: with_("model/data/9", SYSTEM)),
    "in the second pickle": ("pickle-global", "danger", "extra.pkl", lambda: ALICE + SYSTEM),
    "in a renamed file": ("pickle-global", "danger", "labels.txt", lambda: SYSTEM),
    "in a joblib file": ("pickle-global", "danger", "a.joblib", lambda: calls("joblib.numpy_pickle", "NDArrayWrapper")),
    "in a compressed joblib file": ("pickle-unreadable", "danger", "a.joblib", lambda: zlib.compress(ALICE)),
    "in an array of objects": ("pickle-global", "danger", "a.npy", lambda: OBJECTS + SYSTEM),
    "in a legacy checkpoint beside": ("pickle-global", "danger", "best.pth", lambda: SYSTEM),
    "in a zip in a zip": ("pickle-global", "danger", "x.zip", lambda: zipped({"m.pt": with_("model/a", SYSTEM)})),
    "a pickle that cannot be read": ("pickle-unreadable", "danger", "a.pkl", lambda: b"\x80\x04\x95" + b"\xff" * 8),
    "a string of 2**62 bytes": (
        "pickle-unreadable",
        "danger",
        "a.pkl",
        lambda: b"\x80\x04\x8d" + b"\xff" * 7 + b"\x3f.",
    ),
    "billions of laughs": ("pickle", "note", "a.pkl", lambda: b"\x80\x02)" + b"2\x86" * 60 + b"."),
    "a pickle that holds itself": ("pickle", "note", "a.pkl", lambda: b"\x80\x02]q\x00h\x00a."),
    "too many opcodes": ("pickle-unchecked", "danger", "a.pkl", lambda: b"\x80\x02" + b"N0" * 300_000 + b"N."),
    "a memo of 2**31": ("pickle-unreadable", "danger", "a.pkl", lambda: b"\x80\x02Nr\xff\xff\xff\x7f."),
    "a zip behind a picture": ("zip-ambiguous", "danger", "a.png", lambda: b"\x89PNG" + zipped({"a": b""})),
    "a zip behind a zip": ("zip-ambiguous", "danger", "b.pt", lambda: zipped(SCRIPT) + zipped({"a": b""})),
    "a zip in a comment": ("zip-ambiguous", "danger", "b.pt", lambda: zipped(SCRIPT)[:-2] + b"\x16\0" + zipped({})),
    "a file that the directory hides": ("zip-ambiguous", "danger", "b.pt", unlisted),
    "a file inside another": ("zip-ambiguous", "danger", "b.pt", overlapping),
    "a tensor that pretends to end": ("zip-ambiguous", "danger", "b.pt", faked_descriptor),
    "a zip cut short": ("zip-ambiguous", "danger", "b.pt", lambda: zipped(SCRIPT)[:-30]),
    "a bomb in a checkpoint": ("zip-bomb", "danger", "b.pt", deflated_zeros),
    "a path out of a zip": ("zip-path", "danger", "b.zip", lambda: zipped({"../../x": b""})),
    "a Lambda layer": ("keras-lambda", "danger", "m.keras", lambda: zipped({"config.json": LAMBDA})),
    "a Lambda layer in HDF5": ("keras-lambda", "danger", "m.h5", lambda: b"\x89HDF\r\n\x1a\n" + LAMBDA),
    "a library": ("native-code", "warning", "ops.so", lambda: b"\x7fELF"),
    "a broken header": ("safetensors", "warning", "a.safetensors", lambda: b"\xff" * 20),
    "an archive nobody looks into": ("nested-archive", "warning", "data.7z", lambda: b"7z\xbc\xaf\x27\x1c"),
    "code": ("code", "note", "code/inference.py", lambda: b"import os\n"),
}


@pytest.mark.parametrize(("rule", "severity", "path", "make"), FILES.values(), ids=FILES.keys())
def test_what_is_hostile_inside_a_file_is_found_and_policy_decides(
    rule: str,
    severity: str,
    path: str,
    make: Callable[[], bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipelines.scanning.findings.Budget.__init__.__defaults__", (1 << 30, 500_000))
    step = Step.of(tarred({"model.pt": zipped(SCRIPT), path: make()}))
    with no_file_may_be_written():
        found = step.scan()
    assert (rule, severity) in {(finding.rule, finding.severity.value) for finding in found.findings}
    assert found.worst is Severity(severity)
    assert found.scanner.startswith("sluice-allowlist 2, picklescan 1.")
    assert list(tmp_path.iterdir()) == []
    if severity != "note":
        with pytest.raises(Refused, match="safetensors" if rule.startswith("pickle") else "leave it out|safetensors"):
            step.package(refuse=Severity(severity))
        assert step.stored() == set()
        assert step.registry.fact(step.ref, Artifact) is None


def test_what_an_older_release_found_harmless_is_looked_at_again() -> None:
    step = Step.of(tarred({"model.pt": zipped(SCRIPT), "labels.pkl": calls("os", "system")}))
    seen = look(step.registry.version(step.ref), step.outputs, Limits(), Silent())
    step.registry.record(step.ref, seen.model_copy(update={"findings": (), "scanner": "sluice-allowlist 1"}))
    with pytest.raises(Refused, match="the pickle imports"):
        step.package()
    assert step.stored() == set()
    assert step.package(refuse=None).source == seen.source


def test_a_finding_that_policy_lets_through_is_packaged() -> None:
    step = Step.of(tarred({"model.pt": zipped(SCRIPT), "ops.so": b"\x7fELF"}))
    artifact = step.package()
    assert step.stored() == {f"blobs/sha256/{artifact.blob.removeprefix('sha256:')}"}


def test_a_scan_that_was_made_is_not_made_again() -> None:
    step = Step.of(tarred({"model.pt": zipped(SCRIPT), "a.pkl": calls("os", "system")}))
    first = step.scan()
    step.outputs.bytes.delete([found.key for found in step.outputs.bytes.objects("outputs/")])
    assert step.scan() == first


def test_a_record_holds_what_many_findings_leave() -> None:
    step = Step.of(tarred({"model.pt": zipped(SCRIPT), **{f"{number:04}.py": b"" for number in range(2000)}}))
    found = step.scan()
    assert len(found.findings) == 201
    assert len(found.to_bytes()) < RECORD_MAX
