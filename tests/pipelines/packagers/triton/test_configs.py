"""`config.pbtxt` files, checked as Triton would."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import InvalidInput, Refused
from registry.facts import Format
from tests.pipelines.packagers.triton.repositories import (
    ENSEMBLE,
    PYTHON,
    STEPS,
    check_plain,
    onnx,
    pack,
    told,
)


@pytest.mark.parametrize(
    ("files", "error"),
    [
        (told("nonsense: 1"), r'^fraud/config.pbtxt, line 1 is not .*no field named "nonsense"\): correct it'),
        (told(PYTHON + "\nmax_batch_sise: 1"), r"line 7 is not a model configuration"),
        (told(PYTHON + "\nversion_policy { latest {} all {} }"), "another member of oneof"),
        (told(PYTHON.replace("TYPE_FP32", "FP32")), 'line 4 .*no value named "?FP32'),
        (told(PYTHON.replace("TYPE_FP32", "9" * 30)), "is not a model configuration that Triton knows"),
        (told(PYTHON.replace("[ 2 ]", f"[ {1 << 63} ]")), "line 4 is not a model configuration that Triton knows"),
        (told("max_batch_size: 0x"), "line 1 is not a model configuration that Triton knows"),
        (told(PYTHON.replace("[ 2 ]", "[ 0 ]")), "the input 'X' whose dims are not each 1 or more, or -1"),
        (told(PYTHON.replace(", dims: [ 2 ]", "")), "the input 'X' whose dims are not"),
        (told(PYTHON.replace("dims: [ 2 ]", "dims: 2, reshape { shape: 0 }")), "'X' whose reshape is not"),
        (told(PYTHON.replace(", data_type: TYPE_FP32", "")), "the input 'X' without a data_type"),
        (told(PYTHON.replace("max_batch_size: 4", "max_batch_size: -1")), "sets max_batch_size to -1: set it"),
        (
            told(PYTHON + "dynamic_batching { preferred_batch_size: [2, 8] }"),
            "prefers batches of 8, and max_batch_size",
        ),
        (told(PYTHON + PYTHON.split("\n")[3]), "has the input 'X', and each needs a name of its own"),
        (told(PYTHON.replace("dims: [ 2 ] } ]\noutput", "dims: [ 2 ] }, {} ]\noutput")), "the input '', and each"),
        (told('backend: "tensorflov"'), "names backend or platform 'tensorflov', and Triton needs one that it has"),
        (told("max_batch_size: 1", "1/weights.bin"), "names no backend, and Triton needs one"),
        (told('backend: "python"', "1/model.onnx"), "fraud/1 has no model.py, which the backend python looks for"),
        (told('platform: "onnxruntime_onnx"', "1/net.onnx"), "fraud/1 has no model.onnx, which the backend onnxrun"),
        (told('backend: "python"', "1/model.py", "2/x"), "fraud/2 has no model.py"),
        (told('backend: "python"', "v1/model.py"), "fraud has no version folder: put the model's files into fraud/1/"),
        (told('backend: "python"', "01/model.py"), "fraud has no version folder"),
        (told('backend: "pytorch"', "1/model.pt"), "names no input, which its backend cannot find out"),
        ({"m/1/model.pt": "x"}, "does not tell what it takes and gives"),
        (told(PYTHON.replace("dims: [ 2 ] } ]\n\n", "")[:-4] + ', label_filename: "l.txt" } ]'), "labels from 'l.txt'"),
    ],
)
def test_a_config_that_triton_would_not_take_is_refused(files: dict[str, str], error: str) -> None:
    with pytest.raises(InvalidInput, match=error) as caught:
        pack(files)
    assert str(caught.value).endswith(".")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "files",
    [
        told('backend: "tensorflow"', "1/model.savedmodel/saved_model.pb"),
        told('platform: "tensorflow_savedmodel"', "1/model.savedmodel/saved_model.pb"),
        told("max_batch_size: 1", "1/model.savedmodel/saved_model.pb"),
        told("max_batch_size: 1", "1/model.graphdef"),
        {"m/1/model.savedmodel/saved_model.pb": "x"},
    ],
)
def test_tensorflow_is_refused_with_the_reason(files: dict[str, str]) -> None:
    with pytest.raises(
        Refused, match=r"^Triton cannot serve fraud: its TensorFlow backend was removed after release 25.02"
    ):
        pack(files)


@pytest.mark.parametrize(
    "files",
    [
        told('backend: "python" default_model_filename: "serve.py"', "1/serve.py"),
        told('backend: "onnxruntime" default_model_filename: "net.onnx"', "1/net.onnx"),
        told('backend: "onnxruntime"', "1/model.onnx/model.onnx"),
        told('backend: "tensorrt" cc_model_filenames { key: "8.0" value: "a.plan" }', "1/a.plan"),
        told('backend: "pytorch" runtime: "model.py"', "1/model.py"),
        told('backend: "fil"', "1/xgboost.json"),
        told('backend: "mine"', "1/m.bin", "libtriton_mine.so"),
        told('backend: "vllm"', "1/model.json"),
    ],
)
def test_files_of_other_names_and_other_backends_pass(files: dict[str, str]) -> None:
    if "1/net.onnx" in files or "1/model.onnx/model.onnx" in files:
        files = {path: onnx() if path.endswith(".onnx") else data for path, data in files.items()}  # type: ignore[misc]
    found, _ = pack(files)
    assert set(found) == {f"fraud/{path}" for path in files}


def test_configs_of_any_size_are_not_held() -> None:
    with pytest.raises(InvalidInput, match="have more than 1048576 bytes: shorten them"):
        pack(told("#" * (1 << 20) + "\n"))


@given(data=st.data())
@settings(max_examples=300)
def test_a_mutated_config_is_packed_or_refused_in_plain_words(data: st.DataObject) -> None:
    files = {path: text.encode() for path, text in {**STEPS, "fraud/config.pbtxt": ENSEMBLE}.items()}
    path = data.draw(st.sampled_from(["fraud/config.pbtxt", "first/config.pbtxt"]))
    raw = bytearray(files[path])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        word = st.sampled_from([b"{", b"}", b'"', b"\\xff", b"name:", b"-1", b"9" * 30, b"[", b"\0", b"inf", b"'"])
        raw[at : at + data.draw(st.integers(0, 6))] = data.draw(word | st.binary(max_size=5))
    check_plain({**files, path: bytes(raw)}, "", Format.TRITON)
