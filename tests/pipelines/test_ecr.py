"""ECR: its control plane on moto, its data plane on a registry that talks like it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from pipelines.image.ecr import EcrCatalog, EcrCredentials, EcrDestination, EcrRepositories, EcrTemplate
from pipelines.image.layout import LayoutDestination
from pipelines.image.remote.destination import RegistryDestination
from pipelines.image.remote.dialects import ECR
from pipelines.image.remote.names import Place
from pipelines.image.remote.places import open_destination, open_image
from pipelines.image.remote.transport import Transport
from registry.aws import Clients
from registry.errors import Conflict, Refused, SluiceError
from sluice.demo.endpoints import Endpoints
from tests.pipelines.remote.conftest import image, kept, noise
from tests.pipelines.remote.strict import Strict

HOST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


@pytest.fixture
def ecr(endpoints: Endpoints) -> Iterator[Any]:
    client = endpoints.client("ecr")
    yield client
    client.close()


@pytest.fixture
def prefix() -> str:
    return f"p{uuid4().hex[:12]}"


def build(destination: Any, model: str = "digits", version: int = 7, **annotations: str) -> Any:
    made = image(noise(10_000, version), **annotations)
    made.put(destination, model)
    reference = destination.push(model, made.manifest)
    destination.tag(model, f"v{version}", reference.digest)
    return reference


def images(ecr: Any, repository: str) -> list[tuple[str, list[str]]]:
    found = ecr.describe_images(repositoryName=repository)["imageDetails"]
    return [(item["imageDigest"], item["imageTags"]) for item in found]


# the list of images


def test_an_image_is_entered_under_its_own_digest_in_a_repository_that_is_made(
    clients: Clients, ecr: Any, prefix: str, tmp_path: Path
) -> None:
    reference = build(EcrCatalog(LayoutDestination(tmp_path), clients, prefix))
    (repository,) = ecr.describe_repositories(repositoryNames=[f"{prefix}/digits"])["repositories"]
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert repository["imageScanningConfiguration"] == {"scanOnPush": True}
    assert reference.repository == repository["repositoryUri"]
    assert images(ecr, f"{prefix}/digits") == [(reference.digest, ["v7"])]
    (stored,) = ecr.batch_get_image(repositoryName=f"{prefix}/digits", imageIds=[{"imageTag": "v7"}])["images"]
    name = reference.digest.removeprefix("sha256:")
    assert stored["imageManifest"].encode() == (tmp_path / "digits/blobs/sha256" / name).read_bytes()


def test_the_second_time_nothing_changes(clients: Clients, ecr: Any, prefix: str, tmp_path: Path) -> None:
    first = build(EcrCatalog(LayoutDestination(tmp_path / "one"), clients, prefix))
    before = ecr.describe_images(repositoryName=f"{prefix}/digits")["imageDetails"]
    repositories = ecr.describe_repositories(repositoryNames=[f"{prefix}/digits"])["repositories"]
    for folder in ("one", "two"):  # the same machine, and another one
        assert build(EcrCatalog(LayoutDestination(tmp_path / folder), clients, prefix)) == first
    assert ecr.describe_images(repositoryName=f"{prefix}/digits")["imageDetails"] == before
    assert ecr.describe_repositories(repositoryNames=[f"{prefix}/digits"])["repositories"] == repositories


@pytest.mark.parametrize("mutability", ["IMMUTABLE", "MUTABLE"])
def test_another_image_under_the_same_tag_is_a_conflict(
    mutability: str, clients: Clients, ecr: Any, prefix: str, tmp_path: Path
) -> None:
    ecr.create_repository(repositoryName=f"{prefix}/digits", imageTagMutability=mutability)
    first = build(EcrCatalog(LayoutDestination(tmp_path / "one"), clients, prefix))
    with pytest.raises(Conflict, match=r"already has another image named v7, and tags never move: .*\.$"):
        build(EcrCatalog(LayoutDestination(tmp_path / "two"), clients, prefix), other="label")
    assert images(ecr, f"{prefix}/digits") == [(first.digest, ["v7"])]


def test_versions_of_a_model_share_a_repository_and_models_do_not(
    clients: Clients, ecr: Any, prefix: str, tmp_path: Path
) -> None:
    catalog = EcrCatalog(LayoutDestination(tmp_path), clients, prefix)
    one, two, other = build(catalog, version=1), build(catalog, version=2), build(catalog, "wine", 3)
    assert dict(images(ecr, f"{prefix}/digits")) == {one.digest: ["v1"], two.digest: ["v2"]}
    assert images(ecr, f"{prefix}/wine") == [(other.digest, ["v3"])]
    assert catalog.tagged("digits", "v1") == one.digest
    assert catalog.tagged("digits", "v9") is None
    assert catalog.tagged("none", "v1") is None


# repositories


def test_a_repository_is_made_from_the_template(clients: Clients, ecr: Any, prefix: str) -> None:
    template = EcrTemplate(
        scan_on_push=False, kms_key="alias/images", tags={"team": "fraud", "cost": "7"}, untagged_days=14
    )
    uri = EcrRepositories(clients.ecr(), template).uri(f"{prefix}/m")
    (made,) = ecr.describe_repositories(repositoryNames=[f"{prefix}/m"])["repositories"]
    assert made["repositoryUri"] == uri
    assert made["imageTagMutability"] == "IMMUTABLE"
    assert made["imageScanningConfiguration"] == {"scanOnPush": False}
    assert made["encryptionConfiguration"] == {"encryptionType": "KMS", "kmsKey": "alias/images"}
    tags = ecr.list_tags_for_resource(resourceArn=made["repositoryArn"])["tags"]
    assert tags == [{"Key": "cost", "Value": "7"}, {"Key": "team", "Value": "fraud"}]
    policy = json.loads(ecr.get_lifecycle_policy(repositoryName=f"{prefix}/m")["lifecyclePolicyText"])
    (rule,) = policy["rules"]
    assert rule["selection"]["tagStatus"] == "untagged"
    assert rule["selection"]["countNumber"] == 14


def test_a_policy_that_is_there_is_left_and_one_that_is_missing_is_made_up_for(
    clients: Clients, ecr: Any, prefix: str
) -> None:
    ecr.create_repository(repositoryName=f"{prefix}/m")  # a build died before the policy
    EcrRepositories(clients.ecr(), EcrTemplate(untagged_days=3)).uri(f"{prefix}/m")
    before = ecr.get_lifecycle_policy(repositoryName=f"{prefix}/m")["lifecyclePolicyText"]
    EcrRepositories(clients.ecr(), EcrTemplate(untagged_days=9)).uri(f"{prefix}/m")
    assert ecr.get_lifecycle_policy(repositoryName=f"{prefix}/m")["lifecyclePolicyText"] == before


def test_without_days_there_is_no_policy(clients: Clients, ecr: Any, prefix: str) -> None:
    EcrRepositories(clients.ecr()).uri(f"{prefix}/m")
    with pytest.raises(ecr.exceptions.LifecyclePolicyNotFoundException):
        ecr.get_lifecycle_policy(repositoryName=f"{prefix}/m")


def test_many_builders_make_it_once(clients: Clients, ecr: Any, prefix: str) -> None:
    uris: list[str] = []
    start = threading.Barrier(6)

    def run() -> None:
        start.wait()
        uris.append(EcrRepositories(clients.ecr()).uri(f"{prefix}/m"))

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (made,) = ecr.describe_repositories(repositoryNames=[f"{prefix}/m"])["repositories"]
    assert uris == [made["repositoryUri"]] * 6


class Counted:
    """A client of which the calls are counted."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def call(**arguments: Any) -> Any:
            self.calls.append(name)
            return method(**arguments)

        return call


