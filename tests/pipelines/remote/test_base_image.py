"""Base images in a registry: the right one is found, read and verified."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.image.bases import parse_base
from pipelines.image.content import Origin
from pipelines.image.oci import CONFIG_TYPE, INDEX_TYPE, LAYER_TYPE, MANIFEST_TYPE, Descriptor
from pipelines.image.remote.image import RemoteImage
from pipelines.image.remote.manifests import Platform, chosen, is_index
from pipelines.image.remote.names import ImageName
from pipelines.image.remote.repository import DOCKER_INDEX, DOCKER_MANIFEST, Found
from registry.errors import InvalidInput, NotFound, Refused, SluiceError, Unavailable
from tests.pipelines.remote.conftest import digest_of, noise
from tests.pipelines.remote.strict import Drop, Garbage, Status, Truncate

Opening = Callable[..., Any]
LAYER = noise(3_000_000)


def add_image(
    registry: Any, architecture: str = "amd64", variant: str = "", docker: bool = False, tag: str = ""
) -> Any:
    """Put an image into a registry; gives what an index says of it."""
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            **({"variant": variant} if variant else {}),
            "rootfs": {"type": "layers", "diff_ids": [digest_of(LAYER)]},
        }
    ).encode()
    types = (
        (
            DOCKER_MANIFEST,
            "application/vnd.docker.container.image.v1+json",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        )
        if docker
        else (MANIFEST_TYPE, CONFIG_TYPE, LAYER_TYPE)
    )
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": types[0],
            "config": {"mediaType": types[1], "digest": registry.add_blob("base", config), "size": len(config)},
            "layers": [{"mediaType": types[2], "digest": registry.add_blob("base", LAYER), "size": len(LAYER)}],
        }
    ).encode()
    digest = registry.add_manifest("base", types[0], manifest, tag)
    where = {"architecture": architecture, "os": "linux", **({"variant": variant} if variant else {})}
    return {"mediaType": types[0], "digest": digest, "size": len(manifest), "platform": where}


def add_index(registry: Any, *items: Any, docker: bool = False, tag: str = "latest") -> str:
    media_type = DOCKER_INDEX if docker else INDEX_TYPE
    data = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": list(items)}).encode()
    digest: str = registry.add_manifest("base", media_type, data, tag)
    return digest


def remote(to: Any, rest: str = ":latest", platform: str = "linux/amd64") -> RemoteImage:
    return RemoteImage(ImageName.parse(f"{to.registry.host}/base{rest}"), to.transport, platform)


@pytest.mark.parametrize("docker", [False, True])
@pytest.mark.parametrize("auth", ["", "bearer", "basic"])
def test_the_image_of_a_platform_is_found_in_an_index(auth: str, docker: bool, opened: Opening) -> None:
    to = opened(auth=auth)
    attestation = {
        "mediaType": MANIFEST_TYPE,
        "digest": digest_of(b"x"),
        "size": 1,
        "platform": {"architecture": "unknown", "os": "unknown"},
    }
    arm, amd = (add_image(to.registry, name, docker=docker) for name in ("arm64", "amd64"))
    index = add_index(to.registry, attestation, arm, amd, docker=docker)
    for rest in (":latest", f"@{index}", f":other@{index}"):
        image = remote(to, rest)
        assert str(image.reference) == f"{to.registry.host}/base@{amd['digest']}"
        assert digest_of(image.manifest()) == amd["digest"]
        assert parse_base(image.manifest()).media_type == MANIFEST_TYPE
    assert str(remote(to, platform="linux/arm64").reference).endswith(arm["digest"])


def test_a_manifest_is_fetched_once(opened: Opening) -> None:
    to = opened()
    add_image(to.registry, tag="latest")
    image = remote(to)
    for _ in range(3):
        assert image.reference.digest == digest_of(image.manifest())
        config = parse_base(image.manifest()).config
        assert json.loads(b"".join(image.content(config).chunks()))["os"] == "linux"
    assert [(method, path.split("/")[3]) for method, path in to.registry.requests] == [
        ("GET", "manifests"),
        ("GET", "blobs"),
    ]


def test_nothing_is_asked_before_it_is_read(opened: Opening) -> None:
    to = opened()
    remote(to)
    assert to.registry.requests == []


@pytest.mark.parametrize(
    ("wanted", "there", "same"),
    [
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm", "linux/arm/v7", True),
        ("linux/arm", "linux/arm/v6", False),
        ("linux/amd64", "linux/amd64/v3", False),
        ("linux/amd64/v3", "linux/amd64/v3", True),
        ("linux/amd64", "windows/amd64", False),
    ],
)
def test_platforms(wanted: str, there: str, same: bool) -> None:
    assert Platform.parse(wanted).same(Platform.parse(there)) is same


@pytest.mark.parametrize(
    "text", ["", "linux", "linux/", "/amd64", "linux/arm64/v8/x", "linux/amd 64", "linux/ä", "a//b"]
)
def test_what_is_no_platform(text: str, opened: Opening) -> None:
    with pytest.raises(InvalidInput, match="is no platform: write it as linux/amd64"):
        remote(opened(), platform=text)


def test_a_missing_platform_is_told_with_those_there_are(opened: Opening) -> None:
    to = opened()
    add_index(to.registry, add_image(to.registry, "arm64", "v8"), add_image(to.registry, "ppc64le"))
    with pytest.raises(NotFound, match=r"has no image for linux/amd64 \(there are: linux/arm64/v8, linux/ppc64le\): "):
        remote(to).manifest()
    add_image(to.registry, "s390x", tag="single")
    with pytest.raises(NotFound, match=r"has no image for linux/amd64 \(there are: linux/s390x\): "):
        _ = remote(to, ":single").reference


def test_what_is_not_there(opened: Opening) -> None:
    to = opened()
    for rest in (":none", f"@{digest_of(b'none')}"):
        with pytest.raises(NotFound, match=r"does not have base, .* \(404, MANIFEST_UNKNOWN: no\): check the name"):
            remote(to, rest).manifest()


def test_a_manifest_that_is_another_is_refused(opened: Opening) -> None:
    to = opened()
    amd = add_image(to.registry)
    add_index(to.registry, amd)
    other = json.dumps({"schemaVersion": 2, "layers": [], "config": {}}).encode()
    to.registry.script("GET", f".*{amd['digest']}", Garbage(other))
    with pytest.raises(Refused, match=r"gives another manifest than sha256:.* names"):
        remote(to).manifest()


# layers


def layer(to: Any, data: bytes = LAYER) -> Any:
    to.registry.add_blob("base", data)
    return remote(to).content(Descriptor(media_type=LAYER_TYPE, digest=digest_of(data), size=len(data)))


def test_a_layer_tells_where_it_lies(opened: Opening) -> None:
    to = opened()
    content = layer(to)
    assert (content.digest, content.size) == (digest_of(LAYER), len(LAYER))
    assert content.origin == Origin(to.registry.host, "base")


@pytest.mark.parametrize("start", [0, 1, 1_000_000, len(LAYER) - 1, len(LAYER)])
def test_a_layer_is_read_from_anywhere(start: int, opened: Opening) -> None:
    assert b"".join(layer(opened()).chunks(start)) == LAYER[start:]


@pytest.mark.parametrize("start", [0, 700_001])
@pytest.mark.parametrize(
    "faults",
    [
        [Truncate(100_000)],
        [Truncate(0)],
        [Truncate(500_000)] * 4,
        [Status(503), Truncate(1), Status(429)],
        [Truncate(1000)] * 30,
    ],
    ids=["one", "nothing", "several", "mixed", "many"],
)
def test_a_read_that_broke_goes_on(faults: list[Any], start: int, opened: Opening) -> None:
    to = opened()
    content = layer(to)
    to.registry.script("GET", ".*/blobs/.*", *faults)
    assert b"".join(content.chunks(start)) == LAYER[start:]


def test_a_registry_without_ranges_is_read_again(opened: Opening) -> None:
    to = opened()
    content = layer(to)
    to.registry.script("GET", ".*/blobs/.*", Truncate(100_000), Status(200, {}, LAYER))
    assert b"".join(content.chunks()) == LAYER
    to.registry.script("GET", ".*/blobs/.*", Status(200, {}, LAYER))
    assert b"".join(content.chunks(5)) == LAYER[5:]


def test_a_range_that_is_another_is_not_taken(opened: Opening) -> None:
    to = opened()
    content = layer(to)
    to.registry.script("GET", ".*/blobs/.*", Status(206, {"Content-Range": "bytes 9-2999999/3000000"}, LAYER[9:]))
    with pytest.raises(Refused, match="gives other bytes than"):
        b"".join(content.chunks(5))


def test_a_read_that_gets_nowhere_is_given_up(opened: Opening) -> None:
    to = opened()
    content = layer(to)
    to.registry.script("GET", ".*/blobs/.*", Truncate(10), *[Truncate(0)] * 50)
    with pytest.raises(Unavailable, match="cannot be reached, or broke off"):
        b"".join(content.chunks())


@pytest.mark.parametrize("wrong", [LAYER[:-1], LAYER + b"x", noise(len(LAYER), 1), b""])
def test_other_bytes_are_refused(wrong: bytes, opened: Opening) -> None:
    to = opened()
    content = layer(to)
    to.registry.script("GET", ".*/blobs/.*", Garbage(wrong))
    with pytest.raises(Refused, match=r"gives (other|more) bytes than"):
        b"".join(content.chunks())


def test_a_layer_that_is_not_there(opened: Opening) -> None:
    content = remote(opened()).content(Descriptor(media_type=LAYER_TYPE, digest=digest_of(b"x"), size=1))
    with pytest.raises(NotFound, match="does not have the blob sha256:"):
        b"".join(content.chunks())


def test_a_base_goes_from_one_registry_to_another_while_both_break(opened: Opening) -> None:
    one, two = opened(auth="bearer"), opened(auth="bearer")
    content = layer(one)
    one.registry.script("GET", ".*/blobs/.*", Truncate(1_000_000), Truncate(500_000))
    two.registry.script("PATCH", ".*", Drop(700_000), Drop(900_000))
    assert two.destination.put("m", content) == (digest_of(LAYER), len(LAYER))
    assert two.registry.has("models/m", digest_of(LAYER))


# hostile JSON

DEEP = b"[" * 200_000
HOSTILE = [
    b"",
    b"null",
    b"7",
    b"[]",
    b"{}",
    b'"x"',
    b"\xff\xfe",
    b"{",
    DEEP,
    b'{"manifests":' + DEEP,
    b'{"layers":' + b'{"a":' * 100_000,
    b'{"schemaVersion":1,"name":"x","fsLayers":[]}',
    b'{"schemaVersion":"two","manifests":[]}',
    b'{"schemaVersion":2}',
    b'{"schemaVersion":2,"manifests":7}',
    b'{"schemaVersion":2,"manifests":[7]}',
    b'{"schemaVersion":2,"manifests":[{}]}',
    b'{"schemaVersion":2,"manifests":[],"layers":[]}',
    b'{"schemaVersion":2,"manifests":[],"config":{}}',
    b'{"schemaVersion":2,"manifests":null,"layers":null}',
    b'{"schemaVersion":2,"layers":[]}',
    b'{"schemaVersion":2,"layers":{},"config":[]}',
    b'{"schemaVersion":2,"config":{"mediaType":"x","digest":"sha256:x","size":1},"layers":[]}',
    b'{"schemaVersion":2,"config":{"mediaType":"x","digest":"%s","size":-1},"layers":[]}' % digest_of(b"x").encode(),
    b'{"schemaVersion":2,"config":{"mediaType":"x","digest":"%s","size":1e999},"layers":[]}' % digest_of(b"x").encode(),
    b'{"schemaVersion":2,"config":{"mediaType":"x","digest":"%s","size":%s},"layers":[]}'
    % (digest_of(b"x").encode(), b"9" * 5000),
    b'{"schemaVersion":2,"config":{"mediaType":"x","digest":"%s","size":%s},"layers":[]}'
    % (digest_of(b"x").encode(), b"9" * 20),
    b'{"schemaVersion":2,"config":{"mediaType":"x","digest":"%s","size":9999999999},"layers":[]}'
    % digest_of(b"x").encode(),
    b'{"schemaVersion":%s,"layers":[]}' % (b"9" * 5000),
    b'{"schemaVersion":2,"mediaType":"%s","layers":[],"config":{}}' % INDEX_TYPE.encode(),
    b'{"schemaVersion":2,"mediaType":"%s","manifests":[]}' % MANIFEST_TYPE.encode(),
    b'{"schemaVersion":2,"manifests":[{"mediaType":"%s","digest":"../../etc","size":1,"platform":'
    b'{"os":"linux","architecture":"amd64"}}]}' % MANIFEST_TYPE.encode(),
    b'{"schemaVersion":2,"manifests":[{"mediaType":"%s","digest":"%s","size":1,"platform":{"os":7}}]}'
    % (MANIFEST_TYPE.encode(), digest_of(b"x").encode()),
]


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("media_type", [MANIFEST_TYPE, INDEX_TYPE, DOCKER_MANIFEST])
def test_hostile_answers_are_refused(data: bytes, media_type: str, opened: Opening) -> None:
    to = opened()
    to.registry.script("GET", ".*/manifests/.*", Status(200, {"Content-Type": media_type}, data))
    with pytest.raises(Refused, match=r"(?s)^.{1,500}: .*\.$"):
        remote(to).manifest()


def test_an_index_with_names_that_steer_a_terminal(opened: Opening) -> None:
    to = opened()
    item = add_image(to.registry)
    add_index(to.registry, item | {"platform": {"os": "\x1b[31m" + "x" * 5000, "architecture": "\u202e"}})
    with pytest.raises(NotFound) as raised:
        remote(to).manifest()
    assert "\x1b" not in str(raised.value)
    assert len(str(raised.value)) < 500


def test_an_index_in_an_index(opened: Opening) -> None:
    to = opened()
    inner = add_index(to.registry, tag="inner")
    add_index(
        to.registry,
        {"mediaType": MANIFEST_TYPE, "digest": inner, "size": 1, "platform": {"os": "linux", "architecture": "amd64"}},
    )
    with pytest.raises(Refused, match="holds an index in its index"):
        remote(to).manifest()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([MANIFEST_TYPE, INDEX_TYPE, digest_of(b"x"), "linux", "amd64"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "manifests",
                    "layers",
                    "config",
                    "mediaType",
                    "schemaVersion",
                    "digest",
                    "size",
                    "platform",
                    "os",
                    "architecture",
                    "annotations",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=25,
)


@given(JSON)
def test_any_json_is_an_index_an_image_or_told(value: Any) -> None:
    found = Found(json.dumps(value).encode(), digest_of(b""), "")
    try:
        if is_index(found, "x"):
            chosen(found, Platform.parse("linux/amd64"), "x")
        else:
            parse_base(found.data)
    except SluiceError as error:
        assert str(error).endswith(".")  # noqa: PT017
