"""Uploads on registries that fail: the right bytes in the end, or the right error."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.image.content import Data, Made, Origin
from pipelines.image.remote.feeding import Feed, SourceFailed
from pipelines.image.remote.transport import Patience
from registry.errors import NotFound, Refused, Unavailable
from tests.pipelines.remote.conftest import digest_of, kept, noise
from tests.pipelines.remote.strict import EXPIRE, LOSE, STALL, VANISH, Drop, Lie, Status

SESSION = r"/v2/.*/blobs/uploads/[0-9a-f]+"
BEGIN = r"/v2/.*/blobs/uploads/"
BLOB = r"/v2/.*/blobs/sha256:.*"
LARGE = noise(5_000_000)
SMALL = noise(1000)

Opening = Callable[..., Any]


def made(data: bytes, step: int = 100_000) -> Made:
    """Bytes of which nothing is known."""
    return Made(lambda: (data[at : at + step] for at in range(0, len(data), step)))


FAULTS: dict[str, list[tuple[str, str, Any]]] = {
    "nothing": [],
    "PATCH breaks at once": [("PATCH", SESSION, Drop(0))],
    "PATCH breaks in the middle": [("PATCH", SESSION, Drop(2_345_678))],
    "PATCH breaks three times": [("PATCH", SESSION, Drop(1_000_000))] * 3,
    "PATCH breaks at its end": [("PATCH", SESSION, Drop(5_000_000))],
    "PATCH's answer is lost": [("PATCH", SESSION, LOSE)],
    "PATCH gets 503": [("PATCH", SESSION, Status(503))],
    "PATCH gets 429": [("PATCH", SESSION, Status(429, {"Retry-After": "2"}))],
    "PATCH gets 500": [("PATCH", SESSION, Status(500))],
    "PATCH gets 416": [("PATCH", SESSION, Status(416))],
    "PATCH stalls": [("PATCH", SESSION, STALL)],
    "the session vanishes before PATCH": [("PATCH", SESSION, VANISH)],
    "the session vanishes before PUT": [("PUT", SESSION, VANISH)],
    "the session vanishes while it is resumed": [("PATCH", SESSION, Drop(1_000_000)), ("GET", SESSION, VANISH)],
    "the status gets 500": [("PATCH", SESSION, Drop(1_000_000)), ("GET", SESSION, Status(500))],
    "the status is none": [("PATCH", SESSION, Drop(1_000_000)), ("GET", SESSION, Status(204))],
    "the status lies": [
        ("PATCH", SESSION, Drop(1_000_000)),
        ("GET", SESSION, Status(204, {"Range": "0-499999"})),
    ],
    "the status knows more than was sent": [
        ("PATCH", SESSION, Drop(1_000_000)),
        ("GET", SESSION, Status(204, {"Range": "0-99999999999"})),
    ],
    "PUT breaks": [("PUT", SESSION, Drop(0))],
    "PUT's answer is lost": [("PUT", SESSION, LOSE)],
    "PUT gets 503": [("PUT", SESSION, Status(503))],
    "PUT stalls": [("PUT", SESSION, STALL)],
    "PUT says the bytes were damaged": [
        ("PUT", SESSION, Status(400, {}, b'{"errors":[{"code":"DIGEST_INVALID"}]}')),
    ],
    "POST breaks": [("POST", BEGIN, Drop(0))],
    "POST's answer is lost": [("POST", BEGIN, LOSE)],
    "POST gets 502": [("POST", BEGIN, Status(502))],
    "HEAD gets 504": [("HEAD", BLOB, Status(504))],
    "tokens expire before PATCH": [("PATCH", SESSION, EXPIRE)],
    "tokens expire before PUT": [("PUT", SESSION, EXPIRE)],
    "tokens expire at a break": [("PATCH", SESSION, Drop(1_000_000)), ("GET", SESSION, EXPIRE)],
    "tokens expire twice": [("PATCH", SESSION, EXPIRE), ("PATCH", SESSION, EXPIRE)],
}


@pytest.mark.parametrize("ecr", [False, True], ids=["oci", "ecr"])
@pytest.mark.parametrize("content", [made, kept, lambda data: Made(lambda: [data], len(data))])
@pytest.mark.parametrize("data", [LARGE, SMALL], ids=["large", "small"])
@pytest.mark.parametrize("fault", FAULTS)
def test_the_bytes_arrive(fault: str, data: bytes, content: Any, ecr: bool, opened: Opening) -> None:
    auth = "bearer" if "token" in fault else ""
    patience = Patience(connect=5, stall=0.3, commit=0.3, pause=3) if "stalls" in fault else None
    to = opened(auth=auth, ecr=ecr, **({"patience": patience} if patience else {}))
    for method, path, action in FAULTS[fault]:
        to.registry.script(method, path, action)
    assert to.destination.put("m", content(data)) == (digest_of(data), len(data))
    assert to.registry.has("models/m", digest_of(data))
    size, there = to.registry.blobs["models/m"][digest_of(data)]
    assert (size, there) == (len(data), data)
    if "429" in fault and data is LARGE:
        assert max(to.naps.seconds) >= 2
    asked = {method for method, _, _ in FAULTS[fault]}
    if data is LARGE and not (asked & ({"GET", "HEAD"} if ecr else {"HEAD"})):
        assert not any(rule.actions for rule in to.registry.rules)  # all of it came to pass
    to.registry.release.set()


def test_what_arrived_is_not_sent_again(opened: Opening) -> None:
    to = opened()
    to.registry.script("PATCH", SESSION, Drop(2_000_000), Drop(1_000_000), Drop(0))
    to.destination.put("m", kept(LARGE))
    assert to.registry.received["PATCH"] <= len(LARGE) + 5 * 65536  # what was on its way when it broke
    assert to.registry.count("POST", BEGIN) == 1


def test_as_long_as_it_gets_on_it_is_not_given_up(opened: Opening) -> None:
    to = opened()
    to.registry.script("PATCH", SESSION, *[Drop(200_000)] * 20)
    to.destination.put("m", kept(LARGE))
    assert to.registry.count("PATCH") > 20


def test_where_uploads_do_not_resume_all_is_sent_again(opened: Opening) -> None:
    to = opened(ecr=True)
    to.registry.script("PATCH", SESSION, Drop(2_000_000))
    to.destination.put("m", kept(LARGE))
    assert to.registry.count("POST", BEGIN) == 2
    assert to.registry.count("GET", SESSION) == 0
    assert to.registry.count("DELETE", SESSION) == 1


@pytest.mark.parametrize(
    ("data", "method", "path", "action"),
    [
        (LARGE, "PATCH", SESSION, Drop(0)),
        (LARGE, "PATCH", SESSION, Status(503)),
        (LARGE, "PUT", SESSION, Status(500)),
        (LARGE, "POST", BEGIN, Status(429)),
        (LARGE, "HEAD", BLOB, Status(503)),
        (SMALL, "PUT", SESSION, Status(500)),
        (SMALL, "POST", BEGIN, Status(429)),
        (SMALL, "HEAD", BLOB, Status(503)),
    ],
)
def test_a_registry_that_goes_on_failing_is_unavailable(
    data: bytes, method: str, path: str, action: Any, opened: Opening
) -> None:
    to = opened()
    to.registry.script(method, path, *[action] * 100)
    with pytest.raises(Unavailable, match=rf"^{to.registry.host} .*: .*\.$"):
        to.destination.put("m", kept(data))
    assert not to.registry.has("models/m", digest_of(data))
    if data is LARGE:
        assert to.registry.sessions == {}  # cleaned up


def test_nothing_listens() -> None:
    from pipelines.image.remote.destination import RegistryDestination
    from pipelines.image.remote.names import Place
    from pipelines.image.remote.transport import Transport
    from sluice.demo.ports import free_pairs

    host = f"127.0.0.1:{free_pairs(1)[0]}"
    destination = RegistryDestination(Place.parse(f"{host}/x"), Transport(host, sleep=lambda seconds: None))
    with pytest.raises(Unavailable, match=r"cannot be reached, or broke off \(ConnectError\): check the address"):
        destination.put("m", Data(b"x"))


@pytest.mark.parametrize("data", [LARGE, SMALL], ids=["large", "small"])
def test_a_registry_that_names_another_digest_is_not_trusted(data: bytes, opened: Opening) -> None:
    to = opened()
    to.registry.script("PUT", SESSION, Lie(digest_of(b"other")))
    with pytest.raises(Refused, match=r"took sha256:.* for another blob: what it holds is not to be trusted"):
        to.destination.put("m", kept(data))


def test_a_registry_that_names_no_digests_will_do(opened: Opening) -> None:
    to = opened()
    to.registry.names_digests = False
    assert to.destination.put("m", kept(LARGE)).digest == digest_of(LARGE)


@pytest.mark.parametrize("error", [Unavailable("S3 is away: wait."), Refused("It is damaged: stop."), OSError("disk")])
@pytest.mark.parametrize("after", [0, 3_000_000])
def test_what_cannot_be_read_is_not_the_registrys_fault(error: Exception, after: int, opened: Opening) -> None:
    to, starts = opened(), itertools.count()

    def make() -> Iterator[bytes]:
        next(starts)
        yield LARGE[:after]
        raise error

    with pytest.raises(type(error)) as raised:
        to.destination.put("m", Made(make, len(LARGE)))
    assert raised.value is error
    assert next(starts) == 1  # whoever reads it has tried again already
    assert to.registry.sessions == {}
    assert to.registry.count("PUT") == 0


def test_a_stale_session_of_another_kind_of_registry_is_left(opened: Opening) -> None:
    to = opened()
    refused = Status(400, {}, b'{"errors":[{"code":"UNSUPPORTED","message":"no layers\\u001b[31m"}]}')
    to.registry.script("PUT", SESSION, refused)
    with pytest.raises(Refused, match=r"refuses a blob of models/m \(400, UNSUPPORTED: no layers.\[31m\)") as raised:
        to.destination.put("m", kept(LARGE))
    assert "\x1b" not in str(raised.value)


# mounting


def test_a_blob_is_mounted_from_its_origin(opened: Opening) -> None:
    to = opened(auth="bearer")
    digest = to.registry.add_blob("base/torch", LARGE)
    content = kept(LARGE, Origin(to.registry.host, "base/torch"))
    assert to.destination.put("m", content) == (digest, len(LARGE))
    assert to.registry.has("models/m", digest)
    assert to.registry.received == {}
    to.registry.clear()
    to.destination.put("m", content)
    assert [method for method, _ in to.registry.requests] == ["HEAD"]


def test_a_mount_that_is_not_made_gives_the_session(opened: Opening) -> None:
    to = opened(mounts=False)
    to.registry.add_blob("base/torch", LARGE)
    to.destination.put("m", kept(LARGE, Origin(to.registry.host, "base/torch")))
    assert [method for method, _ in to.registry.requests] == ["HEAD", "POST", "PATCH", "PUT"]
    assert to.registry.has("models/m", digest_of(LARGE))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
def test_a_mount_that_is_refused_is_no_error(status: int, opened: Opening) -> None:
    to = opened()
    to.registry.script("POST", BEGIN, Status(status))
    to.destination.put("m", kept(LARGE, Origin(to.registry.host, "base/torch")))
    assert to.registry.has("models/m", digest_of(LARGE))


@pytest.mark.parametrize("origin", [Origin("elsewhere.example", "base/torch"), None])
def test_nothing_is_mounted_from_another_registry(origin: Any, opened: Opening) -> None:
    to = opened()
    to.registry.add_blob("base/torch", SMALL)
    to.destination.put("m", kept(SMALL, origin))
    assert [method for method, _ in to.registry.requests] == ["HEAD", "POST", "PUT"]


# requests


@pytest.mark.parametrize(
    ("content", "first", "again"),
    [
        (kept(SMALL), ["HEAD", "POST", "PUT"], ["HEAD"]),
        (Data(SMALL), ["HEAD", "POST", "PUT"], ["HEAD"]),
        (kept(LARGE), ["HEAD", "POST", "PATCH", "PUT"], ["HEAD"]),
        (Data(LARGE), ["HEAD", "POST", "PATCH", "PUT"], ["HEAD"]),
        (made(LARGE), ["POST", "PATCH", "PUT"], ["POST", "PATCH", "PUT"]),
    ],
)
def test_few_requests(content: Any, first: list[str], again: list[str], opened: Opening) -> None:
    to = opened()
    for expected in (first, again):
        to.registry.clear()
        to.destination.put("m", content)
        assert [method for method, _ in to.registry.requests] == expected


def test_a_missing_repository_is_told(opened: Opening) -> None:
    to = opened()
    to.registry.repositories = set()
    with pytest.raises(NotFound, match=r"does not have an upload to models/m \(404, NAME_UNKNOWN"):
        to.destination.put("m", made(LARGE))


# the hash


@given(
    data=st.binary(min_size=0, max_size=400),
    step=st.integers(1, 50),
    mark=st.integers(1, 120),
    breaks=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 400)), max_size=6),
    known=st.booleans(),
)
def test_whatever_broke_the_hash_is_that_of_all_bytes(
    data: bytes, step: int, mark: int, breaks: list[tuple[int, int]], known: bool
) -> None:
    def chunks(start: int = 0) -> Iterator[bytes]:
        return (data[at : at + step] for at in range(start, len(data), step))

    content: Any = Made(chunks, len(data) if known else None)
    feed, position = Feed(content, chunks, mark), 0
    stored = b""
    for pieces, back in breaks:
        got = b"".join(itertools.islice(feed.fed(position), pieces))
        assert got == data[position : position + len(got)]
        assert feed.blob is None or feed.blob.size == len(data)
        position = max(0, min(position + len(got) - back, len(data)))  # a registry never has more than it got
        stored = data[:position]
    assert stored + b"".join(feed.fed(position)) == data
    assert feed.blob == (digest_of(data), len(data))


@pytest.mark.parametrize("start", [0, 100])
def test_wrong_bytes_are_told_before_the_last_piece(start: int) -> None:
    content = kept(noise(1000), step=100)
    wrong = noise(1000, 1)
    feed, got = Feed(content, lambda at: (wrong[i : i + 100] for i in range(at, 1000, 100))), b""

    def read() -> None:
        nonlocal got
        for piece in feed.fed(start):
            got += piece

    with pytest.raises(SourceFailed):
        read()
    assert got == wrong[start:900]
    assert feed.blob is None
