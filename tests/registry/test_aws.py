from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry.aws import Clients, call
from registry.errors import InvalidInput, NotFound, Refused, SluiceError, Unavailable
from registry.progress import Silent
from registry.s3 import S3Blobs, S3Store
from registry.sagemaker import SageMakerSources
from sluice.demo.endpoints import Endpoints

pytestmark = pytest.mark.usefixtures("no_waits")

VERBS: dict[str, Callable[[S3Store], object]] = {
    "get": lambda store: store.get("k"),
    "create": lambda store: store.create("k", b"1"),
    "replace": lambda store: store.replace("k", b"1", '"0"'),
    "list": lambda store: list(store.list("")),
    "folders": lambda store: list(store.folders("")),
}


@pytest.fixture
def nobody() -> str:
    """An address on loopback where nobody answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def told(error: pytest.ExceptionInfo[SluiceError], endpoints: Endpoints) -> str:
    """The sentence, which has no secret in it."""
    said = str(error.value)
    assert endpoints.secret_key not in said
    assert os.environ.get("AWS_SECRET_ACCESS_KEY", endpoints.secret_key) not in said
    assert "\n" not in said
    return said


@pytest.mark.parametrize("verb", VERBS)
def test_an_endpoint_that_nobody_answers_at_is_named(
    aws: Endpoints, nobody: str, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", nobody)
    with pytest.raises(Unavailable) as caught:
        VERBS[verb](S3Store(Clients(), "bucket"))
    said = told(caught, aws)
    assert said == f"S3 at {nobody} cannot be reached (EndpointConnectionError): check the endpoint and the network."


def test_sagemaker_that_nobody_answers_for_is_named(
    aws: Endpoints, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", nobody)
    with pytest.raises(Unavailable, match=f"^SageMaker at {nobody} cannot be reached"):
        SageMakerSources(Clients()).find("job")


def test_a_password_in_the_endpoint_is_not_told(aws: Endpoints, nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", nobody.replace("://", "://user:hunter2@"))
    with pytest.raises(SluiceError) as caught:
        S3Store(Clients(), "bucket").get("k")
    assert "hunter2" not in told(caught, aws)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("AWS_ACCESS_KEY_ID", "AKIAWRONGWRONGWRONG1", "InvalidAccessKeyId"),
        ("AWS_SECRET_ACCESS_KEY", "wrong-secret-wrong-secret", "SignatureDoesNotMatch"),
    ],
)
def test_wrong_credentials(
    aws: Endpoints,
    new_bucket: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    wrong: Callable[[str, str], Clients],
    verb: str,
    name: str,
    value: str,
    code: str,
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInput) as caught:
        VERBS[verb](S3Store(wrong(name, value), new_bucket()))
    said = told(caught, aws)
    assert said == f"S3 does not accept these AWS credentials ({code}): renew or correct them."


@pytest.fixture(scope="module")
def made() -> dict[tuple[str, str], Clients]:
    return {}


@pytest.fixture
def wrong(made: dict[tuple[str, str], Clients]) -> Callable[[str, str], Clients]:
    """Clients made in the environment as it is, the first time that it is so."""

    def make(name: str, value: str) -> Clients:
        if (name, value) not in made:
            made[name, value] = Clients()
        return made[name, value]

    return make


def test_wrong_credentials_where_the_answer_has_no_body(
    aws: Endpoints, new_bucket: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret-wrong-secret")
    with pytest.raises(Refused, match=r"^S3 denies this to these AWS credentials") as caught:
        S3Blobs(Clients(), new_bucket()).size("sha256:" + "0" * 64)
    told(caught, aws)


def test_sagemaker_denies(aws: Endpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAWRONGWRONGWRONG1")
    with pytest.raises(
        Refused, match=r"^SageMaker denies this to these AWS credentials: ask for the permission"
    ) as caught:
        SageMakerSources(Clients()).find("job")
    told(caught, aws)


def test_no_credentials_at_all(aws: Endpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(InvalidInput, match=r"^There are no usable AWS credentials for S3: set AWS_PROFILE or"):
        S3Store(Clients(), "bucket").get("k")


@pytest.mark.parametrize("verb", VERBS)
def test_a_bucket_that_is_not_there_is_named(clients: Clients, aws: Endpoints, verb: str) -> None:
    with pytest.raises(NotFound) as caught:
        VERBS[verb](S3Store(clients, "no-such-bucket-here"))
    said = told(caught, aws)
    assert said == "There is no bucket no-such-bucket-here: create it, or correct the bucket in the settings."


def test_a_blob_for_a_bucket_that_is_not_there(clients: Clients) -> None:
    with pytest.raises(NotFound, match="no-such-bucket-here"):
        S3Blobs(clients, "no-such-bucket-here").put([b"x"], what="x", progress=Silent())


@pytest.mark.parametrize("bucket", ["", "a/b", "UPPER CASE", "x" * 300, "é"])
def test_a_bucket_that_cannot_be_is_one_sentence(clients: Clients, aws: Endpoints, bucket: str) -> None:
    with pytest.raises(SluiceError) as caught:
        S3Store(clients, bucket).get("k")
    told(caught, aws)


SLOW_DOWN = "answer 503 <Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


@pytest.mark.parametrize(
    "answer",
    [
        SLOW_DOWN,
        "answer 500 <Error><Code>InternalError</Code><Message>We are sorry.</Message></Error>",
        "answer 409 <Error><Code>ConditionalRequestConflict</Code><Message>At the same time.</Message></Error>",
        "answer 429 too many",
        "answer 502 <html>bad gateway</html>",
        "answer 400 <Error><Code>RequestTimeout</Code><Message>Idle.</Message></Error>",
    ],
)
def test_what_passes_by_itself_is_waited_for(proxy: Any, proxied: Clients, s3_store: S3Store, answer: str) -> None:
    proxy.fault = lambda _: answer if len(proxy.requests) < 3 else ""
    etag = S3Store(proxied, s3_store.bucket).create("k", b"1")
    assert [request.method for request in proxy.requests] == ["PUT"] * 3
    assert s3_store.get("k") == (b"1", etag)


def test_what_does_not_pass_is_told_after_five_attempts(
    proxy: Any, proxied: Clients, s3_store: S3Store, aws: Endpoints
) -> None:
    proxy.fault = lambda _: SLOW_DOWN
    with pytest.raises(Unavailable) as caught:
        S3Store(proxied, s3_store.bucket).create("k", b"1")
    assert told(caught, aws) == "S3 is overloaded or failing (SlowDown): try again in a minute."
    assert len(proxy.requests) == 5


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidBucketState", "NobodyKnows"])
def test_what_does_not_pass_is_not_tried_again(proxy: Any, proxied: Clients, s3_store: S3Store, code: str) -> None:
    status = 403 if code == "AccessDenied" else 400
    proxy.fault = lambda _: f"answer {status} <Error><Code>{code}</Code><Message>Said so.</Message></Error>"
    with pytest.raises(SluiceError, match=rf"{code}.*Said so") as caught:
        S3Store(proxied, s3_store.bucket).create("k", b"1")
    assert isinstance(caught.value, Refused) == (code == "AccessDenied")
    assert len(proxy.requests) == 1


def test_an_answer_without_a_body_is_one_sentence(proxy: Any, proxied: Clients, s3_blobs: S3Blobs) -> None:
    proxy.fault = lambda _: "answer 400 -"
    with pytest.raises(SluiceError, match=r"^S3 refuses the request \(400"):
        S3Blobs(proxied, s3_blobs.bucket).size("sha256:" + "0" * 64)


@pytest.mark.parametrize("url", ["nonsense", "http://", "http://[", "ftp//x"])
def test_an_endpoint_that_is_no_url_is_one_sentence(aws: Endpoints, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
    with pytest.raises(SluiceError) as caught:
        S3Store(Clients(), "bucket").get("k")
    assert isinstance(caught.value, InvalidInput | Unavailable)
    told(caught, aws)


def test_a_profile_that_is_not_there_is_one_sentence(aws: Endpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(InvalidInput, match=r"^The AWS configuration cannot be used \(.*nobody.*\): correct"):
        Clients().s3()


def test_a_broken_configuration_file_is_one_sentence(
    aws: Endpoints, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("[default\nregion")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    with pytest.raises(InvalidInput, match=r"^The AWS configuration cannot be used") as caught:
        Clients().s3()
    told(caught, aws)


@pytest.mark.parametrize(
    ("environment", "given", "region"),
    [
        ({}, None, "us-east-1"),
        ({"AWS_REGION": "eu-west-1"}, None, "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-2"}, None, "eu-west-2"),
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, None, "eu-west-1"),
        ({"AWS_REGION": "eu-west-1"}, "eu-west-3", "eu-west-3"),
        ({"AWS_REGION": ""}, None, "us-east-1"),
    ],
)
def test_where_the_region_comes_from(
    aws: Endpoints,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    given: str | None,
    region: str,
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Clients(given).region == region


def test_each_service_has_its_client(clients: Clients, aws: Endpoints) -> None:
    assert clients.s3().meta.endpoint_url == aws.s3_url
    for client in (clients.sagemaker(), clients.ecr()):
        assert client.meta.endpoint_url == aws.aws_url
        client.close()


def test_another_error_of_the_callers_own_passes_through() -> None:
    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call("S3", broken)
