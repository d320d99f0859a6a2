"""A version that was built for real, keys, and what others could write into a registry."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from pipelines.image.builder import Builder
from pipelines.image.compression import Compression
from pipelines.image.images import BaseImage, Destination
from pipelines.image.layout import LayoutDestination
from pipelines.image.recipes import StoredRecipes
from pipelines.packagers.torchserve.mar import Entry, write_mar
from pipelines.steps.attest import attest, bill_of
from pipelines.steps.build import BuildInput, build
from pipelines.supply.attesting import Attested
from pipelines.supply.layers import Layers
from pipelines.supply.signing import KeySigner, Signer
from pipelines.supply.subject import Known, Subject, known_of, subject_of
from pipelines.supply.verifying import Verified, verify_image
from registry.facts import Artifact, Delivery, FileFact, Source, Training
from registry.names import VersionRef
from registry.progress import Silent
from registry.registry import Registry
from registry.storage import Storage

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
COMMIT = "4fd3c2b1a09f8e7d6c5b4a39281706f5e4d3c2b1"
ARN = "arn:aws:sagemaker:eu-west-1:123456789012:training-job/fraud-2026-11"
REQUIREMENTS = b"numpy==2.1.0\nscipy>=1.11\n--extra-index-url https://pypi.example/simple\n"
FILES: Mapping[str, bytes] = {
    "model.pt": b"weights" * 1000,
    "code/handler.py": b"def handle(data, context): ...\n",
    "requirements.txt": REQUIREMENTS,
    "MAR-INF/MANIFEST.json": json.dumps(
        {"model": {"modelName": "fraud", "requirementsFile": "requirements.txt"}, "runtime": "python"}
    ).encode(),
}


def _load(path: Path) -> Any:
    """What the tests of images make: bases, and a registry."""
    spec = importlib.util.spec_from_file_location("images_of_tests", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_images = _load(Path(__file__).parents[1] / "image" / "conftest.py")
docker_registry = _images.logged_registry


class World(NamedTuple):
    """A version that was built, and where its image is."""

    registry: Registry
    storage: Storage
    destination: Destination
    ref: VersionRef

    @property
    def known(self) -> Known:
        return known_of(self.registry, self.ref)

    @property
    def subject(self) -> Subject:
        return subject_of(self.destination, self.known)

    @property
    def bill(self) -> bytes:
        return bill_of(self.subject, self.storage.blobs)

    def attest(self, signer: Signer | None = None, progress: Any = None) -> Attested:
        return attest(self.ref, self.registry, self.storage.blobs, self.destination, signer, progress or Silent())

    def verify(self, *signers: Signer, layers: Layers = Layers.PRESENT) -> Verified:
        keys = [signer.public for signer in signers]
        return verify_image(self.destination, self.known, keys, layers, Silent())

    def verdicts(self, *signers: Signer, layers: Layers = Layers.PRESENT) -> dict[str, str]:
        return {check.what: check.verdict.value for check in self.verify(*signers, layers=layers).checks}


class Facts:
    """Progress whose facts are kept."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def bytes(self, what: str, done: int, total: int | None) -> None:
        pass

    def fact(self, text: str) -> None:
        self.told.append(text)


def make_world(
    folder: Path,
    destination: Destination,
    *,
    files: Mapping[str, bytes] = FILES,
    delivery: Delivery = Delivery.IMAGE,
    compression: Compression = Compression.NONE,
    base: BaseImage | None = None,
) -> World:
    storage = Storage.memory()
    registry = Registry(storage, clock=lambda: NOW)
    training = Training(job="fraud-2026-11", arn=ARN, image="123456789012.dkr.ecr.eu-west-1.amazonaws.com/train:2.1")
    source = Source(uri="s3://training/output/fraud-2026-11/model.tar.gz", size=1000, training=training)
    ref = registry.register("fraud", source, actor="tests", git_commit=COMMIT).version.ref
    facts: list[FileFact] = []
    data = b"".join(write_mar([Entry(path, len(data), (data,)) for path, data in files.items()], facts))
    blob = storage.blobs.put([data], what="", progress=Silent())
    artifact = Artifact(
        type="mar", source=_images.digest_of(b"source"), blob=blob.digest, size=blob.size, files=tuple(facts)
    )
    registry.record(ref, artifact)
    builder = Builder(storage.blobs, StoredRecipes(storage.store), destination, Silent())
    under = base or _images.make_base(folder / f"bases-{uuid4().hex}")
    wanted = BuildInput(ref=ref, delivery=delivery, compression=compression)
    build(wanted, registry, builder, lambda _: under, destination, Silent())
    return World(registry, storage, destination, ref)


@pytest.fixture
def images(tmp_path: Path) -> LayoutDestination:
    return LayoutDestination(tmp_path / "images")


@pytest.fixture
def world(tmp_path: Path, images: LayoutDestination) -> World:
    return make_world(tmp_path, images)


@pytest.fixture
def new_world(tmp_path: Path, images: LayoutDestination) -> Callable[..., World]:
    """Makes another version in the same destination, or in the one that is given."""
    return lambda destination=images, **given: make_world(tmp_path, destination, **given)


@pytest.fixture
def facts() -> Facts:
    return Facts()


@pytest.fixture
def signer() -> KeySigner:
    return KeySigner(ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture
def stranger() -> KeySigner:
    """Somebody else's key."""
    return KeySigner(ed25519.Ed25519PrivateKey.generate())


@pytest.fixture
def kit() -> Any:
    """This file, and the one of the tests of images as `images`."""
    module = sys.modules[__name__]
    module.images_of_tests = _images  # type: ignore[attr-defined]
    return module


@pytest.fixture
def openssl(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs openssl."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, cwd=tmp_path)

    return run
