"""The one place that makes AWS clients and says what went wrong with them.

Endpoints, region and credentials come from the standard AWS environment: AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_S3 and
their like, AWS_REGION, profiles, roles (AWS SDKs and Tools Reference Guide, "Service-specific endpoints").
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

from registry.errors import InvalidInput, NotFound, Refused, SluiceError, Unavailable
from registry.retry import retrying

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials
    from mypy_boto3_codecommit import CodeCommitClient
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient

P = ParamSpec("P")
T = TypeVar("T")

_TRANSIENT = frozenset(
    {
        "ConditionalRequestConflict",
        "InternalError",
        "InternalServerError",
        "InternalFailure",
        "OperationAborted",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403", "Forbidden"})
_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "InvalidToken",
        "MissingAuthenticationToken",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_NO_REGION = "us-east-1"


class Answered(SluiceError):
    """A service said no in words that only the caller may know; whoever does not lets it pass, as one sentence."""

    def __init__(self, service: str, error: Exception) -> None:
        self.code, self.status = error_code(error), status_code(error)
        said = getattr(error, "response", {}).get("Error", {}).get("Message", "")
        super().__init__(
            f"{service} refuses the request ({self.code or self.status}: {said}): check the endpoint, the bucket and"
            " the region."
        )


class Clients:
    """Makes boto3 clients, one of each kind, with one retry mechanism: ours, so boto3's own is off.

    Raises:
        InvalidInput: what the AWS environment says cannot be: a profile that is not there, no URL for an endpoint.
    """

    def __init__(self, region: str | None = None) -> None:
        import boto3
        from botocore.config import Config

        with _configuring():
            # boto3 itself does not read AWS_REGION, which EKS and the other SDKs use
            self._session = boto3.Session(region_name=region or os.environ.get("AWS_REGION") or None)
            self.region = self._session.region_name or _NO_REGION
        self._clients: dict[str, Any] = {}
        self._lock = Lock()
        self._config = Config(
            retries={"mode": "standard", "total_max_attempts": 1},
            connect_timeout=5,
            read_timeout=60,
            max_pool_connections=32,
            s3={"addressing_style": "auto"},
        )

    def s3(self) -> S3Client:
        """A client for S3."""
        client: S3Client = self._client("s3")
        return client

    def sagemaker(self) -> SageMakerClient:
        """A client for SageMaker's control plane."""
        client: SageMakerClient = self._client("sagemaker")
        return client

    def ecr(self) -> ECRClient:
        """A client for ECR's control plane."""
        client: ECRClient = self._client("ecr")
        return client

    def codecommit(self) -> CodeCommitClient:
        """A client for CodeCommit's control plane."""
        client: CodeCommitClient = self._client("codecommit")
        return client

    def kms(self) -> Any:
        """A client for KMS."""
        return self._client("kms")

    def credentials(self) -> ReadOnlyCredentials | None:
        """The credentials as they are now, renewed where they had to be; None where there are none.

        Raises:
            botocore.exceptions.BotoCoreError: they cannot be had.
        """
        found = self._session.get_credentials()
        return None if found is None else found.get_frozen_credentials()

    def _client(self, service: str) -> Any:
        with self._lock, _configuring():
            if service not in self._clients:
                make: Any = self._session.client
                self._clients[service] = make(service, region_name=self.region, config=self._config)
            return self._clients[service]


@contextmanager
def _configuring() -> Iterator[None]:
    from botocore.exceptions import BotoCoreError

    try:
        yield
    except (BotoCoreError, ValueError) as error:  # botocore tells of a bad endpoint with a bare ValueError
        said = str(error).rstrip(".")
        raise InvalidInput(f"The AWS configuration cannot be used ({said}): correct the environment.") from error


