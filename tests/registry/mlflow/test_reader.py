"""Reading a real MLflow: the server and its store, through the executable that SLUICE_MLFLOW names."""

import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from registry.errors import InvalidInput, NotFound, Refused, Unavailable
from registry.mlflow.reader import Mlflow, MlflowVersion
from registry.mlflow.server import find_mlflow, parse_store

needs_mlflow = pytest.mark.skipif(
    shutil.which(os.environ.get("SLUICE_MLFLOW") or "mlflow") is None,
    reason="no mlflow: set SLUICE_MLFLOW to its executable",
)
FILES = {"MLmodel": b"flavors: {}\n", "data-x": b"x" * 700, "data/a b.txt": b"1", "data/50%.txt": b"2", "data/é": b""}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
IN_ORDER = ["MLmodel", "data-x", "data/50%.txt", "data/a b.txt", "data/é"]


def members(archive: Iterator[bytes]) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(b"".join(archive)), mode="r:gz") as tar:
        return {each.name: tar.extractfile(each).read() for each in tar}  # type: ignore[union-attr]


@needs_mlflow
def test_all_models_but_prompts_are_listed_with_what_people_said_of_them(mlflow: Mlflow) -> None:
    models = {model.name: model for model in mlflow.models()}
    assert {"Fraud Model v2", "O'Brien", 'say "hi"', "both '\"", "100% -- back\\", "logged", "places"} <= set(models)
    assert "prompt" not in models
    fraud = models["Fraud Model v2"]
    assert (fraud.description, fraud.tags, fraud.aliases) == (
        "Finds fraud.",
        {"team": "risk"},
        {"champion": 3, "best": 3},
    )
    assert abs((datetime.now(UTC) - fraud.created_at).total_seconds()) < 3600


@needs_mlflow
def test_versions_rise_and_deleted_ones_are_gaps(mlflow: Mlflow, content: Any) -> None:
    versions = [*mlflow.versions("Fraud Model v2")]
    assert [version.number for version in versions] == [1, 3, 5]
    third = versions[1]
    assert third.metrics["auc"] in (0.9, 0.95)
    assert third.metrics["loss"] != third.metrics["loss"]
    assert third.model_dump(exclude={"metrics", "created_at", "source"}) == {
        "name": "Fraud Model v2",
        "number": 3,
        "user": "ann",
        "description": "Better.",
        "tags": {"data": "2026-10"},
        "parameters": {"lr": "0.1"},
        "run_id": content.run,
        "git_commit": COMMIT,
        "aliases": ("best", "champion"),
        "stage": "",
    }


@needs_mlflow
@pytest.mark.parametrize("name", ["O'Brien", 'say "hi"', "both '\"", "100% -- back\\"])
def test_a_name_is_asked_for_whatever_it_is_made_of(mlflow: Mlflow, name: str) -> None:
    assert [(version.name, version.number) for version in mlflow.versions(name)] == [(name, 1)]


@needs_mlflow
def test_pages_are_followed(mlflow: Mlflow, monkeypatch: pytest.MonkeyPatch) -> None:
    all_of_them = [*mlflow.models()]
    monkeypatch.setattr("registry.mlflow.reader._PAGE", 2)
    assert [*mlflow.models()] == all_of_them
    assert [version.number for version in mlflow.versions("Fraud Model v2")] == [1, 3, 5]


@needs_mlflow
def test_an_unknown_model_is_not_found(mlflow: Mlflow) -> None:
    with pytest.raises(NotFound, match="nope"):
        next(mlflow.versions("nope"))


@needs_mlflow
def test_the_archive_is_the_models_folder_and_always_the_same_bytes(mlflow: Mlflow) -> None:
    first, *others = mlflow.versions("Fraud Model v2")
    found = members(mlflow.archive(first))
    assert [*found] == IN_ORDER
    assert found == FILES
    digests = {hashlib.sha256(b"".join(mlflow.archive(version))).hexdigest() for version in (first, *others)}
    assert len(digests) == 1


@needs_mlflow
def test_a_logged_model_brings_its_own_place_and_metrics(mlflow: Mlflow) -> None:
    (version,) = mlflow.versions("logged")
    assert version.source.startswith("models:/m-")
    assert version.metrics["auc"] == 0.95
    assert members(mlflow.archive(version)) == FILES


@needs_mlflow
def test_a_place_may_be_one_file_or_a_runs_folder_or_nothing(mlflow: Mlflow, no_waits: None) -> None:
    single, by_run, gone = mlflow.versions("places")
    assert members(mlflow.archive(single)) == {"model.pt": b"weights"}
    assert members(mlflow.archive(by_run)) == FILES
    with pytest.raises(NotFound, match="nothing is there"):
        mlflow.archive(gone)
    (foreign,) = mlflow.versions("elsewhere")
    with pytest.raises(InvalidInput, match="gs: addresses"):
        mlflow.archive(foreign)


@needs_mlflow
def test_a_model_in_s3_is_read_from_there(
    mlflow: Mlflow, content: Any, writer_of: Any, raw_s3: Any, new_bucket: Callable[[], str]
) -> None:
    bucket = new_bucket()
    for name, data in FILES.items():
        raw_s3.put_object(Bucket=bucket, Key=f"some/model/{name}", Body=data)
    writer = writer_of(content.url)
    writer.model("s3", [f"s3://{bucket}/some/model", f"s3://{bucket}/some/model/data-x", f"s3://{bucket}/nothing"])
    writer.close()
    folder, single, gone = mlflow.versions("s3")
    (proxied, *_) = mlflow.versions("Fraud Model v2")
    assert b"".join(mlflow.archive(folder)) == b"".join(mlflow.archive(proxied))
    assert members(mlflow.archive(single)) == {"data-x": FILES["data-x"]}
    with pytest.raises(NotFound):
        mlflow.archive(gone)
    for name in FILES:
        raw_s3.delete_object(Bucket=bucket, Key=f"some/model/{name}")


