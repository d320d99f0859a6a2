"""Registries of a size, written as the registry writes them when many register at once: 64 versions an entry."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from registry import keys
from registry.changes import Model
from registry.facts import ENTRY_MAX, Channel, Entry, Source, Training, Version
from registry.records import Records
from registry.registry import Registry
from registry.storage import Storage

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def version(model: str, number: int) -> Version:
    """A version with what a training job usually tells."""
    job = f"{model}-2026-01-01-{number:06d}"
    training = Training(
        job=job,
        arn=f"arn:aws:sagemaker:eu-west-1:123456789012:training-job/{job}",
        image="123456789012.dkr.ecr.eu-west-1.amazonaws.com/training:2.3",
        hyperparameters={"lr": "0.1", "epochs": "20", "depth": "6"},
        metrics={"auc": 0.9, "loss": 0.2},
        inputs=(Channel(name="train", uri=f"s3://training/{model}/2026-01-01/"),),
        instance_type="ml.g5.xlarge",
        instance_count=1,
    )
    source = Source(uri=f"s3://training/{model}/{number}/model.tar.gz", etag='"0"', size=1_000_000, training=training)
    return Version(
        model=model,
        number=number,
        source=source,
        metrics=training.metrics,
        tags={"team": "risk"},
        created_at=NOW,
        created_by="ann@example.com",
    )


def fill(storage: Storage, model: str, count: int) -> None:
    """Write a model with so many versions."""
    records = Records(storage.store)
    records.create(keys.model(model), Model(name=model, created_at=NOW, created_by="ann@example.com"))

    def write(first: int) -> None:
        versions = tuple(version(model, n) for n in range(first, min(first + ENTRY_MAX, count + 1)))
        records.create(keys.entry(versions[0].ref), Entry(token=f"fill-{first}", versions=versions))

    with ThreadPoolExecutor(8) as writers:
        list(writers.map(write, range(1, count + 1, ENTRY_MAX)))


def fill_many(storage: Storage, models: int, each: int) -> None:
    """Write so many models with so many versions each."""
    with ThreadPoolExecutor(8) as writers:
        list(writers.map(lambda number: fill(storage, f"m{number:04d}", each), range(models)))


def index(storage: Storage, *models: str) -> None:
    """Make the index of these models, or of all and the catalog."""
    registry = Registry(storage)
    for model in models:
        registry.rebuild(model)
    if not models:
        registry.rebuild()
