"""What Sluice packages for Triton, loaded and asked by a real tritonserver, and by ONNX Runtime as its backend does it.

The server is the one in nvidia-pytriton, which has the Python backend alone and runs without a GPU.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gitops.release import Runtime
from gitops.runtimes import MODEL_ROOT, RUNTIMES, health_path
from pipelines.archive import Member
from pipelines.packagers import Packed, PackRequest, packager_for
from pipelines.packagers.protos.model_config import model_config
from pipelines.packagers.protos.onnx import onnx
from pipelines.packagers.protos.tensorflow import bundle, prediction_log, saved_model
from pipelines.tarin import read_tar
from registry.facts import FileFact, Format, Scan, Signature
from registry.names import VersionRef

pytestmark = pytest.mark.slow

NOBODY = "sha256:" + "0" * 64
READY_SECONDS = 60
DOUBLE = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("Y", x * 2)]))
        return answers
"""
PYTHON = """
backend: "python"
max_batch_size: 8
input [ { name: "X" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: "Y" data_type: TYPE_FP32 dims: [ 2 ] } ]
instance_group [ { kind: KIND_CPU } ]
"""
COMPLETING = """
    @staticmethod
    def auto_complete_config(config):
        config.set_max_batch_size(0)
        config.add_input({"name": "X", "data_type": "TYPE_FP32", "dims": [2]})
        config.add_output({"name": "Y", "data_type": "TYPE_FP32", "dims": [2]})
        return config
"""
ENSEMBLE = """
name: "pipeline"
platform: "ensemble"
max_batch_size: 8
input { name: "A" data_type: TYPE_FP32 dims: 2 }
output { name: "B" data_type: TYPE_FP32 dims: 2 }
ensemble_scheduling {
  step { model_name: "double" model_version: -1 input_map { key: "X" value: "A" } output_map { key: "Y" value: "M" } }
  step { model_name: "double" model_version: -1 input_map { key: "X" value: "M" } output_map { key: "Y" value: "B" } }
}
"""
MAKE_ONNX = """
import sys
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

weights = numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(4, 3), "w")
graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Cast", ["n"], ["m"], to=TensorProto.FLOAT)],
    "g",
    [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4]),
        helper.make_tensor_value_info("n", TensorProto.INT64, ["batch", 1]),
    ],
    [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3]),
        helper.make_tensor_value_info("m", TensorProto.FLOAT, ["batch", 1]),
    ],
    [weights],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.save(
    model, sys.argv[1], save_as_external_data=True, location="net.weights", size_threshold=0, convert_attribute=False
)
"""
ASK_ONNX = """
import json, sys
import numpy as np
import onnxruntime

kinds = {"FP32": np.float32, "INT64": np.int64}
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
request = json.load(sys.stdin)
given = {i["name"]: np.array(i["data"], kinds[i["datatype"]]).reshape(i["shape"]) for i in request["inputs"]}
print(json.dumps([answer.tolist() for answer in session.run(None, given)]))
"""
FIELDS = """
import importlib, json, sys

def told(message):
    for field in message.fields:
        kind = field.message_type or field.enum_type
        yield message.full_name, field.name, field.number, field.type, field.is_repeated, kind and kind.full_name
    for enum in message.enum_types:
        yield from ((enum.full_name, value.name, value.number) for value in enum.values)
    for nested in message.nested_types:
        yield from told(nested)

found = []
for module in sys.argv[1:]:
    file = importlib.import_module(module).DESCRIPTOR
    for enum in file.enum_types_by_name.values():
        found += [(enum.full_name, value.name, value.number) for value in enum.values]
    for message in file.message_types_by_name.values():
        found += told(message)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def python() -> Path:
    """An interpreter that has nvidia-pytriton, ONNX and ONNX Runtime."""
    told = os.environ.get("SLUICE_TRITON")
    if not told:
        pytest.skip("Set SLUICE_TRITON to the Python interpreter that .ci/triton installs, .venv-triton/bin/python.")
    return Path(told)


def run(python: Path | str, script: str, *arguments: str, told: bytes = b"") -> Any:
    """What a script prints, as JSON."""
    answer = subprocess.run(
        [python, "-c", script, *arguments], input=told, capture_output=True, timeout=120, check=False
    )
    assert answer.returncode == 0, answer.stderr.decode()
    return json.loads(answer.stdout) if answer.stdout else None


class Server:
    """A running tritonserver."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
        self._port, self._process, self._log = port, process, log

    def ask(self, path: str, body: object = None) -> tuple[int, Any]:
        """Status and body of an answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", data)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        return status, json.loads(text) if text else None

    def wait_until_ready(self, model: str) -> None:
        """Ask as the kubelet does until the model is ready."""
        probe = RUNTIMES[Runtime.TRITON].ready(model)["httpGet"]["path"]
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if self.ask(probe)[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        pytest.fail(f"{model} is not ready: {self._log.read_text()[-4000:]}")


@pytest.fixture
def serve(python: Path, tmp_path: Path) -> Callable[[Path], Any]:
    """Starts the server as the image does on what lies in a folder as below MODEL_ROOT: `with serve(folder) as …`."""
    packages = next(python.parent.parent.glob("lib/python*/site-packages"))
    server = packages / "pytriton/tritonserver"
    backend = tmp_path / "backends/python"
    shutil.copytree(server / "backends/python", backend)
    version = packages.parent.name.removeprefix("python")
    shutil.copy(server / f"python_backend_stubs/{version}/triton_python_backend_stub", backend)

    @contextmanager
    def start(root: Path) -> Iterator[Server]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [part.replace(MODEL_ROOT, str(root)) for part in RUNTIMES[Runtime.TRITON].command("fraud")]
        command[0] = str(server / "bin/tritonserver")
        command += [f"--backend-directory={backend.parent}", "--http-address=127.0.0.1", f"--http-port={port}"]
        command += ["--allow-grpc=false", "--allow-metrics=false"]
        environment = {
            **os.environ,
            "PATH": f"{python.parent}:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": str(packages / "nvidia_pytriton.libs"),
        }
        log = tmp_path / "server.log"
        with log.open("wb") as out:
            process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
            try:
                yield Server(port, process, log)
            finally:
                process.terminate()
                process.wait(60)

    return start


def packed(files: Mapping[str, bytes | str], to: Path, form: Format = Format.TRITON, root: str = "") -> Signature:
    """Package a training output, and lay it out below `to` as below MODEL_ROOT."""
    raw = {path: data.encode() if isinstance(data, str) else data for path, data in files.items()}
    facts = tuple(FileFact(path=path, size=len(data), sha256=NOBODY) for path, data in raw.items())
    scan = Scan(source=NOBODY, size=1, format=form, root=root, files=facts)
    request = PackRequest(ref=VersionRef.parse("fraud@7"), scan=scan, created_at=datetime(2026, 11, 20, tzinfo=UTC))
    packager, learnt = packager_for(scan, Runtime.TRITON), Packed()
    members = (Member(path, len(data), iter((data,))) for path, data in raw.items())
    data = b"".join(packager.pack(members, request, learnt))
    for member in read_tar(io.BytesIO(data)):
        path = to / "models" / member.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(member.chunks))
    assert learnt.signature is not None
    return learnt.signature


def seen(signature: Signature) -> dict[str, Any]:
    """A signature's tensors as the server's metadata has them."""
    types = {"float32": "FP32", "int64": "INT64"}
    return {
        side: [
            {"name": t.name, "datatype": types[t.dtype], "shape": [-1 if n is None else n for n in t.shape or ()]}
            for t in tensors
        ]
        for side, tensors in (("inputs", signature.inputs), ("outputs", signature.outputs))
    }


@pytest.mark.parametrize(
    ("files", "answer"),
    [
        ({"double/config.pbtxt": 'name: "double"' + PYTHON, "double/1/model.py": DOUBLE}, [2.0, 5.0]),
        (
            {"pipeline/config.pbtxt": ENSEMBLE, "double/config.pbtxt": PYTHON, "double/3/model.py": DOUBLE},
            [4.0, 10.0],
        ),
    ],
    ids=["python", "ensemble"],
)
def test_a_repository_is_loaded_and_answers_under_the_models_name(
    files: dict[str, str], answer: list[float], serve: Any, tmp_path: Path
) -> None:
    signature = packed({f"repo/{path}": data for path, data in files.items()}, tmp_path, root="repo")
    with serve(tmp_path) as server:
        server.wait_until_ready("fraud")
        assert server.ask(health_path(Runtime.TRITON, "fraud"))[0] == 200
        assert server.ask("/v2/health/ready")[0] == 200
        status, told = server.ask("/v2/models/fraud")
        assert (status, {side: told[side] for side in ("inputs", "outputs")}) == (200, seen(signature))
        status, _ = server.ask("/v2/models/fraud/infer", signature.sample)
        assert status == 200
        asked: Any = signature.sample
        asked["inputs"][0]["data"] = [1, 2.5]
        status, told = server.ask("/v2/models/fraud/infer", asked)
        assert (status, told["outputs"][0]["data"]) == (200, answer)


def test_a_model_completes_its_own_config(serve: Any, tmp_path: Path) -> None:
    packed({"config.pbtxt": "instance_group [ { kind: KIND_CPU } ]", "1/model.py": DOUBLE + COMPLETING}, tmp_path)
    with serve(tmp_path) as server:
        server.wait_until_ready("fraud")
        status, told = server.ask("/v2/models/fraud")
        assert (status, [one["shape"] for one in told["inputs"]]) == (200, [[2]])


def test_nobody_who_reaches_the_port_loads_code_of_their_own(serve: Any, tmp_path: Path) -> None:
    packed({"config.pbtxt": PYTHON, "1/model.py": DOUBLE}, tmp_path)
    code = {"parameters": {"config": '{"backend": "python"}', "file:1/model.py": "cHJpbnQoMSk="}}
    with serve(tmp_path) as server:
        server.wait_until_ready("fraud")
        for what in ("models/evil/load", "models/fraud/load", "models/fraud/unload"):
            status, told = server.ask(f"/v2/repository/{what}", code if what.endswith("/load") else {})
            assert status == 503, told
            assert "not allowed" in told["error"]
        assert server.ask("/v2/models/fraud/ready")[0] == 200


def test_an_onnx_file_and_its_weights_answer_the_sample(python: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    run(python, MAKE_ONNX, str(made / "net.onnx"))
    files = {path.name: path.read_bytes() for path in made.iterdir()}
    assert set(files) == {"net.onnx", "net.weights"}
    signature = packed(files, tmp_path, Format.ONNX, "net.onnx")
    told = run(
        python, ASK_ONNX, str(tmp_path / "models/fraud/1/model.onnx"), told=json.dumps(signature.sample).encode()
    )
    assert told == [[[0.0, 0.0, 0.0]], [[0.0]]]
    assert seen(signature)["inputs"] == [
        {"name": "x", "datatype": "FP32", "shape": [-1, 4]},
        {"name": "n", "datatype": "INT64", "shape": [-1, 1]},
    ]


def fields(classes: Mapping[str, Any]) -> set[tuple[Any, ...]]:
    """Every field of some message classes, and every value of their enums, as the script FIELDS tells them."""
    files = {kind.DESCRIPTOR.file for kind in classes.values()}
    found: set[tuple[Any, ...]] = set()
    enums = [enum for file in files for enum in file.enum_types_by_name.values()]
    messages = [message for file in files for message in file.message_types_by_name.values()]
    while messages:
        message = messages.pop()
        messages += message.nested_types
        enums += message.enum_types
        for field in message.fields:
            kind = field.message_type or field.enum_type
            name = kind and kind.full_name
            found.add((message.full_name, field.name, field.number, field.type, field.is_repeated, name))
    return found | {(enum.full_name, value.name, value.number) for enum in enums for value in enum.values}


def test_configs_are_read_as_triton_reads_them(python: Path) -> None:
    theirs = {tuple(told) for told in run(python, FIELDS, "tritonclient.grpc.model_config_pb2")}
    assert fields(model_config()) == theirs


def test_onnx_files_are_read_as_onnx_reads_them(python: Path) -> None:
    theirs = {told[:4] for told in map(tuple, run(python, FIELDS, "onnx.onnx_ml_pb2"))}
    ours = {told[:4] for told in fields(onnx())}
    assert ours <= theirs


def test_saved_models_are_read_as_tensorflow_reads_them() -> None:
    told = os.environ.get("SLUICE_TENSORFLOW_PYTHON")
    if not told:
        pytest.skip("Set SLUICE_TENSORFLOW_PYTHON to a Python interpreter that has tensorflow or tensorflow-cpu.")
    modules = [
        *(f"tensorflow.core.protobuf.{name}_pb2" for name in ("saved_model", "meta_graph", "saved_object_graph")),
        "tensorflow.core.protobuf.tensor_bundle_pb2",
        *(f"tensorflow.core.framework.{name}_pb2" for name in ("tensor", "tensor_shape")),
    ]
    theirs = {one[:3] for one in map(tuple, run(told, FIELDS, *modules))}
    logged = {("tensorflow." + one[0].rpartition("serving.")[2], *one[1:]) for one in fields(prediction_log())}
    ours = fields(saved_model()) | fields(bundle()) | {one for one in logged if "Tensor" in one[0]}
    assert {one[:3] for one in ours} <= theirs
