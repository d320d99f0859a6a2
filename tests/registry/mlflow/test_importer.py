"""MLflow's models brought over: with their numbers, whatever breaks off, and without touching what is here."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from registry.audit import audit
from registry.errors import Conflict, NotFound, Unavailable
from registry.facts import Source, SourceKind
from registry.mlflow.importer import Imported, import_all, import_mlflow
from registry.mlflow.reader import Mlflow, MlflowModel, MlflowVersion
from registry.names import AliasRef, VersionRef
from registry.progress import Silent
from registry.registry import Registry
from registry.storage import Storage

MADE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Fake:
    """What the reader gives, without a server."""

    def __init__(self) -> None:
        self.there: dict[str, tuple[MlflowModel, list[MlflowVersion]]] = {}
        self.fails_at: int | None = None

    def add(self, name: str, numbers: list[int], **model: Any) -> None:
        versions = [
            MlflowVersion(
                name=name,
                number=number,
                created_at=MADE,
                user="ann",
                description=f"the {number}",
                tags={"team": "risk"},
                metrics={"auc": number / 10},
                parameters={"lr": "0.1"},
                git_commit="abc1234",
            )
            for number in numbers
        ]
        self.there[name] = MlflowModel(name=name, created_at=MADE, **model), versions

    def models(self) -> Iterator[MlflowModel]:
        return iter([model for model, _ in self.there.values()])

    def versions(self, name: str) -> Iterator[MlflowVersion]:
        return iter(self.there[name][1])

    def archive(self, version: MlflowVersion) -> Iterator[bytes]:
        if version.number == self.fails_at:
            raise Unavailable("MLflow is away: try again.")
        return iter([f"{version.name} {version.number}".encode()])


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def registry() -> Registry:
    return Registry(Storage.memory())


def bring(registry: Registry, fake: Any, name: str = "Fraud", as_name: str | None = None) -> Imported:
    return import_mlflow(registry, fake, name, as_name=as_name, actor="bob", progress=Silent())


def ref(number: int, model: str = "fraud") -> VersionRef:
    return VersionRef(model=model, number=number)


def test_versions_keep_their_numbers_and_what_is_known_of_them(registry: Registry, fake: Fake) -> None:
    fake.add("Fraud", [2, 3, 5], description="finds fraud", tags={"team": "risk"}, aliases={"Champion": 3})
    done = bring(registry, fake)
    assert (done.model, done.versions, done.aliases, done.left_out) == ("fraud", 3, 1, ())
    assert [row.number for row in registry.versions("fraud")] == [5, 3, 2]
    assert [row.number for row in registry.versions("fraud", deleted=True)] == [5, 4, 3, 2, 1]
    third = registry.version(ref(3))
    assert (third.metrics, third.tags, third.git_commit) == ({"auc": 0.3}, {"team": "risk"}, "abc1234")
    assert (third.created_at, third.created_by, third.description) == (MADE, "ann", "the 3")
    assert third.source.hyperparameters == {"lr": "0.1"}
    assert b"".join(registry.storage.outputs.chunks(third)) == b"Fraud 3"
    assert registry.resolve(AliasRef(model="fraud", alias="champion")) == ref(3)
    model = registry.model("fraud")
    assert (model.description, model.tags) == ("finds fraud", {"team": "risk"})
    assert audit(registry.storage, progress=Silent()).findings == ()


def test_again_it_adds_what_is_new_and_nothing_else(registry: Registry, fake: Fake) -> None:
    fake.add("Fraud", [1, 3], aliases={"champion": 3})
    bring(registry, fake)
    registry.set_alias(ref(1), "champion", actor="zoe")
    fake.add("Fraud", [1, 3, 4], aliases={"champion": 4, "candidate": 4})
    done = bring(registry, fake)
    assert (done.versions, done.aliases) == (1, 1)
    assert registry.alias("fraud", "champion").number == 1
    assert registry.alias("fraud", "candidate").number == 4
    assert bring(registry, fake).versions == 0
    assert [row.number for row in registry.versions("fraud")] == [4, 3, 1]


def test_broken_off_it_goes_on_where_it_was(registry: Registry, fake: Fake) -> None:
    fake.add("Fraud", [1, 2, 4])
    fake.fails_at = 4
    with pytest.raises(Unavailable):
        bring(registry, fake)
    fake.fails_at = None
    assert bring(registry, fake).versions == 1
    assert [row.number for row in registry.versions("fraud")] == [4, 2, 1]


def test_a_model_with_versions_of_its_own_is_not_mixed_with_it(registry: Registry, fake: Fake) -> None:
    mine = Source(kind=SourceKind.S3, uri="s3://bucket/model.tar.gz", etag='"1"', size=3)
    registry.register("fraud", mine, actor="zoe")
    fake.add("Fraud", [1, 2])
    with pytest.raises(Conflict, match="fraud has versions of its own here"):
        bring(registry, fake)
    assert [row.number for row in registry.versions("fraud")] == [1]
    assert bring(registry, fake, as_name="fraud-mlflow").versions == 2


def test_another_servers_model_of_the_same_name_is_another_one(registry: Registry, fake: Fake) -> None:
    fake.add("Fraud", [1])
    bring(registry, fake)
    model, versions = fake.there["Fraud"]
    fake.there["Fraud"] = model.model_copy(update={"created_at": datetime(2026, 5, 5, tzinfo=UTC)}), versions
    with pytest.raises(Conflict, match="versions of its own"):
        bring(registry, fake)


def test_what_is_not_there_cannot_be_imported(registry: Registry, fake: Fake) -> None:
    with pytest.raises(NotFound, match="no registered model 'Fraud'"):
        bring(registry, fake)
    fake.add("Fraud", [])
    with pytest.raises(NotFound, match="has no versions"):
        bring(registry, fake)


def test_an_alias_that_cannot_be_one_here_is_told_and_left_out(registry: Registry, fake: Fake) -> None:
    fake.add("Fraud", [1], aliases={"latest": 1, "best": 1})
    done = bring(registry, fake)
    assert done.aliases == 1
    assert [line for line in done.left_out if "latest" in line]


def test_an_alias_of_what_was_deleted_here_is_told_and_left_out(registry: Registry, fake: Fake) -> None:
    fake.add("Fraud", [1, 2])
    bring(registry, fake)
    registry.delete(ref(1), actor="zoe")
    fake.add("Fraud", [1, 2], aliases={"best": 1})
    done = bring(registry, fake)
    assert done.aliases == 0
    assert [line for line in done.left_out if line.startswith("fraud@best: fraud@1 was deleted")]


def test_all_models_at_once_unless_two_would_have_one_name(registry: Registry, fake: Fake) -> None:
    fake.add("Fraud", [1, 2])
    fake.add("Churn model", [1])
    fake.add("empty", [])
    found = list(import_all(registry, fake, actor="bob", progress=Silent()))  # type: ignore[arg-type]
    assert [(one.model, one.versions) for one in found] == [("fraud", 2), ("churn-model", 1)]
    fake.add("churn-model", [1])
    with pytest.raises(Conflict, match="would both be churn-model"):
        list(import_all(registry, fake, actor="bob", progress=Silent()))  # type: ignore[arg-type]


def test_from_a_real_server(registry: Registry, mlflow: Mlflow) -> None:
    done = bring(registry, mlflow, "Fraud Model v2", as_name="fraud")
    assert (done.versions, done.aliases) == (3, 2)
    assert [row.number for row in registry.versions("fraud")] == [5, 3, 1]
    assert registry.resolve(AliasRef(model="fraud", alias="champion")) == ref(3)
    assert registry.version(ref(3)).metrics["auc"] in (0.9, 0.95)
    assert registry.verify(ref(3)).good
    assert bring(registry, mlflow, "Fraud Model v2", as_name="fraud").versions == 0
