"""The step: when a base is extended, by what name, and what happens where builders meet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gitops.config import ImageSettings, Model
from pipelines.buildkit.tool import Extension, Logins
from pipelines.image.content import Content, Kept
from pipelines.image.images import BaseImage, Reference
from pipelines.image.oci import CONFIG_TYPE, MANIFEST_TYPE, Descriptor
from pipelines.image.remote.credentials import Login
from pipelines.steps.extend import ExtendInput, Shelf, base_for
from registry.errors import InvalidInput, Refused, SluiceError
from registry.progress import Progress, Silent

REPOSITORY = "registry.example.com/sluice/digits"
SETTINGS = ImageSettings(systemPackages=("libgomp1",), dockerfile="ENV A=b")


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Small:
    """An image of one platform and no layers."""

    def __init__(self, platform: tuple[str, str] = ("linux", "amd64"), *, lies: bool = False, padding: int = 0) -> None:
        config = {"os": platform[0], "architecture": platform[1], "rootfs": {"type": "layers", "diff_ids": []}}
        self._config = json.dumps(config).encode() + b" " * padding
        told = {"mediaType": CONFIG_TYPE, "digest": digest_of(self._config), "size": len(self._config)}
        self._manifest = json.dumps(
            {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": told, "layers": []}
        ).encode()
        self._lies = lies

    @property
    def reference(self) -> Reference | None:
        return Reference("base.example.com/serve", digest_of(self._manifest))

    def manifest(self) -> bytes:
        return self._manifest

    def content(self, descriptor: Descriptor) -> Content:
        def read(start: int) -> Iterator[bytes]:
            if self._lies:
                raise Refused("other bytes")
            yield self._config[start:]

        return Kept(descriptor.digest, descriptor.size, read)


class Here:
    """A shelf and a builder that tell what was asked of them."""

    def __init__(self, fails: SluiceError | None = None, meanwhile: str | None = None) -> None:
        self.asked: list[str] = []
        self.tags: dict[str, str] = {}
        self.wanted: list[Extension] = []
        self._fails, self._meanwhile = fails, meanwhile

    def shelf(self, repository: str = REPOSITORY) -> Shelf:
        return Shelf(repository, self._tagged, self._open, lambda: self.asked.append("prepare"))

    def _tagged(self, tag: str) -> str | None:
        self.asked.append("tagged")
        return self.tags.get(tag)

    def _open(self, digest: str) -> BaseImage:
        self.asked.append(f"open {digest}")
        return Small()

    def build(self, wanted: Extension, logins: Logins, progress: Progress) -> str:
        self.asked.append("build")
        self.wanted.append(wanted)
        tag = wanted.target.rpartition(":")[2]
        if self._meanwhile:
            self.tags[tag] = self._meanwhile
        if self._fails:
            raise self._fails
        return self.tags.setdefault(tag, "made")


@pytest.fixture
def extend(digits: Any) -> Callable[..., BaseImage]:
    def run(here: Here, base: BaseImage, settings: ImageSettings = SETTINGS, **more: Any) -> BaseImage:
        wanted = ExtendInput(ref=digits.ref, image=settings)
        shelf = here.shelf(**more)
        return base_for(wanted, digits.artifact, base, digits.blobs(), shelf, here, no_login, Silent())

    return run


def no_login(host: str) -> Login | None:
    return None


Extend = Callable[..., BaseImage]


def test_it_is_made_once_beside_the_models_images(extend: Extend) -> None:
    here, base = Here(), Small()
    extend(here, base)
    assert here.asked == ["tagged", "prepare", "build", "tagged", "open made"]
    (wanted,) = here.wanted
    assert wanted.source == str(base.reference)
    repository, _, tag = wanted.target.rpartition(":")
    assert (repository, tag[:5], len(tag)) == (REPOSITORY, "base-", 69)
    assert f'LABEL dev.sluicegate.base.recipe="{tag[5:]}"'.encode() in wanted.dockerfile
    assert (wanted.platform, wanted.context) == ("linux/amd64", {})
    assert wanted.why == "system packages, its own Dockerfile instructions"
    here.asked.clear()
    extend(here, base)
    assert here.asked == ["tagged", "open made"]
    for other in (Small(("linux", "arm64")), Small(("linux", "riscv64"))):
        extend(here, other)
    assert len({wanted.target for wanted in here.wanted}) == 3
    assert {wanted.platform for wanted in here.wanted} == {"linux/amd64", "linux/arm64", "linux/riscv64"}


def test_what_needs_nothing_asks_nothing(extend: Extend) -> None:
    here, base = Here(), Small()
    assert extend(here, base, ImageSettings()) is base
    assert here.asked == []


def test_where_builders_meet_all_use_what_the_tag_names(extend: Extend) -> None:
    here = Here(meanwhile="theirs")
    extend(here, Small())
    assert here.asked[-1] == "open theirs"
    # where tags never move, the registry turns the slower one away
    late = Here(fails=SluiceError("tag exists"), meanwhile="theirs")
    extend(late, Small())
    assert late.asked[-1] == "open theirs"


def test_a_failure_is_told_and_the_next_run_tries_again(extend: Extend) -> None:
    here = Here(fails=SluiceError("no such package"))
    for _ in range(2):
        with pytest.raises(SluiceError, match="no such package"):
            extend(here, Small())
    assert here.asked == ["tagged", "prepare", "build", "tagged"] * 2


def test_a_base_whose_bytes_are_others_is_not_extended(extend: Extend) -> None:
    here = Here()
    with pytest.raises(Refused, match="other bytes"):
        extend(here, Small(lies=True))
    with pytest.raises(Refused, match="which none needs"):
        extend(here, Small(padding=9 << 20))
    assert here.asked == []


@pytest.mark.parametrize(
    "repository", ["", "registry.example.com/Upper", "registry.example.com/a:tag", "registry.example.com/a,push=false"]
)
def test_a_destination_that_is_no_repository_is_refused(extend: Extend, repository: str) -> None:
    here = Here()
    with pytest.raises(InvalidInput, match="names no image"):
        extend(here, Small(), repository=repository)
    assert here.wanted == []


def test_what_people_said_of_a_model_is_what_is_wanted(digits: Any) -> None:
    assert ExtendInput.of(digits.ref, Model(name="digits", image=SETTINGS)).image == SETTINGS
