from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from registry.errors import InvalidInput
from registry.names import (
    LATEST,
    MODEL_NAME_MAX,
    AliasName,
    AliasRef,
    Digest,
    EnvironmentName,
    ImageRef,
    ModelName,
    S3Uri,
    VersionRef,
    check_alias,
    check_digest,
    check_image,
    check_label,
    parse_reference,
)

HEX = "0123456789abcdef"
LABELS = st.from_regex(r"[a-z][a-z0-9]{0,7}(-[a-z0-9]{1,7}){0,4}", fullmatch=True).filter(
    lambda name: len(name) <= MODEL_NAME_MAX
)
NUMBERS = st.integers(1, 9_999_999_999)
DIGESTS = st.text(HEX, min_size=64, max_size=64).map("sha256:".__add__)
JUNK = st.text() | st.text("@/:.-_0123456789abzAZs3 \n\t\0é٣", max_size=90)


def refusal(read: Callable[[str], object], text: str) -> str:
    """What is said against the text, "" where nothing is."""
    try:
        read(text)
    except InvalidInput as error:
        return str(error)
    return ""


@given(LABELS, NUMBERS)
def test_a_version_reads_as_it_is_written(model: str, number: int) -> None:
    ref = VersionRef(model=model, number=number)
    assert str(ref) == f"{model}@{number}"
    assert VersionRef.parse(str(ref)) == ref


@given(JUNK | st.tuples(LABELS, st.text(max_size=12)).map("@".join))
@example("fraud@0")
@example("fraud@07")
@example("fraud@+7")
@example("fraud@7\n")
@example("fraud@٣")
@example("fraud@10000000000")
@example("fraud@7@7")
def test_what_is_not_a_version_is_one_sentence(text: str) -> None:
    said = refusal(VersionRef.parse, text)
    assert "\n" not in said
    assert len(said) < 400
    assert said or str(VersionRef.parse(text)) == text


@given(LABELS, NUMBERS, LABELS | st.just(LATEST))
def test_a_reference_reads_as_it_is_written(model: str, number: int, alias: str) -> None:
    version = VersionRef(model=model, number=number)
    assert parse_reference(str(version)) == version
    named = AliasRef(model=model, alias=alias)
    assert str(named) == f"{model}@{alias}"
    assert parse_reference(str(named)) == named


@given(JUNK | st.tuples(LABELS, JUNK).map("@".join))
@example("fraud@")
@example("fraud@Champion")
@example("fraud@a--b")
@example("fraud@é")
@example("fraud@ª")
@example("fraud@latest\n")
@example("fraud@champion@2")
@example("fraud@" + "a" * 41)
@example("Fraud@latest")
def test_what_is_no_reference_is_one_sentence(text: str) -> None:
    said = refusal(parse_reference, text)
    assert "\n" not in said
    assert len(said) < 500
    assert said or str(parse_reference(text)) == text


def test_latest_is_no_alias_that_anybody_moves() -> None:
    assert check_alias("champion") == "champion"
    for name in (LATEST, "7", "Champion", "a/b", ""):
        with pytest.raises(InvalidInput):
            check_alias(name)
    with pytest.raises(InvalidInput, match=r"^latest always names the newest version: give the alias another name\.$"):
        check_alias(LATEST)


@pytest.mark.parametrize(
    "text", ["", "fraud", "fraud@", "@7", "fraud@0", "fraud@07", "fraud@-1", "Fraud@7", "fraud@7 "]
)
def test_the_usual_mistakes_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        VersionRef.parse(text)


def test_the_sentence_says_how_to_write_it() -> None:
    with pytest.raises(InvalidInput, match=r"^'fraud:7' cannot name a model: use at most 40 lower-case letters"):
        VersionRef.parse("fraud:7")
    with pytest.raises(InvalidInput, match=r"^'fraud@x' is not a version: write it as fraud@7"):
        VersionRef.parse("fraud@x")


@given(LABELS)
def test_labels_are_kept(name: str) -> None:
    assert check_label(name) == name


BAD_LABELS = ["", "-a", "a-", "a--b", "1a", "A", "a_b", "a.b", "a/b", "a b", "é", "a\n", "../a", "a" * 41]


@pytest.mark.parametrize("name", BAD_LABELS)
def test_what_cannot_be_a_label_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot name a model"):
        check_label(name)
    with pytest.raises(InvalidInput, match="cannot name an environment"):
        check_label(name, "environment")


def test_the_longest_label() -> None:
    assert check_label("a" * MODEL_NAME_MAX)


@given(JUNK)
def test_an_accepted_label_is_one_that_kubernetes_and_ecr_take(name: str) -> None:
    if refusal(check_label, name):
        return
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)  # RFC 1035, as Kubernetes checks it
    assert re.fullmatch(r"[a-z0-9]+([._-][a-z0-9]+)*", name)  # ECR API reference, CreateRepository
    assert len(name) + len("-canary") <= 63


