"""Registries to push to, and what is pushed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest

from pipelines.image.content import Content, Data, Kept
from pipelines.image.images import Destination
from pipelines.image.oci import CONFIG_TYPE, LAYER_TYPE, Descriptor, Manifest, dump
from pipelines.image.remote.credentials import Credentials, Login
from pipelines.image.remote.destination import RegistryDestination
from pipelines.image.remote.dialects import ECR, OCI
from pipelines.image.remote.names import Place
from pipelines.image.remote.transport import Patience, Transport
from tests.pipelines.remote.strict import Strict

QUICK = Patience(connect=5, stall=2, commit=4, pause=3)


class User(NamedTuple):
    """Credentials that are always the same."""

    name: str = "builder"
    secret: str = "s3cret"

    def login(self, host: str) -> Login | None:
        return Login(self.name, self.secret)

    def forget(self, host: str) -> None:
        """There are no others."""


class Naps:
    """A sleep that does not, and remembers."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


class Opened(NamedTuple):
    """A strict registry, and what pushes to it."""

    registry: Strict
    destination: RegistryDestination
    transport: Transport
    naps: Naps


@pytest.fixture
def opened() -> Iterator[Callable[..., Opened]]:
    """Starts a strict registry: `opened(auth="bearer", ecr=True)`."""
    with ExitStack() as stack:

        def start(credentials: Credentials | None = None, patience: Patience = QUICK, **options: Any) -> Opened:
            registry = stack.enter_context(Strict(**options).serving())
            naps = Naps()
            transport = Transport(registry.host, credentials or User(), patience=patience, sleep=naps)
            dialect = ECR if registry.ecr else OCI
            place = Place.parse(f"{registry.host}/models")
            return Opened(registry, RegistryDestination(place, transport, dialect), transport, naps)

        yield start


@pytest.fixture
def quick() -> Patience:
    """The patience of a test."""
    return QUICK


@pytest.fixture
def user() -> type[User]:
    return User


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that are the same every time."""
    return hashlib.shake_256(b"%d" % seed).digest(size)


def kept(data: bytes, origin: Any = None, step: int = 1 << 16) -> Content:
    """Bytes of which digest and size are known."""

    def read(start: int) -> Iterator[bytes]:
        return (data[at : at + step] for at in range(start, len(data), step))

    return Kept(digest_of(data), len(data), read, origin)


class Image(NamedTuple):
    config: bytes
    layers: tuple[bytes, ...]
    manifest: bytes

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)

    def put(self, destination: Destination, model: str) -> None:
        for layer in self.layers:
            destination.put(model, kept(layer))
        destination.put(model, Data(self.config))


def image(*layers: bytes, subject: bytes | None = None, **annotations: str) -> Image:
    """A small image."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
    }
    data = json.dumps(config).encode()
    manifest = Manifest(
        config=Descriptor(media_type=CONFIG_TYPE, digest=digest_of(data), size=len(data)),
        layers=tuple(Descriptor(media_type=LAYER_TYPE, digest=digest_of(one), size=len(one)) for one in layers),
        subject=Descriptor(
            media_type="application/vnd.oci.image.manifest.v1+json", digest=digest_of(subject), size=len(subject)
        )
        if subject
        else None,
        artifact_type="application/vnd.test" if subject else None,
        annotations=annotations or None,
    )
    return Image(data, layers, dump(manifest))
