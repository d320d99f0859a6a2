"""Manifests, tags and referrers in a registry; whole images, over and over."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.image.layout import LayoutDestination, LayoutImage
from pipelines.image.oci import INDEX_TYPE, MANIFEST_TYPE
from pipelines.image.remote.destination import RegistryDestination
from pipelines.image.remote.names import Place
from pipelines.image.remote.places import open_destination, open_image
from pipelines.image.remote.transport import Transport
from registry.errors import Conflict, InvalidInput, Refused, Unavailable
from tests.pipelines.remote.conftest import digest_of, image, noise
from tests.pipelines.remote.strict import LOSE, Lie, Status, Strict

Opening = Callable[..., Any]


def pushed(to: Any, model: str, *layers: bytes, **more: Any) -> Any:
    made = image(*layers, **more)
    made.put(to.destination, model)
    to.destination.push(model, made.manifest)
    return made


def test_a_manifest_that_is_there_is_not_sent(opened: Opening) -> None:
    to = opened()
    made = pushed(to, "m", b"x")
    to.registry.clear()
    to.destination.push("m", made.manifest)
    assert [method for method, _ in to.registry.requests] == ["HEAD"]
    to.destination.tag("m", "v1", made.digest)
    to.registry.clear()
    to.destination.tag("m", "v1", made.digest)
    assert [method for method, _ in to.registry.requests] == ["HEAD"]


def test_the_answer_to_a_manifest_may_be_lost(opened: Opening) -> None:
    to = opened()
    to.registry.script("PUT", ".*/manifests/.*", LOSE, Status(503))
    made = pushed(to, "m", b"x")
    assert to.destination.manifest("m", made.digest) == made.manifest


def test_a_manifest_that_another_builder_is_writing_is_sent_again(opened: Opening) -> None:
    to = opened()
    damaged = Status(400, {}, b'{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match"}]}')
    to.registry.script("PUT", ".*/manifests/.*", damaged)
    made = pushed(to, "m", b"x")
    assert to.destination.manifest("m", made.digest) == made.manifest
    to.registry.script("PUT", ".*/manifests/.*", *[damaged] * 20)
    with pytest.raises(Unavailable, match=r"did not take sha256:.* as it was sent \(DIGEST_INVALID\): try again"):
        pushed(to, "m", b"y")


def test_a_manifest_whose_layers_are_missing_is_refused(opened: Opening) -> None:
    to = opened()
    with pytest.raises(Refused, match=r"refuses models/m, sha256:.* \(400, MANIFEST_BLOB_UNKNOWN: no\): "):
        to.destination.push("m", image(b"x").manifest)


def test_a_registry_that_takes_a_manifest_for_another(opened: Opening) -> None:
    to = opened()
    to.registry.script("PUT", ".*/manifests/.*", Lie(digest_of(b"other")))
    with pytest.raises(Refused, match=r"took sha256:.* for sha256:.*: what it holds is not to be trusted"):
        pushed(to, "m", b"x")


def test_a_registry_that_does_not_name_digests_can_be_asked_for_tags(opened: Opening) -> None:
    to = opened()
    to.registry.names_digests = False
    made = pushed(to, "m", b"x")
    to.destination.tag("m", "v1", made.digest)
    to.destination.tag("m", "v1", made.digest)
    assert to.destination.tagged("m", "v1") == made.digest


@pytest.mark.parametrize("digest", ["sha512:" + "a" * 128, "nonsense", "../x", ""])
def test_a_tag_with_a_digest_that_is_none(digest: str, opened: Opening) -> None:
    to = opened()
    to.registry.script("HEAD", ".*", Lie(digest or " "))
    made = image(b"x")
    to.registry.add_manifest("models/m", json.loads(made.manifest)["mediaType"], made.manifest, "v1")
    with pytest.raises(Refused, match="by what is no sha256 digest"):
        to.destination.tagged("m", "v1")


@pytest.mark.parametrize("tag", ["", "-x", "a/b", "x" * 129, "v1?x", "ü", "..%2f"])
def test_what_is_no_tag(tag: str, opened: Opening) -> None:
    to = opened()
    with pytest.raises(InvalidInput, match="cannot be a tag"):
        to.destination.tagged("m", tag)
    with pytest.raises(InvalidInput, match="cannot be a tag"):
        to.destination.tag("m", tag, digest_of(b"x"))
    assert to.registry.requests == []


def test_a_tag_that_another_builder_was_quicker_with(opened: Opening) -> None:
    to = opened(ecr=True)
    one, two = pushed(to, "m", b"one"), pushed(to, "m", b"two")
    to.destination.tag("m", "v1", one.digest)
    to.registry.script("HEAD", ".*/manifests/v1", Status(404))  # what it saw before
    with pytest.raises(Conflict, match="already has another image named v1, and tags never move"):
        to.destination.tag("m", "v1", two.digest)
    to.registry.script("HEAD", ".*/manifests/v1", Status(404))
    to.destination.tag("m", "v1", one.digest)


# referrers


def test_where_referrers_are_listed_no_tag_stands_in(opened: Opening) -> None:
    to = opened()
    subject = pushed(to, "m", b"x")
    for number in range(5):
        pushed(to, "m", b"%d" % number, subject=subject.manifest)
    assert to.registry.tags.get("models/m", {}) == {}
    assert to.registry.count("GET") == 0
    assert len(to.destination.referrers("m", subject.digest)) == 5  # in pages of two


def test_more_than_anybody_needs_are_refused(opened: Opening) -> None:
    to = opened()
    each = {"mediaType": MANIFEST_TYPE, "digest": digest_of(b"x"), "size": 2}
    page = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [each] * 5001}).encode()
    more = {"Content-Type": INDEX_TYPE, "Link": f'</v2/models/m/referrers/{digest_of(b"y")}>; rel="next"'}
    to.registry.script("GET", ".*/referrers/.*", Status(200, more, page), Status(200, more, page))
    with pytest.raises(Refused, match="more than 10000 referrers"):
        to.destination.referrers("m", digest_of(b"y"))
    assert to.registry.count("GET") == 2


def test_where_they_are_not_a_tag_lists_them(opened: Opening) -> None:
    to = opened(referrers=False)
    subject = pushed(to, "m", b"x")
    made = pushed(to, "m", b"1", subject=subject.manifest, note="yes")
    tag = subject.digest.replace(":", "-")
    media_type, data = to.registry.manifests["models/m"][to.registry.tags["models/m"][tag]]
    assert media_type == INDEX_TYPE
    assert json.loads(data) == {
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "manifests": [
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": made.digest,
                "size": len(made.manifest),
                "artifactType": "application/vnd.test",
                "annotations": {"note": "yes"},
            }
        ],
    }


def test_a_builder_that_died_before_the_list_is_made_up_for(opened: Opening) -> None:
    to = opened(referrers=False)
    subject = pushed(to, "m", b"x")
    to.registry.script("PUT", ".*/manifests/sha256-.*", Status(403))
    with pytest.raises(Refused):
        pushed(to, "m", b"1", subject=subject.manifest)
    assert to.destination.referrers("m", subject.digest) == ()
    made = pushed(to, "m", b"1", subject=subject.manifest)
    assert [item.digest for item in to.destination.referrers("m", subject.digest)] == [made.digest]


def test_writers_of_one_destination_lose_no_referrer(opened: Opening) -> None:
    to = opened(referrers=False)
    subject = pushed(to, "m", b"x")
    made = [image(b"%d" % n, subject=subject.manifest) for n in range(8)]

    def run(one: Any) -> None:
        one.put(to.destination, "m")
        to.destination.push("m", one.manifest)

    threads = [threading.Thread(target=run, args=(one,)) for one in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = {item.digest for item in to.destination.referrers("m", subject.digest)}
    assert found == {one.digest for one in made}


def test_a_list_that_another_writer_changed_is_changed_again(opened: Opening) -> None:
    to = opened(referrers=False)
    subject = pushed(to, "m", b"x")
    old = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": []}).encode()
    # the first write is lost to another writer's
    to.registry.script("PUT", ".*/manifests/sha256-.*", Status(201))
    to.registry.add_manifest("models/m", INDEX_TYPE, old, subject.digest.replace(":", "-"))
    made = pushed(to, "m", b"1", subject=subject.manifest)
    assert [item.digest for item in to.destination.referrers("m", subject.digest)] == [made.digest]
    to.registry.script("PUT", ".*/manifests/sha256-.*", *[Status(201)] * 50)
    with pytest.raises(Conflict, match="keep changing the referrers"):
        pushed(to, "m", b"2", subject=subject.manifest)


def test_where_no_tag_moves_a_second_referrer_is_a_conflict(opened: Opening) -> None:
    to = opened(ecr=True)
    subject = pushed(to, "m", b"x")
    pushed(to, "m", b"1", subject=subject.manifest)
    with pytest.raises(
        Conflict, match=r"lists no referrers, and lets no tag move .*: let tags that begin with sha256-"
    ):
        pushed(to, "m", b"2", subject=subject.manifest)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"manifests":[{"mediaType":"x","digest":"y","size":1}]}',
        b'{"manifests":[{"mediaType":"x","digest":"%s","size":%s}]}' % (digest_of(b"x").encode(), b"9" * 4000),
        b'{"mediaType":"application/vnd.oci.image.manifest.v1+json","manifests":[]}',
    ],
)
def test_lists_of_referrers_that_are_none(data: bytes, opened: Opening) -> None:
    to = opened()
    to.registry.script("GET", ".*/referrers/.*", Status(200, {}, data))
    with pytest.raises(Refused, match=r"referrers"):
        to.destination.referrers("m", digest_of(b"x"))


def test_a_list_without_an_end(opened: Opening) -> None:
    to = opened()
    link = {"Link": f'</v2/models/m/referrers/{digest_of(b"x")}?a=b>; rel="next"'}
    page = json.dumps({"manifests": []}).encode()
    to.registry.script("GET", ".*/referrers/.*", *[Status(200, link, page)] * 200)
    with pytest.raises(Refused, match="without an end"):
        to.destination.referrers("m", digest_of(b"x"))


def test_a_manifest_with_a_subject_that_is_not_taken(opened: Opening) -> None:
    to = opened()
    to.registry.script("PUT", ".*/manifests/.*", Status(405))
    with pytest.raises(
        Refused, match=r"takes no manifest of this kind \(405\): check that the registry knows OCI 1\.1"
    ):
        pushed(to, "m", b"1", subject=image(b"x").manifest)


# places


def test_what_people_write_is_opened(tmp_path: Path) -> None:
    assert isinstance(open_destination(f"oci:{tmp_path}"), LayoutDestination)
    assert isinstance(open_destination("example.com/models"), RegistryDestination)
    assert isinstance(open_image(f"oci:{tmp_path}:tag"), LayoutImage)
    assert type(open_image("public.ecr.aws/x/y:tag")).__name__ == "RemoteImage"
    for wrong in ("models", "https://example.com/x", ""):
        with pytest.raises(InvalidInput):
            open_destination(wrong)
    for wrong in ("", "A", "x:y:z"):
        with pytest.raises(InvalidInput):
            open_image(wrong)


def test_connections_are_given_back() -> None:
    with Strict().serving() as registry:
        destination = open_destination(f"{registry.host}/x")
        assert not destination.has("m", digest_of(b"x"))
        del destination  # a socket that is left open is a warning, and so a failure


# whole images, killed and run again

PUSH = """
import sys
from pipelines.image.remote.destination import RegistryDestination
from pipelines.image.remote.names import Place
from pipelines.image.remote.transport import Transport
from tests.pipelines.remote.conftest import User, image, noise

