"""Reading and writing records, the registry's hot path, through obstore: a seventh of the time that boto3 takes.

boto3 stays for all else. What obstore says went wrong is raised as what botocore would have raised, so that
`registry.aws.ask` tells people the same and tries the same again. It gives the HTTP status and S3's answer only in
an error's text, which is read here and nowhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import urlsplit

from registry.aws import Clients
from registry.errors import InvalidInput
from registry.names import check_bucket
from registry.s3read import ask_s3
from registry.store import Stored, StoredObject

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Credential, S3Store

T = TypeVar("T")

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([^<]{1,100})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{0,500})</Message>")
_PLAIN = re.compile(r"(?!\.\.?(?:/|$))[^/\x00-\x1f\x7f]+(?:/(?!\.\.?(?:/|$))[^/\x00-\x1f\x7f]+)*")
_BUCKET = re.compile(r"<BucketName>([^<]{1,100})</BucketName>")
_CREDENTIALS_LAST = timedelta(minutes=5)
"""How long credentials are used before they are asked for again; boto3 renews its own 10 minutes before their end."""


class Objects:
    """Whole objects of one bucket. The client is made when it is first asked for."""

    def __init__(self, clients: Clients, bucket: str) -> None:
        self._clients = clients
        self._bucket = bucket
        self._made: S3Store | None = None

    def get(self, key: str) -> Stored:
        """The object; one request.

        Raises:
            Answered: it is not there.
        """

        def read() -> Stored:
            answer = self._store().get(key)
            return Stored(bytes(answer.bytes()), answer.meta["e_tag"] or "")

        return ask_s3(self._translating, "GetObject", read)

    def head(self, key: str) -> StoredObject:
        """Size and age of the object; one request.

        Raises:
            Answered: with status 404 it is not there.
        """

        def ask() -> StoredObject:
            found = self._store().head(key)
            return StoredObject(key, found["size"], found["last_modified"].astimezone(UTC))

        return ask_s3(self._translating, "HeadObject", ask)

    def put_new(self, key: str, data: bytes) -> str:
        """Write an object where there is none and return its etag; one request.

        Raises:
            Answered: with status 412 there is one.
        """
        return ask_s3(self._translating, "PutObject", lambda: self._put(key, data, "create"))

    def put_over(self, key: str, data: bytes, etag: str) -> str:
        """Write over the object that has this etag and return the new one; one request.

        Raises:
            Answered: with status 412 it has another, with 404 there is none.
        """
        return ask_s3(self._translating, "PutObject", lambda: self._put(key, data, etag))

    def _put(self, key: str, data: bytes, etag: str | Literal["create"]) -> str:
        if not is_plain(key):
            raise InvalidInput(
                f"{key[:200]!r} would be written under another key: give one without empty parts or dots."
            )
        answer = self._store().put(key, data, mode="create" if etag == "create" else {"e_tag": etag})
        return answer["e_tag"] or ""

    def _store(self) -> S3Store:
        if self._made is None:
            self._made = store_of(self._clients, self._bucket)
        return self._made

    def _translating(self, operation: str, function: Callable[[], T]) -> T:
        from obstore.exceptions import BaseError

        try:
            return function()
        except (BaseError, FileNotFoundError, NotImplementedError) as error:
            raise self._translated(operation, error) from error

    def _translated(self, operation: str, error: Exception) -> Exception:
        from botocore.exceptions import ClientError
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        said = str(error)
        status = _found(_STATUS, said)
        if not status:
            if isinstance(error, AlreadyExistsError | PreconditionError):
                status = "412"
            else:
                return self._unanswered(said)
        answer: Any = {
            "Error": {
                "Code": _found(_CODE, said) or status,
                "Message": _found(_MESSAGE, said),
                "BucketName": _found(_BUCKET, said) or self._bucket,
            },
            "ResponseMetadata": {"HTTPStatusCode": int(status)},
        }
        return ClientError(answer, operation)

    def _unanswered(self, said: str) -> Exception:
        from botocore import exceptions as core

        url = self._clients.s3().meta.endpoint_url
        if "InvalidCertificate" in said:
            return core.SSLError(endpoint_url=url, error=ValueError("no trusted certificate"))
        if "ConnectError" in said or "tcp connect" in said or "dns error" in said:
            return core.EndpointConnectionError(endpoint_url=url, error="no connection")
        if "TimedOut" in said or "timed out" in said:
            return core.ReadTimeoutError(endpoint_url=url, error="no answer")
        return core.ConnectionClosedError(endpoint_url=url)


def _found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1] if match else ""


def is_plain(key: str) -> bool:
    """Whether obstore takes a key as it is; it leaves out empty parts, and `.` and `..` mean something to it."""
    return _PLAIN.fullmatch(key) is not None


def store_of(clients: Clients, bucket: str) -> S3Store:
    """obstore's client for a bucket, at boto3's endpoint and with boto3's credentials.

    On AWS the bucket is in the host's name, as it asks for; elsewhere in the path, as all servers know.

    Raises:
        InvalidInput: no bucket has such a name.
    """
    from botocore.exceptions import NoCredentialsError
    from obstore.store import S3Store

    check_bucket(bucket)  # obstore panics where a name makes no address
    if clients.credentials() is None:
        raise NoCredentialsError
    url = clients.s3().meta.endpoint_url
    host = urlsplit(url).hostname or ""
    on_aws = host.endswith((".amazonaws.com", ".amazonaws.com.cn")) and "." not in bucket
    return S3Store(
        bucket,
        endpoint=url.replace("://", f"://{bucket}.", 1) if on_aws else url,
        virtual_hosted_style_request=on_aws,
        region=clients.region,
        credential_provider=lambda: _credentials(clients),
        client_options=_options(url),
        retry_config={"max_retries": 0},
    )


def _options(url: str) -> ClientConfig:
    options: ClientConfig = {
        "allow_http": url.startswith("http://"),
        "connect_timeout": timedelta(seconds=5),
        "timeout": timedelta(seconds=60),
    }
    bundle = os.environ.get("AWS_CA_BUNDLE")
    if bundle and url.startswith("https://"):
        try:
            options["root_certificate"] = Path(bundle).read_bytes()
        except OSError as error:
            raise InvalidInput(f"AWS_CA_BUNDLE names {bundle}, which cannot be read: correct or unset it.") from error
    return options


def _credentials(clients: Clients) -> S3Credential:
    from botocore.exceptions import NoCredentialsError

    found = clients.credentials()
    if found is None or not found.access_key or not found.secret_key:
        raise NoCredentialsError
    return {
        "access_key_id": found.access_key,
        "secret_access_key": found.secret_key,
        "token": found.token,
        "expires_at": datetime.now(UTC) + _CREDENTIALS_LAST,
    }
