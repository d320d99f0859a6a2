"""Names of images, and what they may not be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.image.remote.dialects import ECR, OCI, Dialect, EcrHost
from pipelines.image.remote.names import ImageName, Place, root_of
from registry.errors import InvalidInput

HEX = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "host", "repository", "tag", "digest"),
    [
        ("ubuntu", "docker.io", "library/ubuntu", "latest", None),
        ("ubuntu:24.04", "docker.io", "library/ubuntu", "24.04", None),
        (f"ubuntu@{HEX}", "docker.io", "library/ubuntu", None, HEX),
        ("pytorch/torchserve", "docker.io", "pytorch/torchserve", "latest", None),
        ("docker.io/ubuntu", "docker.io", "library/ubuntu", "latest", None),
        ("index.docker.io/a/b", "docker.io", "a/b", "latest", None),
        ("public.ecr.aws/x/y:tag", "public.ecr.aws", "x/y", "tag", None),
        (f"host:5000/a/b@{HEX}", "host:5000", "a/b", None, HEX),
        (f"host:5000/a/b:v7@{HEX}", "host:5000", "a/b", "v7", HEX),
        ("localhost/a", "localhost", "a", "latest", None),
        ("localhost:5000/a:1", "localhost:5000", "a", "1", None),
        ("[::1]:5000/a/b:1", "[::1]:5000", "a/b", "1", None),
        ("127.0.0.1/a", "127.0.0.1", "a", "latest", None),
        ("Example.COM/a", "example.com", "a", "latest", None),
        ("host:5000", "docker.io", "library/host", "5000", None),
        ("a/b.c_d__e--f/g", "docker.io", "a/b.c_d__e--f/g", "latest", None),
        (f"ubuntu:{'x' * 128}", "docker.io", "library/ubuntu", "x" * 128, None),
        (
            "763104351884.dkr.ecr.eu-west-1.amazonaws.com/pytorch-inference:2.6.0-gpu",
            "763104351884.dkr.ecr.eu-west-1.amazonaws.com",
            "pytorch-inference",
            "2.6.0-gpu",
            None,
        ),
    ],
)
def test_names_as_people_write_them(text: str, host: str, repository: str, tag: str | None, digest: str | None) -> None:
    name = ImageName.parse(text)
    assert (name.host, name.repository, name.tag, name.digest) == (host, repository, tag, digest)
    assert name.version == (digest or tag)
    assert ImageName.parse(str(name)) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        ":",
        "@",
        "a/",
        "/a",
        "a//b",
        "a/B",
        "UBUNTU",
        "a:",
        "a:-tag",
        f"a:{'x' * 129}",
        "a@",
        "a@sha256:abc",
        f"a@sha512:{'a' * 128}",
        f"a@{HEX}@{HEX}",
        "https://host/a",
        "docker://a",
        "host:/a",
        "host:0/a",
        "host:65536/a",
        "Registry/a",
        "ho_st.x/a",
        "-host.x/a",
        "host..x/a",
        "user:pw@host.x/a",
        "[::1/a",
        "[zz]:5000/a",
        "a..b/c",
        "a___b",
        "a/../b",
        "host.x/a?x=y",
        "host.x/a#b",
        "host.x/a%2e",
        "host.x/a\n",
        "host.x/a b",
        "ü/a",
        "host.x/" + "a" * 256,
        "a" * 5000,
        "a/" * 5000,
    ],
)
def test_what_names_no_image(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"(?s).*: .*\.$"):
        ImageName.parse(text)


@given(st.text(alphabet=st.sampled_from("ab:/@.-_[]5%?#A0 \n"), max_size=60))
def test_any_text_is_a_name_or_told(text: str) -> None:
    try:
        name = ImageName.parse(text)
    except InvalidInput as error:
        assert len(str(error)) < 600  # noqa: PT017
    else:
        assert ImageName.parse(str(name)) == name


@pytest.mark.parametrize(
    ("host", "root"),
    [
        ("docker.io", "https://registry-1.docker.io"),
        ("example.com:5000", "https://example.com:5000"),
        ("localhost", "http://localhost"),
        ("localhost:5000", "http://localhost:5000"),
        ("127.0.0.1:80", "http://127.0.0.1:80"),
        ("127.8.9.1", "http://127.8.9.1"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("10.0.0.1", "https://10.0.0.1"),
        ("localhost.example.com", "https://localhost.example.com"),
        ("127.0.0.1.example.com", "https://127.0.0.1.example.com"),
        ("[::2]", "https://[::2]"),
        ("0.0.0.0", "https://0.0.0.0"),
    ],
)
def test_plain_http_is_for_this_machine(host: str, root: str) -> None:
    assert root_of(host) == root


@pytest.mark.parametrize(
    ("text", "host", "prefix", "repository"),
    [
        ("example.com", "example.com", "", "fraud"),
        ("example.com/", "example.com", "", "fraud"),
        ("example.com:5000/a/b/", "example.com:5000", "a/b", "a/b/fraud"),
        ("docker.io/me", "docker.io", "me", "me/fraud"),
        ("localhost:1/x", "localhost:1", "x", "x/fraud"),
    ],
)
def test_places(text: str, host: str, prefix: str, repository: str) -> None:
    place = Place.parse(text)
    assert (place.host, place.prefix, place.repository("fraud")) == (host, prefix, repository)


@pytest.mark.parametrize(
    "text", ["", "me", "me/models", "example.com/A", "example.com/a:tag", "https://a.b/c", "x" * 2000]
)
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"names no image|is no place for images"):
        Place.parse(text)


def test_a_prefix_that_is_too_long_for_a_model() -> None:
    with pytest.raises(InvalidInput, match="cannot name a repository"):
        Place.parse("example.com/" + "a" * 250).repository("fraud-detector")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", ("123456789012", "eu-west-1")),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", ("123456789012", "us-gov-west-1")),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", ("123456789012", "cn-north-1")),
        ("12345.dkr.ecr.eu-west-1.amazonaws.com", None),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example", None),
        ("public.ecr.aws", None),
        ("x123456789012.dkr.ecr.eu-west-1.amazonaws.com", None),
    ],
)
def test_ecr_is_known_by_its_name(host: str, expected: tuple[str, str] | None) -> None:
    assert EcrHost.of(host) == expected
    assert Dialect.of(host) == (ECR if expected else OCI)
