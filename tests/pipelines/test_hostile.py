"""Hostile training outputs through the whole package step: each is refused, or told of, and leaves nothing behind."""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.archive import Limits
from pipelines.steps.package import PackageInput, package
from pipelines.steps.scan import scan
from registry.errors import InvalidInput, Refused, SluiceError
from registry.facts import SEVERITIES, Artifact, Scan, Severity, Signature, Source, SourceKind
from registry.limits import RECORD_MAX
from registry.memory import MemoryBlobs, MemoryBytes, MemoryOutputs, MemoryStore, etag_of
from registry.names import VersionRef
from registry.progress import Silent
from registry.registry import Registry
from registry.storage import Storage

MIB = 1 << 20
EXAMPLES = Path(__file__).parents[2] / "examples"
URI = "s3://training/model.tar.gz"
D, R = InvalidInput, Refused
ALICE = b"\x80\x02}X\x01\x00\x00\x00aK\x01s."


class Step(NamedTuple):
    """A version of a training output, and the stores the steps write to."""

    ref: VersionRef
    registry: Registry
    outputs: MemoryOutputs
    blobs: MemoryBlobs

    @classmethod
    def of(cls, data: bytes) -> Step:
        place = MemoryBytes()
        blobs, outputs = MemoryBlobs(place), MemoryOutputs(place, {URI: data})
        registry = Registry(Storage(MemoryStore(), outputs, blobs, place))
        source = Source(kind=SourceKind.S3, uri=URI, etag=etag_of(data), size=len(data))
        return cls(registry.register("m", source, actor="tests").version.ref, registry, outputs, blobs)

    def scan(self, limits: Limits | None = None) -> Scan:
        return scan(self.ref, self.outputs, self.registry, limits or Limits(), Silent())

    def package(self, refuse: Severity | None = Severity.DANGER) -> Artifact:
        wanted = PackageInput(ref=self.ref, refuse=refuse)
        return package(wanted, self.outputs, self.registry, self.blobs, Silent())

    def stored(self) -> set[str]:
        """The keys of what is there beside the training output itself."""
        return {found.key for found in self.blobs.bytes.objects("blobs/")}


@contextmanager
def no_file_may_be_written() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def example() -> dict[str, bytes]:
    """A TorchScript file, entry by entry."""
    with tarfile.open(EXAMPLES / "digits/jobs/digits-2026-11-08/model.tar.gz") as tar:
        file = tar.extractfile(tar.next())  # type: ignore[arg-type]
        assert file is not None
        with zipfile.ZipFile(io.BytesIO(file.read())) as archive:
            return {name: archive.read(name) for name in archive.namelist()}


SCRIPT = example()


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


def tarred(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(out.getvalue(), 1, mtime=0)


def calls(module: str, name: str, protocol: int = 2) -> bytes:
    argument = b"X\x01\0\0\0x\x85R."
    if protocol < 4:
        return f"\x80\x02c{module}\n{name}\n".encode("latin-1") + argument
    parts = b"".join(b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name))
    return b"\x80\x04" + parts + b"\x93" + argument


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
    "a gzip bomb": (R, lambda t: b"".join(_bomb(300))),
    "no model": (D, lambda t: t.gz(t.file("readme.txt"))),
    "two models": (D, lambda t: t.gz(model(t), t.file("other.pt", zipped(SCRIPT)))),
}  # fmt: skip


def _bomb(mebibytes: int) -> Iterator[bytes]:
    packer, info = zlib.compressobj(9, wbits=31), tarfile.TarInfo("zeros")
    info.size = mebibytes * MIB
    yield packer.compress(info.tobuf())
    for _ in range(mebibytes):
        yield packer.compress(bytes(MIB))
    yield packer.compress(bytes(1024)) + packer.flush()


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


def deflated_zeros() -> bytes:
    return zipped({**SCRIPT, "model/zeros": bytes(100 * MIB)}, zipfile.ZIP_DEFLATED)


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
SYSTEM = calls("os", "system")
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
    assert found.scanner.startswith("sluice-allowlist 1, picklescan 1.")
    assert list(tmp_path.iterdir()) == []
    if severity != "note":
        with pytest.raises(Refused, match="safetensors" if rule.startswith("pickle") else "leave it out|safetensors"):
            step.package(refuse=Severity(severity))
        assert step.stored() == set()
        assert step.registry.fact(step.ref, Artifact) is None


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


PEAK = """
import resource, sys
sys.path[:0] = sys.argv[1:3]
from test_hostile import Step
from registry.errors import SluiceError
step = Step.of(open(sys.argv[3], "rb").read())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print(step.scan().worst.value, end=" ")
except SluiceError as error:
    print(type(error).__name__, end=" ")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""

BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "gzip": ("Refused", lambda: b"".join(_bomb(500))),
    "deflate in a checkpoint": ("danger", lambda: tarred({"model.pt": zipped(SCRIPT), "b.pt": deflated_zeros()})),
    "a pickle of marks": ("danger", lambda: tarred({"model.pt": zipped(SCRIPT), "a.pkl": b"(" * (40 * MIB)})),
    "a pickle of strings": (
        "danger",
        lambda: tarred({"model.pt": zipped(SCRIPT), "a.pkl": b"\x80\x04" + b"\x8c\x01a\x94" * (8 * MIB)}),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("outcome", "make"), BOMBS.values(), ids=BOMBS.keys())
def test_no_bomb_takes_much_memory(outcome: str, make: Callable[[], bytes], tmp_path: Path) -> None:
    path, here = tmp_path / "bomb.tar.gz", Path(__file__)
    path.write_bytes(make())
    command = [sys.executable, "-c", PEAK, str(here.parents[2]), str(here.parent), str(path)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": "0"}
    )
    told, kilobytes = done.stdout.split()
    assert told == outcome
    assert int(kilobytes) < 200 * 1024


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
