"""What Sluice packages for TorchServe, served by TorchServe."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gitops.release import Runtime
from gitops.runtimes import MODEL_ROOT, RUNTIMES, TORCHSERVE_MANAGEMENT_PORT, health_path
from sluice.demo.ports import free_pairs

pytestmark = pytest.mark.slow

JOB = "digits-2026-11-08"
READY_SECONDS = 120
STOP_SECONDS = 15
"""TorchServe takes two to three; a launcher that ignores SIGTERM never stops."""


@pytest.fixture
def torchserve() -> Path:
    """The folder of the torchserve to test against."""
    told = os.environ.get("SLUICE_TORCHSERVE")
    if not told:
        pytest.skip(
            "Set SLUICE_TORCHSERVE to bin/torchserve of a virtual environment with torchserve, torch and PyYAML."
        )
    if not shutil.which("java"):
        pytest.skip("Put a Java runtime (17 or later) on PATH: TorchServe's front end is written in Java.")
    if not shutil.which(told):
        pytest.fail(f"SLUICE_TORCHSERVE says {told}, which cannot be run.")
    return Path(told).absolute().parent


class Server(NamedTuple):
    """A TorchServe that runs as its image would run it."""

    process: subprocess.Popen[bytes]
    environment: dict[str, str]
    ports: dict[int, int]
    """The port that stands in for each one of the image's."""
    log: Path

    def probe(self, model: str) -> subprocess.CompletedProcess[str]:
        """Run the readiness probe of the Deployment, but for the port number."""
        command = RUNTIMES[Runtime.TORCHSERVE].ready(model)["exec"]["command"]
        there = self.ports[TORCHSERVE_MANAGEMENT_PORT]
        moved = [argument.replace(str(TORCHSERVE_MANAGEMENT_PORT), str(there)) for argument in command]
        return subprocess.run(moved, env=self.environment, capture_output=True, text=True, timeout=30, check=False)

    def await_(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not done():
            stopped = self.process.poll() is not None
            if stopped or time.monotonic() > deadline:
                told = [line for line in self.log.read_text().splitlines() if "ACCESS_LOG" not in line]
                state = "stopped before it was" if stopped else "is not"
                pytest.fail("\n".join([f"TorchServe {state} {what}:", *told[-60:]]))
            time.sleep(0.2)

    def await_ready(self, model: str) -> None:
        self.await_(lambda: self.probe(model).returncode == 0, "ready")

    def ask(self, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """The status and the JSON that the inference port answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[8080], timeout=30)
        try:
            connection.request("POST" if body is not None else "GET", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.load(answer)
        finally:
            connection.close()

    def pings(self) -> bool:
        with suppress(ConnectionError):
            return self.ask(health_path(Runtime.TORCHSERVE, "digits"))[0] == 200
        return False


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root of an image's file system."""
    (tmp_path / "root" / MODEL_ROOT.lstrip("/")).mkdir(parents=True)
    return tmp_path / "root"


def unpack(packaged: Any, root: Path) -> Path:
    """Lay a model out below `root`, as its image does; gives the model's folder."""
    top = root / MODEL_ROOT.lstrip("/")
    packaged.unpack(top)
    return Path(top / packaged.layout.folder)


@contextmanager
def serving(packaged: Any, root: Path, torchserve: Path, *, bound: Sequence[str] = ()) -> Iterator[Server]:
    """Start what an image of the model starts, with its root at `root` and free ports instead of its own.

    `bound` comes before the command, to take rights from it.
    """
    ports = dict(zip((8080, TORCHSERVE_MANAGEMENT_PORT, 8082, 7070, 7071), free_pairs(5), strict=True))
    moved = f"{root}{MODEL_ROOT}"
    for path, data in packaged.layout.config.items():
        text = data.decode().replace(MODEL_ROOT, moved).replace("//0.0.0.0:", "//127.0.0.1:")
        for port in (8080, TORCHSERVE_MANAGEMENT_PORT, 8082):
            assert text.count(f"//127.0.0.1:{port}\n") == 1
            text = text.replace(f"//127.0.0.1:{port}\n", f"//127.0.0.1:{ports[port]}\n")
        text += f"grpc_inference_port={ports[7070]}\ngrpc_management_port={ports[7071]}\n"
        Path(f"{moved}/{path}").write_text(text)
    home = Path(f"{root}{packaged.spec.working_dir}")
    home.mkdir(parents=True)
    # Not under `root`: the sockets to the workers lie here, and a socket's path has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="ts") as temp:
        environment = {"PATH": f"{torchserve}:{os.environ['PATH']}", "TMPDIR": temp, "TEMP": temp}
        environment.update(packaged.layout.env)
        log = root / "log"
        with log.open("wb") as output:
            command = packaged.spec.command(packaged.ref.model)
            process = subprocess.Popen(
                [*bound, *(argument.replace(MODEL_ROOT, moved) for argument in command)],
                cwd=home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            yield Server(process, environment, ports, log)
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill the server and its workers, which are of its process group, and wait until they are gone."""
    deadline = time.monotonic() + STOP_SECONDS
    with suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, signal.SIGKILL)
            process.poll()
            time.sleep(0.02)
    process.wait(STOP_SECONDS)


def test_an_image_serves_its_model_and_outlives_bad_requests(packaged: Any, torchserve: Path, root: Path) -> None:
    digits = packaged("digits", JOB)
    unpack(digits, root)

    with serving(digits, root, torchserve) as server:
        server.await_ready("digits")
        assert server.pings()
        assert _class_of(server, digits.sample) == digits.expected

        workers = _workers(server)
        for body in (b"{nope", b"{}", b'{"instances": [[1, 2], [3]]}', b'{"instances": [[NaN]]}', b"[" * 100_000, b""):
            status, answer = server.ask("/predictions/digits", body)
            assert (status, list(answer)) == (400, ["error"]), body
        status, _ = server.ask("/predictions/digits", b'{"instances": [[1, 2, 3]]}')
        assert status == 503  # well formed, but not what this model takes

        assert _class_of(server, digits.sample) == digits.expected
        assert _workers(server) == workers
        assert server.probe("digits").returncode == 0
        assert server.probe("letters").returncode != 0


def test_a_pod_stops_when_it_is_told_to(packaged: Any, torchserve: Path, root: Path) -> None:
    digits = packaged("digits", JOB)
    unpack(digits, root)

    with serving(digits, root, torchserve) as server:
        server.await_ready("digits")
        os.kill(server.process.pid, signal.SIGTERM)
        server.process.wait(STOP_SECONDS)
        assert not server.pings()


def test_a_model_that_cannot_be_loaded_is_never_ready(packaged: Any, torchserve: Path, root: Path) -> None:
    digits = packaged("digits", JOB)
    (unpack(digits, root) / "model.pt").write_bytes(b"no model")

    with serving(digits, root, torchserve) as server:
        server.await_(lambda: "Auto recovery failed again" in server.log.read_text(), "trying to load again")
        assert server.pings()
        probe = server.probe("digits")
        assert probe.returncode != 0
        assert "none is READY" in probe.stderr


class InOneFile:
    """A model whose archive lies packed in the model store, as TorchServe takes it outside of images."""

    def __init__(self, packaged: Any) -> None:
        self.ref, self.spec = packaged.ref, packaged.spec
        name = self.ref.model.encode()
        config = packaged.layout.config
        moved = {path: data.replace(b"=%b\n" % name, b"=%b.mar\n" % name) for path, data in config.items()}
        self.layout = packaged.layout.model_copy(update={"config": moved})


def test_torchserve_takes_the_archive_itself(packaged: Any, torchserve: Path, root: Path) -> None:
    digits = packaged("digits", JOB)
    store = (root / MODEL_ROOT.lstrip("/") / digits.layout.folder).parent
    store.mkdir(parents=True)
    (store / "digits.mar").write_bytes(b"".join(digits.blobs.chunks(digits.artifact.blob)))

    with serving(InOneFile(digits), root, torchserve) as server:
        server.await_ready("digits")
        assert _class_of(server, digits.sample) == digits.expected


def test_a_model_is_served_from_where_nothing_may_be_written(packaged: Any, torchserve: Path, root: Path) -> None:
    """As Kubernetes mounts an image volume: read-only."""
    bound: Sequence[str] = ()
    if os.geteuid() == 0:  # whom permissions bind only without capabilities
        if not shutil.which("setpriv"):
            pytest.skip("Install setpriv, of util-linux, or run as another user than root.")
        bound = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    digits = packaged("digits", JOB)
    folder = unpack(digits, root)
    top = root / MODEL_ROOT.lstrip("/")
    for path in top.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = set(top.rglob("*"))
    with serving(digits, root, torchserve, bound=bound) as server:
        assert subprocess.run([*bound, "test", "-w", folder], check=False).returncode == 1
        server.await_ready("digits")
        assert _class_of(server, digits.sample) == digits.expected
    assert set(top.rglob("*")) == {*before, top / "config.properties"}


# Models of one weight, which torch makes in the interpreter that TorchServe runs in

MADE = """
import json
import sys
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(2, 1)

    def forward(self, x):
        return self.line(x)

net = Net()
with torch.no_grad():
    net.line.weight.copy_(torch.tensor([[2.0, 3.0]]))
    net.line.bias.fill_(1.0)
if sys.argv[1].endswith(".pt"):
    torch.jit.trace(net, torch.zeros(1, 2)).save(sys.argv[1])
elif sys.argv[1].endswith(".pth"):
    torch.save(net.state_dict(), sys.argv[1])
else:
    tensors = net.state_dict()
    data = {name: bytes(tensor.contiguous().view(torch.uint8).flatten().tolist()) for name, tensor in tensors.items()}
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in tensors.items():
        end = at + len(data[name])
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    told = json.dumps(header).encode()
    with open(sys.argv[1], "wb") as file:
        file.write(len(told).to_bytes(8, "little") + told + b"".join(data.values()))
"""
NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(2, 1)

    def forward(self, x):
        return self.line(x)
"""
SAGEMAKER = """
import json
import os

import torch
from net import Net

def model_fn(model_dir):
    model = Net()
    model.load_state_dict(torch.load(os.path.join(model_dir, "model.pth"), weights_only=True))
    with open(os.path.join(model_dir, "factor.json")) as file:
        model.factor = json.load(file)
    return model.eval()

def input_fn(body, content_type):
    if content_type != "application/json":
        raise ValueError("JSON only, not " + content_type)
    return torch.tensor(json.loads(body)["rows"])

def predict_fn(data, model):
    with torch.no_grad():
        return model(data) * model.factor

def output_fn(prediction, accept):
    return json.dumps({"found": prediction.flatten().tolist()})
"""
TORCHSERVE_HANDLER = """
import os

import torch
from names import label
from ts.torch_handler.base_handler import BaseHandler

class Labels(BaseHandler):
    def initialize(self, context):
        super().initialize(context)
        with open(os.path.join(context.system_properties["model_dir"], "labels.txt")) as file:
            self.labels = file.read().split()

    def preprocess(self, requests):
        return torch.tensor([request["body"]["x"] for request in requests], dtype=torch.float32)

    def postprocess(self, outputs):
        return [{"label": label(self.labels, row)} for row in outputs.tolist()]
"""
FUNCTION = """
import json
import os

state = {}

def handle(data, context):
    if data is None:
        with open(os.path.join(context.system_properties["model_dir"], "assets", "words.json")) as file:
            state["words"] = json.load(file)
        return None
    config = context.model_yaml_config["mine"]
    return [{"word": state["words"][request["body"]["at"]], "config": config} for request in data]
"""
NAMES = "def label(labels, row):\n    return labels[int(row[0] > 0)]\n"


@pytest.fixture
def made(torchserve: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a training output: `made("model.pt", {"code/inference.py": …})`."""

    def run(model: str, files: Mapping[str, str]) -> Path:
        folder = tmp_path / "output"
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        if model:
            command = [torchserve / "python", "-c", MADE, folder / model]
            subprocess.run(command, check=True, timeout=300, capture_output=True)
        return folder

    return run


def test_eager_weights_with_sagemaker_code_predict(
    made: Any, packaged_folder: Any, torchserve: Path, root: Path
) -> None:
    files = {"code/inference.py": SAGEMAKER, "code/net.py": NET, "factor.json": "10", "code/requirements.txt": "x"}
    model = packaged_folder(made("model.pth", files), "line")
    unpack(model, root)
    with serving(model, root, torchserve) as server:
        server.await_ready("line")
        assert server.ask("/predictions/line", b'{"rows": [[1.0, 1.0], [0.0, 0.0]]}') == (200, {"found": [60, 10]})
        for body in (b"{nope", b"{}", b'{"rows": "x"}', b""):
            status, answer = server.ask("/predictions/line", body)
            assert (status, list(answer)) == (400, ["error"]), body
        status, _ = server.ask("/predictions/line", b'{"rows": [[1.0, 2.0, 3.0]]}')
        assert status == 503  # well formed, but not what this model takes
        assert server.ask("/predictions/line", b'{"rows": [[1.0, 0.0]]}') == (200, {"found": [30]})


def test_torchscript_with_a_part_of_sagemakers_functions_predicts(
    made: Any, packaged_folder: Any, torchserve: Path, root: Path
) -> None:
    files = {"code/inference.py": "def predict_fn(data, model, context):\n    return model(data) * 2\n"}
    model = packaged_folder(made("model.pt", files), "line")
    unpack(model, root)
    with serving(model, root, torchserve) as server:
        server.await_ready("line")
        for body in (b"[[1, 1]]", b'{"instances": [[1, 1]]}'):
            assert server.ask("/predictions/line", body) == (200, [[12]])
        assert server.ask("/predictions/line", b'{"instances": 1e999}')[0] == 503
        assert server.ask("/predictions/line", b"{}")[0] == 400


@pytest.mark.parametrize("weights", ["weights.pth", "weights.safetensors"])
def test_eager_weights_with_a_class_predict(
    weights: str, made: Any, packaged_folder: Any, torchserve: Path, root: Path
) -> None:
    model = packaged_folder(made(weights, {"code/model.py": NET}), "line")
    unpack(model, root)
    with serving(model, root, torchserve) as server:
        server.await_ready("line")
        assert server.ask("/predictions/line", b'{"instances": [[1, 1]]}') == (200, {"predictions": [[6]]})


@pytest.mark.parametrize("folder", ["", "code/"])
def test_a_torchserve_handler_predicts(
    folder: str, made: Any, packaged_folder: Any, torchserve: Path, root: Path
) -> None:
    files = {f"{folder}handler.py": TORCHSERVE_HANDLER, f"{folder}names.py": NAMES, "labels.txt": "no yes"}
    model = packaged_folder(made("model.pt", files), "line")
    unpack(model, root)
    with serving(model, root, torchserve) as server:
        server.await_ready("line")
        assert server.ask("/predictions/line", b'{"x": [1, 1]}') == (200, {"label": "yes"})
        assert server.ask("/predictions/line", b'{"x": [-1, -1]}') == (200, {"label": "no"})


def test_eager_weights_with_a_torchserve_handler_predict(
    made: Any, packaged_folder: Any, torchserve: Path, root: Path
) -> None:
    files = {
        "code/handler.py": TORCHSERVE_HANDLER,
        "code/names.py": NAMES,
        "code/model.py": NET,
        "labels.txt": "no yes",
    }
    model = packaged_folder(made("model.pth", files), "line")
    unpack(model, root)
    with serving(model, root, torchserve) as server:
        server.await_ready("line")
        assert server.ask("/predictions/line", b'{"x": [1, 1]}') == (200, {"label": "yes"})


def test_a_handler_reads_settings_and_files_of_its_own(
    made: Any, packaged_folder: Any, torchserve: Path, root: Path
) -> None:
    settings = "minWorkers: 1\nmaxWorkers: 1\nmine: {deep: [1, 2]}\n"
    files = {"code/inference.py": FUNCTION, "assets/words.json": '["a", "b"]', "code/model-config.yaml": settings}
    model = packaged_folder(made("model.pt", files), "words")
    unpack(model, root)
    with serving(model, root, torchserve) as server:
        server.await_ready("words")
        found = {"word": "b", "config": {"deep": [1, 2]}}
        assert server.ask("/predictions/words", b'{"at": 1}') == (200, found)


@pytest.mark.parametrize("layout", ["unpacked", "in one file"])
def test_a_ready_archive_predicts(
    layout: str, made: Any, packaged_folder: Any, torchserve: Path, root: Path, tmp_path: Path
) -> None:
    source = made("model.pt", {"handler.py": TORCHSERVE_HANDLER, "names.py": NAMES, "labels.txt": "no yes"})
    output = tmp_path / "ready"
    output.mkdir()
    archiver = [torchserve / "torch-model-archiver", "--model-name=other", "--version=1.0", f"--export-path={output}"]
    what = ["--serialized-file=model.pt", "--handler=handler.py", "--extra-files=labels.txt,names.py"]
    subprocess.run([*archiver, *what], cwd=source, check=True, timeout=300, capture_output=True)
    model = packaged_folder(output, "line")
    folder = unpack(model, root)
    if layout == "in one file":
        shutil.rmtree(folder)
        folder.with_suffix(".mar").write_bytes(b"".join(model.blobs.chunks(model.artifact.blob)))
    with serving(InOneFile(model) if layout == "in one file" else model, root, torchserve) as server:
        server.await_ready("line")
        assert server.ask("/predictions/line", b'{"x": [1, 1]}') == (200, {"label": "yes"})


def _class_of(server: Server, sample: bytes) -> int:
    status, answer = server.ask("/predictions/digits", sample)
    assert status == 200, answer
    (scores,) = answer["predictions"]
    assert sum(scores) == pytest.approx(1)
    return int(scores.index(max(scores)))


def _workers(server: Server) -> list[int]:
    """The process ids of the model's workers."""
    connection = http.client.HTTPConnection("127.0.0.1", server.ports[TORCHSERVE_MANAGEMENT_PORT], timeout=30)
    try:
        connection.request("GET", "/models/digits")
        return [worker["pid"] for worker in json.load(connection.getresponse())[0]["workers"]]
    finally:
        connection.close()