def test_a_repository_is_looked_for_once(clients: Clients, prefix: str) -> None:
    counted: Any = Counted(clients.ecr())
    repositories = EcrRepositories(counted)
    for _ in range(3):
        repositories.uri(f"{prefix}/m")
    assert counted.calls == ["describe_repositories", "create_repository"]


@pytest.mark.parametrize("field", [{"untagged_days": 0}, {"mutable": True}, {"untagged_days": "soon"}])
def test_what_is_no_template(field: Any) -> None:
    with pytest.raises(ValidationError):
        EcrTemplate(**field)


# the way in


class Tokens:
    """An ECR that gives a password whenever it is asked, a different one each time."""

    def __init__(self, text: str = "AWS:pw{}") -> None:
        self.given = 0
        self.text = text
        self.expires = datetime(2026, 11, 20, 12, tzinfo=UTC)

    def get_authorization_token(self) -> Any:
        self.given += 1
        token = base64.b64encode(self.text.format(self.given).encode()).decode()
        return {"authorizationData": [{"authorizationToken": token, "expiresAt": self.expires}]}


def test_a_password_is_renewed_before_it_expires() -> None:
    tokens: Any = Tokens()
    now = [tokens.expires - timedelta(hours=12)]
    credentials = EcrCredentials(tokens, clock=lambda: now[0].timestamp())
    assert [credentials.login(HOST) for _ in range(3)] == [("AWS", "pw1")] * 3
    now[0] = tokens.expires - timedelta(minutes=11)
    assert credentials.login(HOST) == ("AWS", "pw1")
    now[0] = tokens.expires - timedelta(minutes=9)
    tokens.expires += timedelta(hours=12)
    assert [credentials.login(HOST) for _ in range(2)] == [("AWS", "pw2")] * 2
    credentials.forget(HOST)
    assert credentials.login(HOST) == ("AWS", "pw3")


