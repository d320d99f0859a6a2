"""Telling models from what only looks like one."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.archive import read_archive
from pipelines.formats import Found, Sniffer
from registry.errors import InvalidInput
from registry.facts import Format

Files = dict[str, bytes]
Zipped = Callable[..., bytes]

SCRIPT = [("m/data.pkl", b"p"), ("m/code/__torch__.py", b"c"), ("m/constants.pkl", b"k"), ("m/version", b"3\n")]
CHECKPOINT = [("archive/data.pkl", b"p"), ("archive/version", b"3\n"), ("archive/data/0", bytes(400))]


def sniff(files: Files, step: int = 1 << 20) -> Found:
    sniffer = Sniffer()
    for path, data in files.items():
        pieces = [data[at : at + step] for at in range(0, len(data), step)]
        assert list(sniffer.watch(path, pieces)) == pieces  # nothing is kept or changed
    return sniffer.verdict()


def test_the_examples_are_what_they_are(examples: Path) -> None:
    def found(archive: Path) -> Found:
        sniffer = Sniffer()
        for member in read_archive([archive.read_bytes()]):
            for _ in sniffer.watch(member.path, member.chunks):
                pass
        return sniffer.verdict()

    for job in examples.glob("digits/jobs/*/model.tar.gz"):
        assert found(job) == (Format.TORCHSCRIPT, "model.pt")
    for job in examples.glob("wine/jobs/*/model.tar.gz"):
        assert found(job) == (Format.SAVED_MODEL, "1")


@pytest.mark.parametrize(
    ("path", "root"),
    [("saved_model.pb", ""), ("1/saved_model.pb", "1"), ("export/Servo/17/saved_model.pb", "export/Servo/17")],
)
def test_a_saved_model_is_found_wherever_it_lies(path: str, root: str) -> None:
    other = path.replace("saved_model.pb", "variables/variables.index")
    assert sniff({other: b"v", path: b"pb", "notes.txt": b""}) == (Format.SAVED_MODEL, root)


@pytest.mark.parametrize("path", ["model.pt", "model.pth", "deep/er/traced.pt"])
@pytest.mark.parametrize("step", [1, 1 << 20])
def test_torchscript_is_found_by_what_is_in_it(path: str, step: int, zipped: Zipped) -> None:
    files = {"code/inference.py": b"", path: zipped(SCRIPT), "._model.pt": b"\0\5\x16\7"}
    assert sniff(files, step) == (Format.TORCHSCRIPT, path)


@pytest.mark.parametrize("zip64", [False, True], ids=["zip", "zip64"])
def test_torchscript_of_many_bytes_is_found_by_its_end(
    zip64: bool, zipped: Zipped, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        if zip64:  # torch writes zip64's directory whatever the size
            patch.setattr(zipfile, "ZIP64_LIMIT", 1000)
        data = zipped([*SCRIPT, ("m/data/0", bytes(9 << 20))])
    assert (b"PK\x06\x06" in data[-200:]) is zip64
    assert sniff({"model.pt": data}) == (Format.TORCHSCRIPT, "model.pt")


@pytest.mark.parametrize(
    "make",
    [
        lambda zipped: zipped(CHECKPOINT),
        lambda zipped: zipped([*CHECKPOINT, ("archive/constants.pkl", b"")]),  # no code
        lambda zipped: zipped([*CHECKPOINT, ("archive/code/x.py", b"")]),  # no constants
        lambda zipped: zipped(SCRIPT)[:-30],
        lambda zipped: b"\x80\x02}q\x00.",  # torch.save before 1.6
        lambda zipped: b"",
        lambda zipped: bytes(5 << 20),
    ],
    ids=["checkpoint", "no code", "no constants", "cut", "pickle", "empty", "zeros"],
)
def test_weights_alone_are_no_model(make: Callable[[Zipped], bytes], zipped: Zipped) -> None:
    with pytest.raises(InvalidInput, match=r"^best\.pt holds weights without the model: .*torch\.jit.*\.$"):
        sniff({"train.log": b"", "best.pt": make(zipped)})


def test_weights_beside_a_model_are_no_harm(zipped: Zipped) -> None:
    files = {"checkpoint.pth": zipped(CHECKPOINT), "model.pt": zipped(SCRIPT)}
    assert sniff(files) == (Format.TORCHSCRIPT, "model.pt")


@pytest.mark.parametrize(
    ("paths", "shown"),
    [
        (["a.pt", "b.pt"], "a.pt, b.pt"),
        (["saved_model.pb", "m.pt"], "saved_model.pb, m.pt"),
        (["1/saved_model.pb", "2/saved_model.pb"], "1, 2"),
    ],
)
def test_two_models_are_one_too_many(paths: list[str], shown: str, zipped: Zipped) -> None:
    with pytest.raises(InvalidInput, match=rf"more than one model \({shown}\): leave one in it\.$"):
        sniff({path: zipped(SCRIPT) for path in paths})


@pytest.mark.parametrize(
    ("paths", "shown"),
    [
        ([], "no file at all"),
        (["model.onnx"], "model.onnx"),
        (["a", "b", "c", "d"], "a, b, c"),
        (["saved_model.pbtxt"], "saved_model.pbtxt"),
        (["._model.pt"], "._model.pt"),
    ],
)
def test_neither_is_told_with_what_there_is(paths: list[str], shown: str) -> None:
    with pytest.raises(InvalidInput, match=rf"neither a TorchScript file nor a SavedModel \(it has {shown}\): .*\.$"):
        sniff(dict.fromkeys(paths, b"x"))


@given(st.data())
@settings(max_examples=150)
def test_a_damaged_zip_is_a_model_or_not_but_no_fault(data: st.DataObject) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in SCRIPT:
            archive.writestr(zipfile.ZipInfo(name), content)
    damaged = bytearray(out.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] ^= data.draw(st.integers(1, 255))
    with suppress(InvalidInput):  # it is taken for weights
        assert sniff({"model.pt": bytes(damaged)}) == (Format.TORCHSCRIPT, "model.pt")