host = sys.argv[1]
destination = RegistryDestination(Place.parse(f"{host}/models"), Transport(host, User()))
made = image(*(noise(1_500_000 + seed, seed) for seed in range(6)))
print("ready", flush=True)
made.put(destination, "m")
print(destination.push("m", made.manifest).digest, flush=True)
destination.tag("m", "v1", made.digest)
"""
ROOT = Path(__file__).parents[3]
KILLS = 20


def pushing(host: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", PUSH, host], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_killed_anywhere_it_ends_the_same_and_sends_no_finished_blob_again() -> None:
    made = image(*(noise(1_500_000 + seed, seed) for seed in range(6)))
    chance, interrupted = random.Random(4711), 0
    for _ in range(KILLS):
        with Strict(auth="bearer", ecr=bool(chance.getrandbits(1))).serving() as registry:
            # somewhere among the bytes, requests and answers of one run
            point = chance.randrange(1, 9_000_000 + 40 * 50_000)
            with pushing(registry.host) as process:
                assert process.stdout is not None
                process.stdout.readline()
                while process.poll() is None and _moved(registry) < point:
                    time.sleep(0.0005)
                process.send_signal(signal.SIGKILL)
            while registry.connections:  # what the dead one sent is still being read
                time.sleep(0.001)
            interrupted += process.returncode == -signal.SIGKILL
            for digest, (size, data) in registry.blobs.get("models/m", {}).items():
                assert (digest_of(data), len(data)) == (digest, size)
            finished = set(registry.blobs.get("models/m", {}))
            manifests = set(registry.manifests.get("models/m", {}))
            assert manifests <= {made.digest}
            registry.clear()
            with pushing(registry.host) as process:
                assert process.stdout is not None
                assert process.stdout.read() == f"ready\n{made.digest}\n"
            assert process.returncode == 0
            sent = [len(layer) for layer in made.layers if digest_of(layer) not in finished]
            small = 0 if digest_of(made.config) in finished else len(made.config)
            assert registry.received.get("PATCH", 0) == sum(sent)
            assert registry.received.get("PUT", 0) <= small + 2 * len(made.manifest)
            assert registry.tags["models/m"] == {"v1": made.digest}
    assert interrupted > KILLS // 2


def _moved(registry: Strict) -> int:
    return sum(registry.received.values()) + 50_000 * len(registry.requests)


MEMORY = """
import resource, sys
from pipelines.image.content import Made
from pipelines.image.oci import LAYER_TYPE, Descriptor
from pipelines.image.remote.destination import RegistryDestination
from pipelines.image.remote.names import Place
from pipelines.image.remote.transport import Transport