def test_a_password_that_is_none() -> None:
    tokens: Any = Tokens("nonsense")
    with pytest.raises(SluiceError, match="gives a password that is none"):
        EcrCredentials(tokens).login(HOST)


def test_moto_gives_one(clients: Clients) -> None:
    login = EcrCredentials(clients.ecr()).login(HOST)
    assert login is not None
    assert login.user == "AWS"


@pytest.mark.parametrize("status", [401, 403])
def test_a_password_that_expired_in_the_middle_is_renewed(status: int) -> None:
    tokens: Any = Tokens()
    tokens.expires = datetime.now(UTC) + timedelta(hours=12)
    with Strict(ecr=True, auth="basic").serving() as registry:
        registry.users = {"AWS": "pw1"}
        registry.denies = status
        destination = RegistryDestination(
            Place.parse(f"{registry.host}/p"),
            Transport(registry.host, EcrCredentials(tokens), sleep=lambda seconds: None),
            ECR,
        )
        destination.put("m", kept(noise(2_000_000)))
        registry.users = {"AWS": "pw2"}
        data = noise(2_000_001)
        assert destination.put("m", kept(data)).size == len(data)
        registry.users = {"AWS": "somebody else's"}
        with pytest.raises(Refused, match=r"does not let us at .*: log in"):
            destination.put("m", kept(noise(2_000_002)))


# both planes


def test_the_repository_is_there_before_the_first_bytes(clients: Clients, ecr: Any, prefix: str) -> None:
    counted: Any = Counted(clients.ecr())
    with Strict(ecr=True).serving() as registry:
        registry.repositories = set()

        class Both(EcrRepositories):
            """moto and the registry know of the same repositories."""

            def uri(self, name: str) -> str:
                uri = super().uri(name)
                registry.repositories.add(name)
                return uri

        place = Place.parse(f"{registry.host}/{prefix}")
        inner = RegistryDestination(place, Transport(registry.host), ECR)
        destination = EcrDestination(inner, Both(counted, account="123456789012"), place.repository)
        made = image(noise(2_000_000), b"x")
        assert not destination.has("digits", made.digest)
        assert destination.tagged("digits", "v7") is None
        assert counted.calls == []  # looking makes nothing
        first = build(destination)
        assert first.repository == f"{registry.host}/{prefix}/digits"
        assert registry.tags == {f"{prefix}/digits": {"v7": first.digest}}
        assert build(destination) == first
        assert counted.calls == ["describe_repositories", "create_repository"]
        with pytest.raises(Conflict, match="already has another image named v7"):
            build(destination, other="label")
        assert destination.manifest("digits", first.digest)
        assert destination.referrers("digits", first.digest) == ()


def test_a_place_in_ecr_is_opened_with_its_own_region(clients: Clients) -> None:
    asked: list[str] = []

    def of(region: str) -> Clients:
        asked.append(region)
        return clients

    assert isinstance(open_destination(f"{HOST}/models", of), EcrDestination)
    open_image("763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.6", clients=of)
    open_image("public.ecr.aws/x/y:1", clients=of)
    open_destination("example.com/x", of)
    assert asked == ["eu-west-1", "us-east-1"]
