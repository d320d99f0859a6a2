"""ECR's catalog, on moto."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from gitops.release import Runtime
from pipelines.image.builder import BuildRequest, build_image
from pipelines.image.ecr import EcrCatalog
from pipelines.image.layout import LayoutDestination, LayoutImage
from pipelines.packagers import packager_of
from registry.aws import Clients
from registry.errors import Conflict
from registry.progress import Silent
from sluice.demo.endpoints import Endpoints

Base = Callable[[Runtime], LayoutImage]


@pytest.fixture
def ecr(endpoints: Endpoints) -> Iterator[Any]:
    client = endpoints.client("ecr")
    yield client
    client.close()


@pytest.fixture
def prefix() -> str:
    return f"p{uuid4().hex[:12]}"


def build(packed: Any, base: Base, destination: Any, **labels: str) -> Any:
    request = BuildRequest(ref=packed.ref, artifact=packed.artifact, created="2026-11-20T12:30:00Z", labels=labels)
    packager = packager_of(packed.artifact)
    built = build_image(request, packager, packed.blobs(), base(packager.runtime), destination, Silent())
    destination.tag(packed.ref.model, f"v{packed.ref.number}", built.reference.digest)
    return built


def images(ecr: Any, repository: str) -> list[tuple[str, list[str]]]:
    found = ecr.describe_images(repositoryName=repository)["imageDetails"]
    return [(image["imageDigest"], image["imageTags"]) for image in found]


def test_an_image_is_entered_under_its_own_digest_in_a_repository_that_is_made(
    digits: Any, base: Base, clients: Clients, ecr: Any, prefix: str, tmp_path: Path
) -> None:
    built = build(digits, base, EcrCatalog(LayoutDestination(tmp_path), clients, prefix))
    (repository,) = ecr.describe_repositories(repositoryNames=[f"{prefix}/digits"])["repositories"]
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert repository["imageScanningConfiguration"] == {"scanOnPush": True}
    assert built.reference.repository == repository["repositoryUri"]
    assert images(ecr, f"{prefix}/digits") == [(built.reference.digest, ["v7"])]
    (stored,) = ecr.batch_get_image(repositoryName=f"{prefix}/digits", imageIds=[{"imageTag": "v7"}])["images"]
    name = built.reference.digest.removeprefix("sha256:")
    assert stored["imageManifest"].encode() == (tmp_path / "digits/blobs/sha256" / name).read_bytes()


def test_the_second_time_nothing_changes(
    digits: Any, base: Base, clients: Clients, ecr: Any, prefix: str, tmp_path: Path
) -> None:
    first = build(digits, base, EcrCatalog(LayoutDestination(tmp_path / "one"), clients, prefix))
    before = ecr.describe_images(repositoryName=f"{prefix}/digits")["imageDetails"]
    repositories = ecr.describe_repositories(repositoryNames=[f"{prefix}/digits"])["repositories"]
    for folder in ("one", "two"):  # the same machine, and another one
        again = build(digits, base, EcrCatalog(LayoutDestination(tmp_path / folder), clients, prefix))
        assert again == first
    assert ecr.describe_images(repositoryName=f"{prefix}/digits")["imageDetails"] == before
    assert ecr.describe_repositories(repositoryNames=[f"{prefix}/digits"])["repositories"] == repositories


@pytest.mark.parametrize("mutability", ["IMMUTABLE", "MUTABLE"])
def test_another_image_under_the_same_tag_is_a_conflict(
    mutability: str, digits: Any, base: Base, clients: Clients, ecr: Any, prefix: str, tmp_path: Path
) -> None:
    ecr.create_repository(repositoryName=f"{prefix}/digits", imageTagMutability=mutability)
    first = build(digits, base, EcrCatalog(LayoutDestination(tmp_path / "one"), clients, prefix))
    with pytest.raises(Conflict, match=r"already has another image named v7, and tags never move: .*\.$"):
        build(digits, base, EcrCatalog(LayoutDestination(tmp_path / "two"), clients, prefix), other="label")
    assert images(ecr, f"{prefix}/digits") == [(first.reference.digest, ["v7"])]


def test_versions_of_a_model_share_a_repository_and_models_do_not(
    pack: Any, wine: Any, base: Base, clients: Clients, ecr: Any, prefix: str, tmp_path: Path, examples: Path
) -> None:
    catalog = EcrCatalog(LayoutDestination(tmp_path), clients, prefix)
    data = (examples / "digits/jobs/digits-2026-11-08/model.tar.gz").read_bytes()
    built = [build(pack(data, f"digits@{number}"), base, catalog) for number in (1, 2)]
    other = build(wine, base, catalog)
    entered = dict(images(ecr, f"{prefix}/digits"))
    assert entered == {built[0].reference.digest: ["v1"], built[1].reference.digest: ["v2"]}
    assert images(ecr, f"{prefix}/wine") == [(other.reference.digest, ["v3"])]
