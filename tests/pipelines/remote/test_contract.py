"""What every destination does, whatever it is: a folder, a real registry, one that is strict, one like ECR."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from pipelines.image.content import Data, Made
from pipelines.image.images import Destination
from pipelines.image.layout import LayoutDestination
from pipelines.image.oci import LAYER_TYPE, Descriptor
from pipelines.image.remote.destination import RegistryDestination
from pipelines.image.remote.names import Place
from pipelines.image.remote.transport import Transport
from registry.errors import Conflict, InvalidInput, NotFound, Refused
from tests.pipelines.registries import HTPASSWD, serve
from tests.pipelines.remote.conftest import User, digest_of, image, kept, noise

SIZES = [0, 1, 1000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_001]


@pytest.fixture(
    params=[
        "folder",
        pytest.param("docker-registry", marks=pytest.mark.slow),
        pytest.param("docker-registry with Basic", marks=pytest.mark.slow),
        "strict",
        "strict with tokens",
        "strict without referrers",
        "like ECR",
    ]
)
def there(request: pytest.FixtureRequest, tmp_path: Path, opened: Callable[..., Any]) -> Iterator[Destination]:
    """A destination."""
    match request.param:
        case "folder":
            yield LayoutDestination(tmp_path)
        case "docker-registry":
            host = request.getfixturevalue("docker_registry").host
            yield RegistryDestination(Place.parse(f"{host}/p{uuid4().hex[:8]}"), Transport(host))
        case "docker-registry with Basic":
            with serve(tmp_path / "registry", htpasswd=HTPASSWD) as registry:
                yield RegistryDestination(Place.parse(f"{registry.host}/p"), Transport(registry.host, User()))
        case "strict":
            yield opened().destination
        case "strict with tokens":
            yield opened(auth="bearer").destination
        case "strict without referrers":
            yield opened(referrers=False).destination
        case _:
            yield opened(ecr=True, auth="basic").destination


@pytest.mark.parametrize("size", SIZES)
def test_bytes_come_back_as_they_were_put(size: int, there: Destination) -> None:
    data = noise(size)
    assert not there.has("fraud", digest_of(data))
    for content in (Data(data), kept(data), Made(lambda: iter([data[:7], data[7:]])), Made(lambda: [data], size)):
        assert there.put("fraud", content) == (digest_of(data), size)
    assert there.has("fraud", digest_of(data))
    assert not there.has("other", digest_of(data))
    back = there.content("fraud", Descriptor(media_type=LAYER_TYPE, digest=digest_of(data), size=size))
    assert (back.digest, back.size) == (digest_of(data), size)
    assert b"".join(back.chunks()) == data
    for start in {0, size // 2, max(0, size - 1), size}:
        assert b"".join(back.chunks(start)) == data[start:]


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_wrong_bytes_are_refused_and_nothing_is_there(size: int, there: Destination) -> None:
    data, other = noise(size), noise(size, 1)
    content = kept(data)
    wrong: Any = kept(other)
    for lie in (other, data + b"x", data[:-1]):
        wrong.digest, wrong.size = content.digest, content.size
        wrong._read = lambda start, lie=lie: iter([lie[start:]])
        with pytest.raises(Refused, match=r"holds other bytes than its name says"):
            there.put("fraud", wrong)
        assert not there.has("fraud", digest_of(data))
        assert not there.has("fraud", digest_of(lie))


def test_an_image_is_pushed_tagged_and_read(there: Destination) -> None:
    made = image(noise(2_000_000), noise(3))
    made.put(there, "fraud")
    assert there.tagged("fraud", "v1") is None
    with pytest.raises(NotFound):
        there.manifest("fraud", made.digest)
    with pytest.raises(NotFound):
        there.tag("fraud", "v1", made.digest)
    first = there.push("fraud", made.manifest)
    assert first.digest == made.digest
    assert first.repository.endswith("/fraud")
    assert there.push("fraud", made.manifest) == first
    assert there.manifest("fraud", made.digest) == made.manifest
    assert there.has("fraud", made.digest)
    for _ in range(2):
        there.tag("fraud", "v1", made.digest)
    assert there.tagged("fraud", "v1") == made.digest
    assert there.tagged("fraud", "v2") is None
    assert there.tagged("other", "v1") is None


def test_a_tag_never_moves(there: Destination) -> None:
    one, two = image(b"one"), image(b"two")
    for made in (one, two):
        made.put(there, "fraud")
        there.push("fraud", made.manifest)
    there.tag("fraud", "v1", one.digest)
    with pytest.raises(Conflict, match=r"already has another image named v1, and tags (are )?never move"):
        there.tag("fraud", "v1", two.digest)
    assert there.tagged("fraud", "v1") == one.digest


def test_referrers_are_listed(there: Destination) -> None:
    subject = image(b"subject")
    subject.put(there, "fraud")
    assert there.referrers("fraud", subject.digest) == ()
    there.push("fraud", subject.manifest)
    referring = [image(b"%d" % n, subject=subject.manifest, n=str(n)) for n in range(1 if _locked(there) else 5)]
    for one in referring:
        one.put(there, "fraud")
        for _ in range(2):
            there.push("fraud", one.manifest)
    found = there.referrers("fraud", subject.digest)
    assert sorted(item.digest for item in found) == sorted(one.digest for one in referring)
    assert {item.artifact_type for item in found} == {"application/vnd.test"}
    assert {item.size for item in found} == {len(one.manifest) for one in referring}
    assert there.referrers("fraud", referring[0].digest) == ()


def _locked(there: Any) -> bool:
    """Whether no tag of it moves, so that the list that stands in for referrers is written once."""
    return getattr(getattr(there, "_dialect", None), "resumes", True) is False


def test_many_builders_at_once(there: Destination) -> None:
    layers = [noise(1_500_000, seed) for seed in range(3)]
    made = image(*layers)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            made.put(there, "fraud")
            there.push("fraud", made.manifest)
            there.tag("fraud", "v1", made.digest)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert there.tagged("fraud", "v1") == made.digest


@pytest.mark.parametrize("digest", ["sha256:" + "g" * 64, "sha512:" + "a" * 128, "../../x", ""])
def test_what_is_no_digest_is_no_path(digest: str, there: Destination) -> None:
    with pytest.raises(InvalidInput, match="is not a digest"):
        there.has("fraud", digest)
