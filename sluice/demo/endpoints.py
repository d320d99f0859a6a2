"""Where a stack answers, and how to talk to it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, overload

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sts import STSClient

_LOOPBACK = "127.0.0.1,localhost"


class Endpoints(BaseModel):
    """The addresses and credentials of a stack. The secret key is in neither its repr nor its str."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    s3_url: str
    aws_url: str
    access_key: str
    secret_key: str = Field(repr=False)
    region: str = "us-east-1"

    def environment(self) -> dict[str, str]:
        """Give the variables with which any AWS SDK or tool talks to this stack, and to nothing else."""
        return {
            "AWS_ENDPOINT_URL": self.aws_url,
            "AWS_ENDPOINT_URL_S3": self.s3_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": _LOOPBACK,
            "no_proxy": _LOOPBACK,
        }

    def over(self, base: Mapping[str, str]) -> dict[str, str]:
        """Give `base` with `environment()` in place of all it says about AWS.

        A profile or session token of the user's that stayed would make every call fail.
        """
        return {**without_aws(base), **self.environment()}

    @overload
    def client(self, service: Literal["s3"], *, timeout: float = ...) -> S3Client: ...
    @overload
    def client(self, service: Literal["sagemaker"], *, timeout: float = ...) -> SageMakerClient: ...
    @overload
    def client(self, service: Literal["ecr"], *, timeout: float = ...) -> ECRClient: ...
    @overload
    def client(self, service: Literal["sts"], *, timeout: float = ...) -> STSClient: ...

    def client(
        self, service: Literal["s3", "sagemaker", "ecr", "sts"], *, timeout: float = 20
    ) -> S3Client | SageMakerClient | ECRClient | STSClient:
        """Make a boto3 client for this stack that heeds nothing of the user's own AWS configuration.

        It neither retries nor waits longer than `timeout` seconds. The caller closes it.
        """
        from registry.aws import explicit_client

        return explicit_client(  # type: ignore[no-any-return]  # boto3 makes them of any kind; the overloads say which
            service,
            endpoint_url=self.s3_url if service == "s3" else self.aws_url,
            access_key=self.access_key,
            secret_key=self.secret_key,
            region=self.region,
            timeout=timeout,
        )


def without_aws(environment: Mapping[str, str]) -> dict[str, str]:
    """Drop what configures an AWS SDK or moto."""
    return {name: value for name, value in environment.items() if not name.startswith(("AWS_", "MOTO_"))}


def create_bucket(endpoints: Endpoints, name: str) -> None:
    """Create a bucket on the stack; one that is there already is left as it is."""
    from botocore.exceptions import ClientError

    s3 = endpoints.client("s3")
    try:
        s3.create_bucket(Bucket=name)
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"BucketAlreadyExists", "BucketAlreadyOwnedByYou"}:
            raise
    finally:
        s3.close()
