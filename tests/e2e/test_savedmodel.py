"""What Sluice packages for TensorFlow Serving, loaded and asked by TensorFlow as that server does it."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gitops.release import Runtime
from gitops.runtimes import MODEL_ROOT, RUNTIMES
from pipelines.archive import Member
from pipelines.packagers import Packed, PackRequest, packager_for
from pipelines.packagers.base import Packager
from pipelines.tarin import read_tar
from registry.errors import InvalidInput
from registry.facts import FileFact, Format, Scan, Signature
from registry.names import VersionRef

pytestmark = pytest.mark.slow

NOBODY = "sha256:" + "0" * 64
WARMUP = "assets.extra/tf_serving_warmup_requests"
PREDICT = """
import json, sys
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1], tags=["serve"])
signature = model.signatures["serving_default"]
(name,) = signature.structured_input_signature[1]
instances = json.load(sys.stdin)["instances"]
(output,) = signature(**{name: tf.constant(instances, tf.float32)}).values()
print(json.dumps(output.numpy().tolist()))
"""
EXPORT = """
import sys
import numpy as np
import tensorflow as tf

kinds = {TYPES}

class Model(tf.Module):
    def __init__(self):
        super().__init__()
        self.weights = tf.Variable(np.arange(1 << 16, dtype=np.float32))
        with open("words.txt", "w") as file:
            file.write("a\\nb\\n")
        lines = tf.lookup.TextFileIndex
        start = tf.lookup.TextFileInitializer(
            "words.txt", tf.string, lines.WHOLE_LINE, tf.int64, lines.LINE_NUMBER
        )
        self.table = tf.lookup.StaticHashTable(start, -1)

    @tf.function(input_signature=[tf.TensorSpec([None, 2], getattr(tf, kind), name=kind) for kind in kinds])
    def everything(self, *tensors):
        return {"count": tf.cast(tf.shape(tensors[0])[:1], tf.float32) + self.weights[0]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="word")])
    def look_up(self, word):
        return {"number": self.table.lookup(word)}

model = Model()
signatures = {"serving_default": model.everything, "look_up": model.look_up}
tf.saved_model.save(model, sys.argv[1], signatures=signatures)
"""
WARM = """
import json, struct, sys
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

def fields(data):
    # the embedded messages of a protobuf message, by their numbers
    at = 0
    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    while at < len(data):
        tag = varint()
        assert tag & 7 == 2
        size = varint()
        yield tag >> 3, data[at : at + size]
        at += size

model = tf.saved_model.load(sys.argv[1], tags=["serve"])
(record,) = tf.data.TFRecordDataset(sys.argv[1] + "/assets.extra/tf_serving_warmup_requests").as_numpy_iterator()
((predict, log),) = fields(record)
((request_number, request),) = fields(log)
assert (predict, request_number) == (6, 1)
spec = dict(fields(dict(fields(request))[1]))
inputs = {}
for number, value in fields(request):
    if number == 2:
        entry = dict(fields(value))
        inputs[entry[1].decode()] = tf.constant(tf.make_ndarray(tensor_pb2.TensorProto.FromString(entry[2])))
answer = model.signatures[spec[3].decode()](**inputs)
told = {
    n: [v.dtype.name, v.shape.as_list(), [[str(one) for one in row] for row in v.numpy()]] for n, v in inputs.items()
}
outputs = {n: v.shape.as_list() for n, v in answer.items()}
print(json.dumps({"name": spec[1].decode(), "inputs": told, "outputs": outputs}))
"""
TYPES = (
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64".split()  # noqa: SIM905
)
READ: dict[str, Callable[[str], object]] = {
    "boo": lambda text: text == "True",
    **dict.fromkeys(("int", "uin"), int),
    **dict.fromkeys(("flo", "bfl"), float),
}
"""By the first letters of a type, how its elements are read."""


@pytest.fixture(scope="module")
def python() -> str:
    """An interpreter that has TensorFlow."""
    told = os.environ.get("SLUICE_TENSORFLOW_PYTHON")
    if not told:
        pytest.skip("Set SLUICE_TENSORFLOW_PYTHON to a Python interpreter that has tensorflow or tensorflow-cpu.")
    found = subprocess.run(
        [told, "-c", "import importlib.util as u, sys; sys.exit(u.find_spec('tensorflow') is None)"], check=False
    )
    if found.returncode:
        pytest.fail(f"SLUICE_TENSORFLOW_PYTHON says {told}, which has no TensorFlow.")
    return told


def run(python: str, script: str, *arguments: str, told: bytes = b"", cwd: Path | None = None) -> Any:
    """The last line that a script prints, as JSON."""
    answer = subprocess.run(
        [python, "-c", script, *arguments],
        input=told,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"},
        cwd=cwd,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr.decode()
    return json.loads(answer.stdout.splitlines()[-1]) if answer.stdout.strip() else None


def base_path(model: str) -> str:
    """Where the server is told to find the versions, below MODEL_ROOT."""
    (base,) = (
        argument.removeprefix("--model_base_path=").removeprefix(MODEL_ROOT + "/")
        for argument in RUNTIMES[Runtime.TENSORFLOW_SERVING].command(model)
        if argument.startswith("--model_base_path=")
    )
    return base


def packed(folder: Path, to: Path) -> tuple[Packager, Signature]:
    """Package the training output in `folder`, and lay it out below `to` as below MODEL_ROOT."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    facts = tuple(FileFact(path=path, size=len(data), sha256=NOBODY) for path, data in files.items())
    scan = Scan(source=NOBODY, size=1, format=Format.SAVED_MODEL, root="export", files=facts)
    request = PackRequest(ref=VersionRef.parse("m@4"), scan=scan, created_at=datetime(2026, 11, 20, tzinfo=UTC))
    packager, learnt = packager_for(scan), Packed()
    members = (Member(path, len(data), iter((data,))) for path, data in files.items())
    data = b"".join(packager.pack(members, request, learnt))
    for member in read_tar(io.BytesIO(data)):
        path = to / "models" / member.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(member.chunks))
    assert learnt.signature is not None
    return packager, learnt.signature