host, size = sys.argv[1], int(sys.argv[2])
destination = RegistryDestination(Place.parse(f"{host}/models"), Transport(host))
piece = bytes(range(256)) * 4096
destination.put("warm", Made(lambda: [piece, piece]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
blob = destination.put("m", Made(lambda: (piece for _ in range(size >> 20))))
assert blob.size == size
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in destination.content("m", Descriptor(media_type=LAYER_TYPE, digest=blob.digest, size=size)).chunks():
    pass
print(after - before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_memory_is_constant(docker_registry: Any) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", MEMORY, docker_registry.host, str(256 << 20)]
    told = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    pushing, reading = map(int, told.split())  # KiB
    assert pushing < 16 << 10
    assert reading < 32 << 10


@pytest.fixture
def skopeo() -> Callable[..., Any]:
    """Runs skopeo, against registries that speak plain http."""
    import shutil

    if shutil.which("skopeo") is None:
        pytest.skip("Install skopeo (Debian's package of that name): this test has it read what was pushed.")

    def run(*arguments: str) -> str:
        command = ["skopeo", "--insecure-policy", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    return run


@pytest.mark.slow
def test_skopeo_reads_what_was_pushed(docker_registry: Any, skopeo: Callable[..., Any], tmp_path: Path) -> None:
    host = docker_registry.host
    destination = RegistryDestination(Place.parse(f"{host}/skopeo"), Transport(host))
    made = image(_tar("a", noise(3_000_000)), _tar("b", b"small"))
    made.put(destination, "m")
    destination.push("m", made.manifest)
    destination.tag("m", "v1", made.digest)
    told = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{host}/skopeo/m:v1"))
    assert told["Digest"] == made.digest
    assert told["Layers"] == [digest_of(layer) for layer in made.layers]
    skopeo("copy", "--src-tls-verify=false", "--preserve-digests", f"docker://{host}/skopeo/m:v1", f"oci:{tmp_path}:v1")
    copied = LayoutImage(tmp_path, "v1")
    assert copied.manifest() == made.manifest
    # and the way back: what skopeo pushed is a base
    skopeo("copy", "--dest-tls-verify=false", "--preserve-digests", f"oci:{tmp_path}:v1", f"docker://{host}/base/b:v1")
    base = open_image(f"{host}/base/b:v1")
    assert base.manifest() == made.manifest
    assert str(base.reference) == f"{host}/base/b@{made.digest}"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["oci", "v2s2"])
def test_a_base_is_mounted_across_repositories(
    kind: str, docker_registry: Any, skopeo: Callable[..., Any], tmp_path: Path
) -> None:
    host, layers = docker_registry.host, [_tar("a", noise(2_000_000, 7)), _tar("b", b"x")]
    made = image(*layers)
    folder = LayoutDestination(tmp_path)
    made.put(folder, "b")
    folder.tag("b", "v1", folder.push("b", made.manifest).digest)
    skopeo(
        "copy", "--dest-tls-verify=false", f"--format={kind}", f"oci:{tmp_path}/b:v1", f"docker://{host}/{kind}/b:v1"
    )
    from pipelines.image.bases import parse_base

    base = open_image(f"{host}/{kind}/b:v1")
    with Counting(host) as counting:
        destination = RegistryDestination(Place.parse(f"{host}/mounted-{kind}"), counting.transport)
        for descriptor in parse_base(base.manifest()).layers:
            destination.put("m", base.content(descriptor))
            assert destination.has("m", descriptor.digest)
        assert counting.methods == ["HEAD", "POST", "HEAD"] * 2


class Counting:
    """A transport that remembers what it was asked."""

    def __init__(self, host: str) -> None:
        self.methods: list[str] = []
        self.transport = Transport(host)

    def __enter__(self) -> Counting:
        client = self.transport._client
        client.event_hooks = {"request": [lambda request: self.methods.append(request.method)]}
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing to end."""


def _tar(name: str, data: bytes) -> bytes:
    import io
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return out.getvalue()
