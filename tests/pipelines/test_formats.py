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
from pipelines.scanning import Scanner
from pipelines.scanning.formats import Found
from registry.errors import InvalidInput
from registry.facts import Format

Files = dict[str, bytes]
Zipped = Callable[..., bytes]

SCRIPT = [("m/data.pkl", b"p"), ("m/code/__torch__.py", b"c"), ("m/constants.pkl", b"k"), ("m/version", b"3\n")]
CHECKPOINT = [("archive/data.pkl", b"p"), ("archive/version", b"3\n"), ("archive/data/0", bytes(400))]


def sniff(files: Files, step: int = 1 << 20) -> Found:
    scanner = Scanner()
    for path, data in files.items():
        pieces = [data[at : at + step] for at in range(0, len(data), step)]
        assert list(scanner.watch(path, pieces)) == pieces  # nothing is kept or changed
    return scanner.verdict()


def test_the_examples_are_what_they_are(examples: Path) -> None:
    def found(archive: Path) -> Found:
        scanner = Scanner()
        for member in read_archive([archive.read_bytes()]):
            for _ in scanner.watch(member.path, member.chunks):
                pass
        return scanner.verdict()

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
        (["saved_model.pb", "m.pt"], "m.pt, saved-model at the top"),
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
        (["model.mar"], "model.mar"),
        (["a", "b", "c", "d"], "a, b, c"),
        (["saved_model.pbtxt"], "saved_model.pbtxt"),
        (["._model.pt"], "._model.pt"),
    ],
)
def test_neither_is_told_with_what_there_is(paths: list[str], shown: str) -> None:
    with pytest.raises(InvalidInput, match=rf"neither a TorchScript file nor a SavedModel \(it has {shown}\): .*\.$"):
        sniff(dict.fromkeys(paths, b"x"))


TRITON = {
    "one model at the top": ({"config.pbtxt", "1/model.onnx"}, ""),
    "one model in a folder": ({"m/config.pbtxt", "m/1/model.onnx", "readme"}, "m"),
    "one model, several versions": ({"m/config.pbtxt", "m/1/model.pt", "m/2/model.pt"}, "m"),
    "a folder of models": ({"r/a/config.pbtxt", "r/a/1/model.onnx", "r/b/config.pbtxt", "r/b/1/model.py"}, "r"),
    "models at the top": ({"a/config.pbtxt", "a/1/model.onnx", "b/config.pbtxt", "b/1/model.onnx"}, ""),
    "an ensemble, whose version is empty": ({"a/config.pbtxt", "a/1/model.onnx", "e/config.pbtxt"}, ""),
    "a SavedModel in it": ({"m/config.pbtxt", "m/1/model.savedmodel/saved_model.pb"}, "m"),
    "a configuration further down": ({"m/config.pbtxt", "m/1/x/config.pbtxt", "m/1/x/1/model.onnx"}, "m"),
    "eager weights beside": ({"m/config.pbtxt", "m/1/model.onnx", "optimizer.pt"}, "m"),
    "macOS's notes": ({"m/config.pbtxt", "m/1/model.onnx", "__MACOSX/m/1/model.onnx", "._saved_model.pb"}, "m"),
}


@pytest.mark.parametrize(("paths", "root"), TRITON.values(), ids=TRITON.keys())
def test_a_triton_repository_is_found(paths: set[str], root: str) -> None:
    assert sniff(dict.fromkeys(sorted(paths), b"x")) == (Format.TRITON, root)


@pytest.mark.parametrize(
    "paths",
    [
        {"m/config.pbtxt", "m/1/model.onnx", "other.onnx"},
        {"a/config.pbtxt", "a/1/model.onnx", "x/b/config.pbtxt", "x/b/1/model.onnx"},
        {"a.onnx", "b.onnx"},
        {"a.onnx", "saved_model.pb"},
    ],
)
def test_what_could_be_two_models_is_asked_about(paths: set[str]) -> None:
    with pytest.raises(InvalidInput, match="more than one model"):
        sniff(dict.fromkeys(sorted(paths), b"x"))


def test_a_configuration_without_a_version_is_no_repository() -> None:
    assert sniff({"config.pbtxt": b"", "model.onnx": b"", "v1/x": b"", "\u0661/x": b""}) == (Format.ONNX, "model.onnx")


@pytest.mark.parametrize("path", ["model.onnx", "export/net.onnx"])
def test_onnx_is_found_by_its_name(path: str) -> None:
    assert sniff({path: b"x", "weights.bin": b"w"}) == (Format.ONNX, path)


def test_a_mar_is_found_by_its_manifest(zipped: Zipped) -> None:
    mar = zipped([("MAR-INF/MANIFEST.json", b"{}"), ("model.pt", zipped(SCRIPT)), ("handler.py", b"")])
    assert sniff({"fraud.mar": mar, "train.log": b""}, 7) == (Format.MAR, "fraud.mar")
    with pytest.raises(InvalidInput, match="neither"):
        sniff({"fraud.mar": zipped([("model.pt", b"")])})
    with pytest.raises(InvalidInput, match=r"more than one model \(fraud.mar, m.pt\)"):
        sniff({"fraud.mar": mar, "m.pt": zipped(SCRIPT)})


MAKERS = ["code/inference.py", "code/handler.py", "inference.py", "handler.py", "code/model.py", "model.py"]


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("weights", ["model.pth", "w/pytorch_model.bin", "model.safetensors"])
def test_weights_with_the_code_that_makes_a_model_of_them_are_one(maker: str, weights: str) -> None:
    assert sniff({weights: b"w", maker: b"", "config.json": b"{}"}) == (Format.EAGER, weights)
    with pytest.raises(InvalidInput, match=rf"^{weights} holds weights without the model: .*safetensors"):
        sniff({weights: b"w", "train.py": b""})


def test_the_largest_group_of_weights_is_the_model() -> None:
    shards = {f"model-0000{n}-of-00003.safetensors": bytes(40) for n in (2, 3, 1)}
    files = {"a.pt": bytes(100), "optimizer.pt": bytes(20), **shards, "model.py": b""}
    assert sniff(files) == (Format.EAGER, "model-00001-of-00003.safetensors")


def test_torchscript_beside_weights_and_code_is_torchscript(zipped: Zipped) -> None:
    files = {"weights.pth": zipped(CHECKPOINT), "code/inference.py": b"", "model.ts": zipped(SCRIPT)}
    assert sniff(files) == (Format.TORCHSCRIPT, "model.ts")


def test_a_zip_in_a_zip_does_not_speak_for_another_file(zipped: Zipped) -> None:
    outer = zipped([("m.pt", zipped(SCRIPT))])
    with pytest.raises(InvalidInput, match="weights without the model"):
        sniff({"a": outer, "a!m.pt": b"x"})


PATHS = st.lists(
    st.lists(
        st.sampled_from(["a", "b", "1", "2", "config.pbtxt", "m.onnx", "model.py", "w.pt", "saved_model.pb"]),
        min_size=1,
        max_size=4,
    ),
    max_size=8,
)


@given(PATHS)
@settings(max_examples=200)
def test_any_files_are_one_model_or_told_why_not(paths: list[list[str]]) -> None:
    names = {"/".join(parts) for parts in paths}
    with suppress(InvalidInput):
        found = sniff(dict.fromkeys(sorted(names), b"x"))
        assert found.root == "" or any(name == found.root or name.startswith(f"{found.root}/") for name in names)


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