def test_an_image_holds_a_model_that_tensorflow_serves(packaged: Any, python: str, tmp_path: Path) -> None:
    wine = packaged("wine", "wine-2026-11-10")
    wine.unpack(tmp_path)
    base = tmp_path / base_path("wine")

    # The server serves the highest number it finds, so there must be one, and it the version's.
    assert [folder.name for folder in base.iterdir()] == [str(wine.ref.number)]
    (scores,) = run(python, PREDICT, str(base / str(wine.ref.number)), told=wine.sample)
    assert sum(scores) == pytest.approx(1)
    assert scores.index(max(scores)) == wine.expected


@pytest.fixture(scope="module")
def written(python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel that takes a tensor of each type that there is, and has an asset."""
    folder = tmp_path_factory.mktemp("written")
    run(python, EXPORT.replace("{TYPES}", repr(TYPES)), str(folder / "export"), cwd=folder)
    return folder / "export"


@pytest.fixture
def exported(written: Path, tmp_path: Path) -> Path:
    """A training output with that SavedModel in it."""
    shutil.copytree(written, tmp_path / "output/export")
    return tmp_path / "output"


def test_tensorflow_reads_the_warm_up_and_runs_it(exported: Path, python: str, tmp_path: Path) -> None:
    _, signature = packed(exported, tmp_path)
    told = run(python, WARM, str(tmp_path / base_path("m") / "4"))
    assert told["name"] == "m"
    assert {name: values[:2] for name, values in told["inputs"].items()} == {kind: [kind, [1, 2]] for kind in TYPES}
    assert {tensor.name: tensor.dtype.value for tensor in signature.inputs} == {kind: kind for kind in TYPES}
    assert told["outputs"] == {"count": [1]}


def test_tensorflow_is_warmed_up_with_the_sample(exported: Path, python: str, tmp_path: Path) -> None:
    values: dict[str, Any] = {kind: [1, 100] for kind in TYPES} | {"bool": [True, False], "float64": [0.5, -1e300]}
    values |= {"bfloat16": [1.5, -2], "uint64": [0, (1 << 64) - 1], "int8": [-128, 127], "float16": [0.5, 2048]}
    (exported / "sample.json").write_text(json.dumps({"instances": [values, values]}))
    packed(exported, tmp_path)
    told = run(python, WARM, str(tmp_path / base_path("m") / "4"))
    seen = {kind: [dtype, shape, rows[1]] for kind, (dtype, shape, rows) in told["inputs"].items()}
    assert {kind: found[:2] for kind, found in seen.items()} == {kind: [kind, [2, 2]] for kind in TYPES}
    for kind, wanted in values.items():
        found = seen[kind][2]
        assert [READ[kind[:3]](text) for text in found] == wanted, kind


LOST = ["variables/variables.index", "variables/variables.data-00000-of-00001", "assets/words.txt"]


@pytest.mark.parametrize("lost", LOST)
def test_what_tensorflow_wrote_is_missed_when_it_is_gone(lost: str, exported: Path, tmp_path: Path) -> None:
    (exported / "export" / lost).unlink()
    with pytest.raises(InvalidInput, match=lost):
        packed(exported, tmp_path)


def test_variables_that_were_cut_short_are_noticed(exported: Path, tmp_path: Path) -> None:
    path = exported / "export/variables/variables.data-00000-of-00001"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InvalidInput, match=r"variables\.data-00000-of-00001 of the SavedModel has \d+ bytes of"):
        packed(exported, tmp_path)
