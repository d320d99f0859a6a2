"""A real MLflow with something in it, started once for each test process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from registry.aws import Clients
from registry.errors import InvalidInput
from registry.mlflow.reader import Mlflow
from registry.mlflow.server import OwnServer, find_mlflow, parse_store

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {"MLmodel": b"flavors: {}\n", "data-x": b"x" * 700, "data/a b.txt": b"1", "data/50%.txt": b"2", "data/é": b""}


class Content(NamedTuple):
    """What is in the MLflow of this session."""

    url: str
    store: Path
    run: str


class Writer:
    """Writes into an MLflow server over REST, as its own client does."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = httpx.Client(trust_env=False)

    def close(self) -> None:
        self._client.close()

    def send(self, path: str, method: str = "POST", **body: Any) -> Any:
        answer = self._client.request(method, f"{self._url}/api/2.0/mlflow/{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def put(self, artifacts: str, files: dict[str, bytes]) -> None:
        root = artifacts.removeprefix("mlflow-artifacts:/")
        for name, data in files.items():
            quoted = name.replace("%", "%25")
            url = f"{self._url}/api/2.0/mlflow-artifacts/artifacts/{root}/{quoted}"
            assert self._client.put(url, content=data).is_success

    def run(self, experiment: str = "0") -> tuple[str, str]:
        tags = [{"key": "mlflow.source.git.commit", "value": COMMIT}, {"key": "mlflow.user", "value": "ann"}]
        info = self.send("runs/create", experiment_id=experiment, tags=tags)["run"]["info"]
        values = [("auc", 0.5, 1), ("auc", 0.9, 2), ("loss", "NaN", 1)]
        metrics = [{"key": k, "value": v, "timestamp": t, "step": t} for k, v, t in values]
        self.send("runs/log-batch", run_id=info["run_id"], metrics=metrics, params=[{"key": "lr", "value": "0.1"}])
        return info["run_id"], info["artifact_uri"]

    def model(self, name: str, sources: list[str], run: str = "", **more: Any) -> None:
        self.send("registered-models/create", name=name, **more)
        for source in sources:
            logged = {"model_id": source.removeprefix("models:/")} if source.startswith("models:/") else {}
            self.send("model-versions/create", name=name, source=source, run_id=run, **logged)


def fill(writer: Writer) -> str:
    run, artifacts = writer.run()
    writer.put(f"{artifacts}/model", FILES)
    writer.put(f"{artifacts}/single", {"model.pt": b"weights"})
    model = f"{artifacts}/model"
    tags = [{"key": "team", "value": "risk"}]
    writer.model("Fraud Model v2", [model] * 6, run, description="Finds fraud.", tags=tags)
    for number in ("2", "4", "6"):
        writer.send("model-versions/delete", "DELETE", name="Fraud Model v2", version=number)
    writer.send("registered-models/alias", name="Fraud Model v2", alias="champion", version="3")
    writer.send("registered-models/alias", name="Fraud Model v2", alias="best", version="3")
    writer.send("model-versions/update", "PATCH", name="Fraud Model v2", version="3", description="Better.")
    writer.send("model-versions/set-tag", name="Fraud Model v2", version="3", key="data", value="2026-10")
    for name in ("O'Brien", 'say "hi"', "both '\"", "100% -- back\\"):
        writer.model(name, [model], run)
    logged = writer.send("logged-models", experiment_id="0", name="m", source_run_id=run)["model"]["info"]
    writer.put(logged["artifact_uri"], FILES)
    metric = {"key": "auc", "value": 0.95, "timestamp": 3, "step": 3, "model_id": logged["model_id"]}
    writer.send("runs/log-batch", run_id=run, metrics=[metric])
    writer.model("logged", [f"models:/{logged['model_id']}"], run)
    writer.model("places", [f"{artifacts}/single/model.pt", f"runs:/{run}/model", f"{artifacts}/gone"], run)
    writer.model("elsewhere", ["gs://bucket/model"])
    writer.model("prompt", [], tags=[{"key": "mlflow.prompt.is_prompt", "value": "true"}])
    return run


@pytest.fixture(scope="session")
def content(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Content]:
    try:
        find_mlflow()
    except InvalidInput:
        pytest.skip("no mlflow: set SLUICE_MLFLOW to its executable")
    store = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    store.touch()
    server = OwnServer(parse_store(f"sqlite:///{store}"))
    writer = Writer(server.url)
    try:
        yield Content(server.url, store, fill(writer))
    finally:
        writer.close()
        server.close()


@pytest.fixture
def mlflow(content: Content, clients: Clients) -> Iterator[Mlflow]:
    with Mlflow(content.url, clients=clients) as mlflow:
        yield mlflow


@pytest.fixture
def writer_of() -> type[Writer]:
    """Makes a writer for an address."""
    return Writer
