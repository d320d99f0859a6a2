"""Model repositories that come ready: which models are in them, under what name, and which of them is served."""

from __future__ import annotations

import pytest

from registry.errors import InvalidInput
from registry.facts import DType, Tensor
from tests.pipelines.packagers.triton.repositories import (
    ENSEMBLE,
    PYTHON,
    STEPS,
    config,
    onnx,
    pack,
)


@pytest.mark.parametrize("root", ["", "export", "a/densenet"])
def test_one_models_folder_gets_the_models_name(root: str) -> None:
    files = {"config.pbtxt": PYTHON, "1/model.py": "code", "3/model.py": "newer", "labels.txt": "", "1/w/x.bin": "w"}
    to = root + "/" if root else ""
    found, signature = pack({to + path: data for path, data in files.items()} | {"other/1/model.py": ""}, root)
    if not root:
        files["other/1/model.py"] = ""
    assert {path: data.decode() for path, data in found.items()} == {f"fraud/{p}": d for p, d in files.items()}
    assert signature.inputs == (Tensor(name="X", dtype=DType.FLOAT32, shape=(None, 2)),)


def test_a_repository_of_one_model_gets_the_models_name() -> None:
    told = 'name: "densenet"\n# a comment\n' + PYTHON
    found, _ = pack({"repo/densenet/config.pbtxt": told, "repo/densenet/1/model.py": "", "repo/README.md": ""}, "repo")
    assert list(found) == ["fraud/config.pbtxt", "fraud/1/model.py"]
    assert config(found["fraud/config.pbtxt"]) == config(PYTHON.encode())


def test_a_config_with_nothing_to_change_keeps_its_bytes() -> None:
    told = 'name: "fraud"  # a comment\n' + PYTHON
    found, _ = pack({"x/config.pbtxt": told, "x/1/model.py": ""})
    assert found["fraud/config.pbtxt"].decode() == told


@pytest.mark.parametrize("placeholder", [{}, {"pipe/1/.gitkeep": ""}, {"pipe/1/README": ""}])
@pytest.mark.parametrize("order", [1, -1])
def test_an_ensemble_gets_the_models_name_and_its_steps_keep_theirs(placeholder: dict[str, str], order: int) -> None:
    files = {**STEPS, "pipe/config.pbtxt": ENSEMBLE, **placeholder, "tools/x.py": "", "LICENSE": ""}
    found, signature = pack(dict(list(files.items())[::order]))
    wanted = {
        path.replace("pipe/", "fraud/"): data for path, data in files.items() if path[:5] not in ("tools", "LICEN")
    }
    extra = {} if placeholder else {"fraud/1/ensemble.txt": found["fraud/1/ensemble.txt"].decode()}
    assert {path: data.decode() for path, data in found.items()} == {**wanted, **extra}
    assert [(t.name, t.shape) for t in (*signature.inputs, *signature.outputs)] == [("A", (None, 2)), ("B", (None, 2))]


def test_a_folder_that_has_the_name_already_is_the_one_to_serve() -> None:
    files = {**STEPS, "fraud/config.pbtxt": PYTHON, "fraud/1/model.py": "calls first and second"}
    found, _ = pack(files)
    assert set(found) == set(files)


@pytest.mark.parametrize(
    ("files", "error"),
    [
        (STEPS, "holds first, second, and it is not plain which of them is to be served: name that one's folder fraud"),
        ({**STEPS, "a/config.pbtxt": ENSEMBLE, "b/config.pbtxt": ENSEMBLE}, "holds a, b, first, second, and it is not"),
        ({"x/y": ""}, "holds no model, and"),
        (
            {
                **STEPS,
                "fraud/1/model.py": "",
                "fraud/config.pbtxt": PYTHON,
                "e/config.pbtxt": ENSEMBLE.replace('"first"', '"fraud"'),
            },
            "fraud is a step of the ensemble e, which is the one to be served: call the ensemble's folder fraud",
        ),
        ({**STEPS, "first/config.pbtxt": 'name: "a"' + PYTHON, "e/config.pbtxt": ENSEMBLE}, "names the model 'a', and"),
    ],
)
def test_which_model_is_served_must_be_plain(files: dict[str, str], error: str) -> None:
    with pytest.raises(InvalidInput, match=error):
        pack(files)


def test_a_model_without_a_config_gets_one_where_its_file_tells_enough() -> None:
    told = ENSEMBLE.replace('"X" value: "M"', '"x" value: "M"').replace('"Y" value: "B"', '"y" value: "B"')
    told = told.replace("dims: 2", "dims: 3").replace("max_batch_size: 4", "max_batch_size: 8")
    python = PYTHON.replace("[ 2 ]", "[ 3 ]").replace("max_batch_size: 4", "max_batch_size: 8")
    files = {
        "e/config.pbtxt": told,
        "first/config.pbtxt": python,
        "first/1/model.py": "x",
        "second/2/model.onnx": onnx(),
    }
    found, _ = pack(files)
    assert config(found["second/config.pbtxt"]).backend == "onnxruntime"


@pytest.mark.parametrize("file", ["model.py", "model.plan", "model.xml"])
def test_a_model_that_triton_asks_itself_needs_no_config(file: str) -> None:
    found, signature = pack({f"m/1/{file}": "x", "m/config.pbtxt": "max_batch_size: 2", "sample.json": "[1]"}, "m")
    assert found["fraud/config.pbtxt"] == b"max_batch_size: 2"
    assert (signature.inputs, signature.sample) == ((), [1])
    found, _ = pack({f"m/1/{file}": "x"}, "m")
    assert list(found) == [f"fraud/1/{file}"]
