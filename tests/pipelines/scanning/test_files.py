"""What is found in files that are neither zips of torch's nor pickles."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.scanning import Scanner
from pipelines.scanning.findings import FINDINGS_MAX, Findings
from registry.facts import Severity

Look = Callable[..., Scanner]
Zipped = Callable[..., bytes]
HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(600)
EVIL = b"\x80\x02cos\nsystem\nX\x01\0\0\0x\x85R."


def rules(scanner: Scanner) -> set[tuple[str, str]]:
    return {(finding.rule, finding.severity.value) for finding in scanner.findings()}


def safetensors(header: Any, data: bytes) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def tensor(start: int, end: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [(end - start) // 4], "data_offsets": [start, end]}


SOUND = {"__metadata__": {"format": "pt"}, "b": tensor(8, 12), "a": tensor(0, 8)}


@pytest.mark.parametrize("step", [1, 1 << 20])
def test_sound_safetensors_are_nothing_to_report(step: int, look: Look) -> None:
    assert look({"m.safetensors": safetensors(SOUND, bytes(12))}, step).findings() == ()


BROKEN = {
    "nothing": b"",
    "cut in the length": b"\x05\0\0",
    "a header longer than the file": struct.pack("<Q", 1 << 62) + b"{}",
    "no JSON": safetensors(b"{", b""),
    "a list": safetensors([1], b""),
    "a tensor without its place": safetensors({"a": {"dtype": "F32"}}, b""),
    "tensors that overlap": safetensors({"a": tensor(0, 8), "b": tensor(4, 12)}, bytes(12)),
    "a gap": safetensors({"a": tensor(0, 4), "b": tensor(8, 12)}, bytes(12)),
    "a tensor that ends before it begins": safetensors({"a": tensor(8, 0)}, bytes(8)),
    "too few bytes": safetensors(SOUND, bytes(11)),
    "bytes behind": safetensors(SOUND, bytes(13)),
    "a key twice": safetensors(b'{"a": {"data_offsets": [0, 0]}, "a": {"data_offsets": [0, 0]}}', b""),
    "a deep nest": safetensors(b"[" * 100_000, b""),
    "an endless number": safetensors(b'{"a": {"data_offsets": [0, 1e999]}}', b""),
    "a number of 5000 digits": safetensors(b'{"a": {"data_offsets": [0, ' + b"9" * 5000 + b"]}}", b""),
    "a pickle": EVIL,
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_broken_safetensors_are_a_warning(data: bytes, look: Look) -> None:
    assert ("safetensors", "warning") in rules(look({"m.safetensors": data}))


def test_too_long_a_header_is_not_read(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.scanning.tensors._HEADER_MAX", 20)
    assert rules(look({"m.safetensors": safetensors(SOUND, bytes(12))})) == {("safetensors", "warning")}


def npy(descr: str, data: bytes, version: int = 1) -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': (1,), }}\n".encode()
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(header)) + header + data


@pytest.mark.parametrize("version", [1, 2, 3])
def test_an_array_of_objects_is_a_pickle(version: int, look: Look) -> None:
    assert look({"a.npy": npy("'<f4'", EVIL, version)}).findings() == ()
    found = look({"a.npy": npy("'|O'", EVIL, version)}, 9)
    assert {("numpy", "warning"), ("pickle-global", "danger")} <= rules(found)
    assert ("numpy", "warning") in rules(look({"a.npy": npy("[('x', '<f4'), ('y', 'O')]", b"\x80\x02).", version)}))


def test_an_array_whose_header_is_cut_is_a_warning(look: Look) -> None:
    assert rules(look({"a.npy": npy("'<f4'", b"")[:20], "b.npy": b"\x93NUMPY\x09\0"})) == {("numpy", "warning")}


def keras(config: Any, zipped: Zipped) -> bytes:
    raw = config if isinstance(config, bytes) else json.dumps(config).encode()
    return zipped([("metadata.json", b"{}"), ("config.json", raw), ("model.weights.h5", HDF5)])


DENSE = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 1}, "registered_name": None}
LAMBDA = {**DENSE, "class_name": "Lambda", "config": {"function": {"class_name": "__lambda__", "config": {}}}}


@pytest.mark.parametrize(
    ("layer", "found"),
    [
        (DENSE, set()),
        (LAMBDA, {("keras-lambda", "danger")}),
        ({**DENSE, "module": "mine.layers"}, {("keras-custom", "warning")}),
        ({**DENSE, "module": None, "registered_name": "mine>Dense"}, {("keras-custom", "warning")}),
    ],
)
def test_layers_of_a_keras_file_are_looked_at(layer: Any, found: set[Any], look: Look, zipped: Zipped) -> None:
    model = {"module": "keras", "class_name": "Sequential", "config": {"layers": [DENSE, layer]}}
    assert rules(look({"m.keras": keras(model, zipped)})) == found
    hidden = json.dumps(model).replace("Lambda", "\\u004cambda").encode()
    assert rules(look({"m.keras": keras(hidden, zipped)})) == found


@pytest.mark.parametrize("config", [b"{", b"[" * 100_000, b"\xff"])
def test_a_configuration_that_cannot_be_read_is_dangerous(config: bytes, look: Look, zipped: Zipped) -> None:
    assert rules(look({"m.keras": keras(config, zipped)})) == {("keras-unreadable", "danger")}


@pytest.mark.parametrize("step", [1, 100, 1 << 20])
@pytest.mark.parametrize("before", [0, 1, 61, 5000])
def test_a_lambda_in_hdf5_or_in_a_saved_model_is_found(step: int, before: int, look: Look) -> None:
    for path, start in (("m.h5", HDF5), ("renamed", HDF5), ("1/keras_metadata.pb", b"\x0a\x05")):
        data = start + bytes(before)
        lambda_ = look({path: data + json.dumps(LAMBDA).encode() + bytes(before)}, step)
        assert rules(lambda_) == {("keras-lambda", "danger")}
        assert look({path: data + json.dumps(DENSE).encode() + b'"\\u00e9"'}, step).findings() == ()
        escaped = look({path: data + b'"class_name": "\\u004cambda"'}, step)
        assert rules(escaped) == {("keras-lambda", "danger")}


@pytest.mark.parametrize("length", [b"\x08", b"\x88\0", b"\x88\x80\x80\0"], ids=["plain", "padded", "padded more"])
@pytest.mark.parametrize("step", [1, 13, 1 << 20])
def test_operations_on_files_are_found_however_their_length_is_written(length: bytes, step: int, look: Look) -> None:
    found = look({"1/saved_model.pb": bytes(200) + b"\x12" + length + b"ReadFile" + bytes(200)}, step).findings()
    assert [(item.rule, item.severity, "ReadFile" in item.detail) for item in found] == [
        ("saved-model-op", Severity.WARNING, True)
    ]


@pytest.mark.parametrize(
    "data", [b"\x09ReadFileX", b"\x12\x0bMyReadFile2", b"\0ReadFile", b"ReadFile", b"\x80\0ReadFile"]
)
def test_a_part_of_another_word_is_no_operation(data: bytes, look: Look) -> None:
    assert look({"saved_model.pb": data}).findings() == ()


def test_code_is_reported_with_its_digest(look: Look, zipped: Zipped) -> None:
    code = b"def handle(): ...\n"
    mar = zipped([("MAR-INF/MANIFEST.json", b"{}"), ("code/handler.py", code)])
    found = look({"m/1/model.py": code, "m.mar": mar}).findings()
    assert [item.path for item in found] == ["m/1/model.py", "m.mar!code/handler.py"]
    assert {(item.rule, item.severity) for item in found} == {("code", Severity.NOTE)}
    assert all(hashlib.sha256(code).hexdigest() in item.detail for item in found)


REMARKS = {
    "a library": ("lib/a.so", b"", ("native-code", "warning")),
    "a renamed library": ("weights", b"\x7fELF" + bytes(100), ("native-code", "warning")),
    "a Windows program": ("x.dat", b"MZ" + bytes(100) + b"PE\0\0" + bytes(50), ("native-code", "warning")),
    "bytecode": ("a.pyc", b"x", ("native-code", "warning")),
    "a shell script": ("run.sh", b"", ("script", "note")),
    "a script by its first line": ("run", b"#!/bin/sh\n", ("script", "note")),
    "gzip": ("data.gz", b"\x1f\x8b\x08\0", ("nested-archive", "warning")),
    "bzip2": ("x", b"BZh91AY&SY", ("nested-archive", "warning")),
    "xz": ("x", b"\xfd7zXZ\0", ("nested-archive", "warning")),
    "7z": ("x", b"7z\xbc\xaf\x27\x1c", ("nested-archive", "warning")),
    "zstd": ("x", b"\x28\xb5\x2f\xfd", ("nested-archive", "warning")),
    "rar": ("x", b"Rar!\x1a\x07\0", ("nested-archive", "warning")),
    "tar": ("x", bytes(257) + b"ustar" + bytes(300), ("nested-archive", "warning")),
    "joblib, compressed": ("x.joblib", b"\x78\x9c\0", ("pickle-unreadable", "danger")),
}


@pytest.mark.parametrize(("path", "data", "found"), REMARKS.values(), ids=REMARKS.keys())
def test_what_nothing_looks_into_is_remarked_on(path: str, data: bytes, found: tuple[str, str], look: Look) -> None:
    assert rules(look({path: data})) == {found}


def test_a_zip_that_has_nothing_to_do_with_models_is_not_clean(look: Look, zipped: Zipped) -> None:
    assert rules(look({"a.zip": zipped([("a.txt", b"")])})) == {("nested-archive", "warning")}


def test_plain_files_are_nothing_to_report(look: Look) -> None:
    files = {"a.txt": b"hello", "empty": b"", "MZ": b"MZ", "w": bytes(range(256)) * 50, "c.json": b"{}"}
    assert look(files, 7).findings() == ()


def test_the_worst_findings_are_kept() -> None:
    findings = Findings()
    for number in range(1000):
        findings.add(f"n{number}", "code", Severity.NOTE, "")
    for number in range(150):
        findings.add(f"d{number}", "pickle-global", Severity.DANGER, "")
    for number in range(100):
        findings.add(f"w{number}", "numpy", Severity.WARNING, "")
    kept = findings.all()
    assert len(kept) == FINDINGS_MAX + 1
    assert [item.severity for item in kept[:-1]] == [Severity.DANGER] * 150 + [Severity.WARNING] * 50
    assert (kept[-1].severity, kept[-1].detail) == (
        Severity.WARNING,
        "and 1050 more findings, the worst of them of severity warning",
    )


@given(st.text(), st.text(max_size=500))
@settings(max_examples=200)
def test_any_text_makes_a_finding_of_one_line(path: str, detail: str) -> None:
    findings = Findings()
    findings.add(path * 20, "code", Severity.NOTE, detail)
    (finding,) = findings.all()
    assert finding.path.isprintable()
    assert finding.detail.isprintable()
    assert len(finding.to_bytes()) < 50_000


HEADS = [
    b"\x89HDF\r\n\x1a\n",
    b"\x93NUMPY\x01\0",
    b"PK\3\4",
    b"PK\5\6",
    b"\x80\x02",
    b"\x05\0\0\0\0\0\0\0{",
    b"cos\nx\n",
    b"",
]
NAMES = ["a.npy", "a.h5", "a.keras", "a.safetensors", "saved_model.pb", "a.pt", "a.py", "a.bin", "keras_metadata.pb"]


@given(st.sampled_from(NAMES), st.sampled_from(HEADS), st.binary(max_size=700), st.integers(1, 800))
@settings(max_examples=400)
def test_any_file_is_looked_at(path: str, head: bytes, rest: bytes, step: int) -> None:
    data, scanner = head + rest, Scanner()
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    assert list(scanner.watch(path, pieces)) == pieces
    whole = Scanner()
    list(whole.watch(path, [data]))
    assert scanner.findings() == whole.findings()  # however the bytes come