def explicit_client(
    service: str, *, endpoint_url: str, access_key: str, secret_key: str, region: str, timeout: float
) -> Any:
    """A client for one endpoint that heeds nothing of the environment, not even proxies; for servers of our own.

    It neither retries nor waits longer than `timeout` seconds. The caller closes it.
    """
    import boto3
    import botocore.session
    from botocore.config import Config

    unset, nowhere = (None, None, None, None), (None, None, os.devnull, None)
    bare = botocore.session.Session(
        session_vars={"profile": unset, "config_file": nowhere, "credentials_file": nowhere}
    )
    session = boto3.Session(
        botocore_session=bare, aws_access_key_id=access_key, aws_secret_access_key=secret_key, region_name=region
    )
    make: Any = session.client
    config = Config(proxies={}, connect_timeout=timeout, read_timeout=timeout, retries={"total_max_attempts": 1})
    return make(service, endpoint_url=endpoint_url, config=config)


def call(service: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `function`, again where the fault may pass, and raise botocore's errors as ours.

    `botocore.exceptions.ClientError` that says neither of "wait", "no access" nor "no credentials" is left as it is,
    for the caller who knows what it means.

    Raises:
        Unavailable: the service did not answer, or answered that it is overloaded, until the attempts ran out.
        Refused: the credentials do not allow it.
        InvalidInput: there are no credentials, or they are not valid.
    """

    def once() -> T:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return function(*args, **kwargs)
        except ClientError as error:
            translated = _client_error(service, error)
            if translated is None:
                raise
            raise translated from error
        except BotoCoreError as error:
            raise _core_error(service, error) from error

    return retrying()(once)


def ask(service: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As `call`, but what else the service says comes as `Answered`, which a person can read.

    Raises:
        Answered: the service said no, for another reason than those of `call`.
    """
    from botocore.exceptions import ClientError

    try:
        return call(service, function, *args, **kwargs)
    except ClientError as error:
        raise Answered(service, error) from error


def error_code(error: Exception) -> str:
    """The code of a botocore ClientError, such as `NoSuchKey`."""
    response: dict[str, dict[str, str]] = getattr(error, "response", {})
    return response.get("Error", {}).get("Code", "")


def status_code(error: Exception) -> int:
    """The HTTP status of a botocore ClientError, 0 where there is none."""
    response: dict[str, dict[str, int]] = getattr(error, "response", {})
    return response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def _client_error(service: str, error: Exception) -> SluiceError | None:
    code, status = error_code(error), status_code(error)
    if code in _TRANSIENT or status in (429, 500, 502, 503, 504):
        return Unavailable(f"{service} is overloaded or failing ({code or status}): try again in a minute.")
    if code in _CREDENTIALS:
        return InvalidInput(f"{service} does not accept these AWS credentials ({code}): renew or correct them.")
    if code in _DENIED or status == 403:
        return Refused(f"{service} denies this to these AWS credentials: ask for the permission ({error}).")
    if code == "NotImplemented" or status == 501:
        return Refused(f"{service} does not implement what Sluice needs (NotImplemented): use another server for it.")
    if code == "NoSuchBucket":
        bucket = getattr(error, "response", {}).get("Error", {}).get("BucketName", "that name")
        return NotFound(f"There is no bucket {bucket}: create it, or correct the bucket in the settings.")
    return None


def _core_error(service: str, error: Exception) -> SluiceError:
    from botocore import exceptions as core

    if isinstance(error, core.NoCredentialsError | core.PartialCredentialsError | core.ProfileNotFound):
        return InvalidInput(f"There are no usable AWS credentials for {service}: set AWS_PROFILE or AWS_ACCESS_KEY_ID.")
    if isinstance(error, core.ParamValidationError):
        return InvalidInput(f"{service} cannot be asked that: {str(error).splitlines()[-1]}")
    endpoint = error.kwargs.get("endpoint_url") if hasattr(error, "kwargs") else None
    where = f"{service} at {_origin(str(endpoint))}" if endpoint else service
    return Unavailable(f"{where} cannot be reached ({type(error).__name__}): check the endpoint and the network.")


def _origin(url: str) -> str:
    """Scheme, host and port: the rest of a URL may hold a key, a user or a password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