@given(DIGESTS)
def test_digests_are_kept(digest: str) -> None:
    assert check_digest(digest) == digest


@given(JUNK | DIGESTS.map(str.upper) | DIGESTS.map(lambda d: d[:-1]) | DIGESTS.map(lambda d: d + "\n"))
def test_what_is_not_a_digest_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not a digest"):
        check_digest(text)


REPOSITORIES = st.lists(st.from_regex(r"[a-z0-9]+([._-][a-z0-9]+)?", fullmatch=True), min_size=1, max_size=3)
HOSTS = st.sampled_from(["localhost:5000", "123456789012.dkr.ecr.eu-west-1.amazonaws.com", "127.0.0.1:1", "ghcr.io"])


@given(HOSTS, REPOSITORIES, DIGESTS)
def test_images_by_digest_are_kept(host: str, repository: list[str], digest: str) -> None:
    image = f"{host}/{'/'.join(repository)}@{digest}"
    assert check_image(image) == image


@given(JUNK | st.tuples(HOSTS, JUNK, DIGESTS).map(lambda t: f"{t[0]}/{t[1]}@{t[2]}"))
def test_what_is_not_an_image_is_one_sentence(text: str) -> None:
    said = refusal(check_image, text)
    assert "\n" not in said
    if said:
        assert "is not an image by digest" in said
        return
    assert check_image(text) == text
    assert re.fullmatch(r"[!-~]+@sha256:[0-9a-f]{64}", text)


DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    "image",
    [
        "ghcr.io/a:1",
        f"ghcr.io/a:1@{DIGEST}",
        f"ghcr.io@{DIGEST}",
        f"ghcr.io/A@{DIGEST}",
        f"ghcr.io/a@{DIGEST[:-1]}",
        f"ghcr.io/a/@{DIGEST}",
        f"ghcr.io//a@{DIGEST}",
        f"ghcr.io/../a@{DIGEST}",
        f"https://ghcr.io/a@{DIGEST}",
        f"user:secret@ghcr.io/a@{DIGEST}",
        f"ghcr.io/a@{DIGEST}\n",
    ],
)
def test_images_that_no_registry_takes(image: str) -> None:
    with pytest.raises(InvalidInput):
        check_image(image)


def test_a_long_hostile_image_is_refused_at_once() -> None:
    for text in ("a/" + "a-" * 50_000 + "!", "a/" + "a__" * 50_000, "a" + "/a" * 50_000 + "@"):
        with pytest.raises(InvalidInput):
            check_image(text)


BUCKETS = st.from_regex(r"[a-z0-9][a-z0-9-]{1,20}[a-z0-9]", fullmatch=True)


@given(BUCKETS, st.text(min_size=1).filter(lambda key: "\n" not in key))
def test_an_object_reads_as_it_is_written(bucket: str, key: str) -> None:
    uri = S3Uri.parse(f"s3://{bucket}/{key}")
    assert (uri.bucket, uri.key) == (bucket, key)
    assert str(uri) == f"s3://{bucket}/{key}"


@given(JUNK | JUNK.map("s3://".__add__))
def test_what_is_not_an_object_is_one_sentence(text: str) -> None:
    said = refusal(S3Uri.parse, text)
    assert "\n" not in said
    if said:
        assert "write it as s3://bucket/key" in said
    else:
        assert str(S3Uri.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket",
        "s3://bucket/",
        "s3:///key",
        "s3://Bucket/k",
        "s3://ab/k",
        "s3://a..b/k",
        "s3://10.0.0.1/k",
        "s3://-ab/k",
        "s3://" + "a" * 64 + "/k",
        "http://bucket/key",
        "bucket/key",
        "s3://user@bucket/key",
        "S3://abc/k",
    ],
)
def test_objects_that_no_bucket_holds(text: str) -> None:
    with pytest.raises(InvalidInput):
        S3Uri.parse(text)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://a.b-c/k",
        "s3://1.2/k",
        "s3://123/k",
        "s3://1.2.3.4.5/k",
        "s3://abc/a..b",
        "s3://abc//",
        "s3://my.bucket.1/10.0.0.1",
    ],
)
def test_objects_that_look_odd_but_are_none_the_less(uri: str) -> None:
    assert str(S3Uri.parse(uri)) == uri


class Fields(BaseModel):
    model: ModelName = "fraud"
    environment: EnvironmentName = "prod"
    alias: AliasName = "champion"
    digest: Digest = DIGEST
    image: ImageRef = f"ghcr.io/a@{DIGEST}"


@pytest.mark.parametrize("field", ["model", "environment", "alias", "digest", "image"])
def test_as_a_field_it_says_where_it_is_wrong(field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Fields.model_validate({field: "No Good"})
    assert [error["loc"] for error in caught.value.errors()] == [(field,)]
    assert "'No Good'" in caught.value.errors()[0]["msg"]