@needs_mlflow
def test_a_store_without_a_server_is_read_through_one_that_ends_with_it(content: Any) -> None:
    told: list[str] = []
    with Mlflow(f"sqlite:///{content.store}", tell=told.append) as mlflow:
        assert mlflow._server
        url, group = mlflow._server.url, mlflow._server._keeper.pid
        assert url.startswith("http://127.0.0.1:")
        versions = [*mlflow.versions("Fraud Model v2")]
        assert [version.number for version in versions] == [1, 3, 5]
        assert members(mlflow.archive(versions[0])) == FILES
    assert len(told) == 1
    assert alive(group) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health", trust_env=False)


@needs_mlflow
def test_a_folder_store_has_files_of_this_machine(tmp_path: Path, writer_of: Any) -> None:
    store = tmp_path / "mlruns"
    (store / "models").mkdir(parents=True)
    with Mlflow(str(store)) as mlflow:
        writer = writer_of(mlflow._rest.url)
        run, artifacts = writer.run(writer.send("experiments/create", name="e")["experiment_id"])
        writer.put(f"{artifacts}/model", FILES)
        for number, source in enumerate(
            ("", f"file://{store}/1/x", str(store / "1/x"), "mlruns/1/x", "file:///etc", "..")
        ):
            writer.model(f"own-{number}", [f"{artifacts}/model"], run)
            meta = store / "models" / f"own-{number}" / "version-1" / "meta.yaml"
            meta.write_text(meta.read_text().replace(f"{artifacts}/model", source or f"{artifacts}/model"))
        writer.close()
        disk = store / "1" / "x"
        for name, data in FILES.items():
            (disk / name).parent.mkdir(parents=True, exist_ok=True)
            (disk / name).write_bytes(data)
        archives = {}
        for name in ("own-0", "own-1", "own-2", "own-3"):
            (version,) = mlflow.versions(name)
            archives[name] = b"".join(mlflow.archive(version))
        assert len(set(archives.values())) == 1
        for name in ("own-4", "own-5"):
            (version,) = mlflow.versions(name)
            with pytest.raises(Refused):
                mlflow.archive(version)
        (disk / "link").symlink_to("/etc/passwd")
        (version,) = mlflow.versions("own-1")
        with pytest.raises(Refused, match="link"):
            b"".join(mlflow.archive(version))


@needs_mlflow
def test_what_mlflow_cannot_open_is_told_in_its_words(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database at all, but long enough to be looked at" * 10)
    started = time.monotonic()
    with pytest.raises(Unavailable, match="not a database"):
        Mlflow(f"sqlite:///{tmp_path}/mlflow.db")
    assert time.monotonic() - started < 100


@needs_mlflow
def test_the_server_does_not_outlive_a_killed_process(content: Any) -> None:
    script = (
        "import sys; from registry.mlflow.reader import Mlflow; m = Mlflow(sys.argv[1]);"
        "print(m._server._keeper.pid, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, f"sqlite:///{content.store}"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root) as process:
        assert process.stdout
        group = int(process.stdout.readline())
        assert alive(group)
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while alive(group):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def alive(group: int) -> list[str]:
    """The processes of a group that have not ended, a line each."""
    found = subprocess.run(["ps", "-A", "-o", "pgid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    lines = [line.split(maxsplit=2) for line in found.splitlines()]
    return [line[2] for line in lines if int(line[0]) == group and not line[1].startswith("Z")]


def test_a_store_takes_an_mlflow_of_the_persons_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLUICE_MLFLOW", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidInput, match="pip install mlflow"):
        Mlflow(str(tmp_path))
    monkeypatch.setenv("SLUICE_MLFLOW", "/nowhere/mlflow")
    with pytest.raises(InvalidInput, match="/nowhere/mlflow"):
        find_mlflow()


@pytest.mark.parametrize(
    ("uri", "error"),
    [
        ("databricks://profile", InvalidInput),
        ("sqlite:////nowhere/mlflow.db", NotFound),
        ("/nowhere/mlruns", NotFound),
        ("file:///nowhere/mlruns", NotFound),
        (__file__, InvalidInput),
        ("http://", InvalidInput),
        ("http://host:port", InvalidInput),
        ("http://user:secret@host", InvalidInput),
        ("http://host/?x=1", InvalidInput),
    ],
)
def test_an_address_that_cannot_be_is_told_without_its_password(uri: str, error: type[Exception]) -> None:
    with pytest.raises(error) as told:
        Mlflow(uri)
    assert "secret" not in str(told.value)


def test_a_database_elsewhere_knows_no_files_of_this_machine() -> None:
    there = parse_store("postgresql+psycopg2://ann:secret@db.example:5432/mlflow")
    assert (there.folder, there.shown) == (None, "postgresql+psycopg2://db.example:5432/mlflow")
    assert parse_store("mysql://ann:secret@localhost/mlflow").folder == Path.cwd()


def test_values_are_frozen() -> None:
    version = MlflowVersion(name="a", number=1, created_at=datetime.now(UTC))
    with pytest.raises(ValueError, match="frozen"):
        version.name = "b"
