"""Train every example model and write what SageMaker would leave behind: jobs/<name>/{model.tar.gz,job.json}.

Run it as `python examples/make.py`; requirements.txt names what it needs. The committed files come from it.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sklearn.datasets import load_digits, load_wine
from sklearn.model_selection import train_test_split

HERE = Path(__file__).resolve().parent
REGISTRY = "763104351884.dkr.ecr.us-east-1.amazonaws.com"  # where AWS keeps its deep learning containers
IMAGES = {
    "digits": f"{REGISTRY}/pytorch-training:2.6.0-gpu-py312-cu126-ubuntu22.04-sagemaker",
    "wine": f"{REGISTRY}/tensorflow-training:2.19.0-gpu-py312-cu125-ubuntu22.04-sagemaker",
}
METRIC = re.compile(r"^(train|validation)_(loss|accuracy)=(\d+\.\d+)$", re.MULTILINE)
LARGEST = 150_000  # bytes; the archives are kept in git


@dataclass(frozen=True)
class Job:
    """One training: which model, what the job is called, and its hyperparameters."""

    model: str
    name: str
    hyperparameters: dict[str, str]


JOBS = (
    Job("digits", "digits-2026-11-01", {"epochs": "4", "hidden": "24", "learning-rate": "0.003", "seed": "7"}),
    Job("digits", "digits-2026-11-08", {"epochs": "40", "hidden": "96", "learning-rate": "0.003", "seed": "7"}),
    Job(
        "digits",
        "digits-2026-11-15",
        {"dropout": "0.5", "epochs": "15", "hidden": "128", "learning-rate": "0.05", "seed": "7"},
    ),
    Job("wine", "wine-2026-11-10", {"epochs": "60", "hidden": "16", "learning-rate": "0.01", "seed": "7"}),
)


def train(job: Job, model_dir: Path) -> dict[str, float]:
    """Run the model's train.py as SageMaker's script mode does; return the metrics that it printed."""
    flags = [part for key, value in job.hyperparameters.items() for part in (f"--{key}", value)]
    environment = os.environ | {
        "SM_MODEL_DIR": str(model_dir),
        "PYTHONHASHSEED": "0",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": "0",  # oneDNN orders its sums by processor, which changes the last digits
    }
    run = subprocess.run(
        [sys.executable, "-B", "train.py", *flags],
        cwd=HERE / job.model,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return {f"{part}:{name}": float(value) for part, name, value in METRIC.findall(run.stdout)}


def refuse_traces(path: Path) -> None:
    """Stop if a trained file names a folder of this machine: such a path must not be published."""
    content = path.read_bytes()
    for folder in (HERE, Path(sys.prefix), Path(tempfile.gettempdir()), Path.home()):
        if f"{folder}/".encode() in content:
            raise SystemExit(f"{path.name} contains the local path {folder}; strip it in train.py.")


def pack(model_dir: Path, archive: Path) -> None:
    """Write model.tar.gz: the files under `model_dir` at its root; the same files give the same bytes."""
    with (
        archive.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for path in sorted(path for path in model_dir.rglob("*") if path.is_file()):
            refuse_traces(path)
            member = tarfile.TarInfo(path.relative_to(model_dir).as_posix())
            member.size = path.stat().st_size
            member.mode = 0o644
            with path.open("rb") as content:
                tar.addfile(member, content)
    if archive.stat().st_size > LARGEST:
        raise SystemExit(f"{archive.name} is larger than {LARGEST} bytes; make the model smaller.")


def describe(job: Job, metrics: dict[str, float]) -> dict[str, object]:
    """The job as SageMaker's CreateTrainingJob takes it, and the FinalMetricDataList of its result."""
    names = ("validation:accuracy", "validation:loss", "train:loss")
    source = {
        "S3DataType": "S3Prefix",
        "S3Uri": f"s3://sluice-demo-training/data/{job.model}/",
        "S3DataDistributionType": "FullyReplicated",
    }
    return {
        "TrainingJobName": job.name,
        "AlgorithmSpecification": {"TrainingImage": IMAGES[job.model], "TrainingInputMode": "File"},
        "RoleArn": "arn:aws:iam::123456789012:role/sluice-demo-training",
        "HyperParameters": job.hyperparameters,
        "InputDataConfig": [{"ChannelName": "training", "DataSource": {"S3DataSource": source}}],
        "OutputDataConfig": {"S3OutputPath": "s3://sluice-demo-training/output"},
        "ResourceConfig": {"InstanceType": "ml.g4dn.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        "FinalMetricDataList": [{"MetricName": name, "Value": metrics[name]} for name in names],
        "Tags": [{"Key": "team", "Value": "examples"}],
    }


def make(job: Job) -> None:
    target = HERE / job.model / "jobs" / job.name
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        metrics = train(job, Path(folder))
        pack(Path(folder), target / "model.tar.gz")
    write_json(target / "job.json", describe(job, metrics))
    size = (target / "model.tar.gz").stat().st_size
    print(f"{job.name}: {size} bytes, accuracy {metrics['validation:accuracy']:.6f}", flush=True)


def sample(model: str) -> None:
    """Write one real request, a row of the validation data that every job gets right, and its class."""
    features, labels = {"digits": load_digits, "wine": load_wine}[model](return_X_y=True)
    _, valid_x, _, valid_y = train_test_split(features, labels, test_size=0.25, random_state=0, stratify=labels)
    write_json(HERE / model / "sample.json", {"instances": [valid_x[1].tolist()]}, indent=None)
    write_json(HERE / model / "sample.expected.json", {"class": int(valid_y[1])}, indent=None)


def write_json(path: Path, value: object, indent: int | None = 2) -> None:
    path.write_text(json.dumps(value, indent=indent) + "\n", encoding="utf-8")


def main() -> None:
    for model in IMAGES:
        sample(model)
    for job in JOBS:
        make(job)


if __name__ == "__main__":
    main()
