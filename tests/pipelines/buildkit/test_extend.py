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
from pipelines.image.recipes import StoredBases
from pipelines.image.remote.credentials import Login
from pipelines.steps.extend import ExtendInput, Shelf, base_for
from registry.errors import InvalidInput, NotFound, Refused, SluiceError
from registry.memory import MemoryStore
from registry.progress import Progress, Silent

REPOSITORY = "registry.example.com/sluice/digits"
MADE = [f"sha256:{number:064}" for number in range(5)]
THEIRS = "sha256:" + "beef" * 16
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


class Gone(Small):
    """An image that the registry lost."""

    def manifest(self) -> bytes:
        raise NotFound("gone")


class Here:
    """A shelf and a builder that tell what was asked of them."""

    def __init__(self, fails: SluiceError | None = None, meanwhile: str | None = None) -> None:
        self.asked: list[str] = []
        self.bases = StoredBases(MemoryStore())
        self.gone: set[str] = set()
        self.wanted: list[Extension] = []
        self._fails, self._meanwhile = fails, meanwhile

    def shelf(self, repository: str = REPOSITORY) -> Shelf:
        return Shelf(repository, self.bases, self._open, lambda: self.asked.append("prepare"))

    def _open(self, digest: str) -> BaseImage:
        self.asked.append(f"open {digest[-4:]}")
        return Gone() if digest in self.gone else Small()

    def build(self, wanted: Extension, logins: Logins, progress: Progress) -> str:
        self.asked.append("build")
        self.wanted.append(wanted)
        if self._meanwhile:
            self.bases.keep(wanted.target.rpartition(":base-")[2], self._meanwhile, instead=None)
        if self._fails:
            raise self._fails
        return MADE[len(self.wanted) - 1]


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
    assert here.asked == ["prepare", "build", "open 0000"]
    (wanted,) = here.wanted
    assert wanted.source == str(base.reference)
    repository, _, tag = wanted.target.rpartition(":")
    assert (repository, tag[:5], len(tag)) == (REPOSITORY, "base-", 69)
    assert f'LABEL dev.sluicegate.base.recipe="{tag[5:]}"'.encode() in wanted.dockerfile
    assert (wanted.platform, wanted.context) == ("linux/amd64", {})
    assert wanted.why == "system packages, its own Dockerfile instructions"
    here.asked.clear()
    extend(here, base)
    assert here.asked == ["open 0000"]
    for other in (Small(("linux", "arm64")), Small(("linux", "riscv64"))):
        extend(here, other)
    assert len({wanted.target for wanted in here.wanted}) == 3
    assert {wanted.platform for wanted in here.wanted} == {"linux/amd64", "linux/arm64", "linux/riscv64"}


def test_what_needs_nothing_asks_nothing(extend: Extend) -> None:
    here, base = Here(), Small()
    assert extend(here, base, ImageSettings()) is base
    assert here.asked == []


def test_where_builders_meet_all_use_what_was_entered_first(extend: Extend) -> None:
    here = Here(meanwhile=THEIRS)
    extend(here, Small())
    assert here.asked[-1] == "open beef"
    # where tags never move, the registry turns the slower one away
    late = Here(fails=SluiceError("tag exists"), meanwhile=THEIRS)
    extend(late, Small())
    assert late.asked[-1] == "open beef"


def test_one_that_is_gone_is_made_again(extend: Extend) -> None:
    here = Here()
    extend(here, Small())
    here.gone.add(MADE[0])
    here.asked.clear()
    extend(here, Small())
    assert here.asked == ["open 0000", "prepare", "build", "open 0001"]
    here.asked.clear()
    extend(here, Small())
    assert here.asked == ["open 0001"]


def test_a_tag_is_no_proof_of_who_made_it(extend: Extend) -> None:
    """Whoever may push can name an image `base-<recipe>`; where tags never move, that stops the build and no more."""
    here = Here(fails=SluiceError("tag exists"))
    with pytest.raises(SluiceError, match="tag exists"):
        extend(here, Small())
    assert here.asked == ["prepare", "build"]


def test_a_failure_is_told_and_the_next_run_tries_again(extend: Extend) -> None:
    here = Here(fails=SluiceError("no such package"))
    for _ in range(2):
        with pytest.raises(SluiceError, match="no such package"):
            extend(here, Small())
    assert here.asked == ["prepare", "build"] * 2


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
