"""ECR's control plane: a repository for each model, with tags that never move.

This wraps a destination that holds the bytes. Pushing the bytes to ECR itself is another destination.
"""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.image.images import Destination, Reference
from pipelines.image.oci import MANIFEST_TYPE
from registry.aws import Clients, call, error_code
from registry.errors import Conflict, SluiceError
from registry.store import Blob


class EcrCatalog:
    """Makes each model's repository on first use, and enters each image that the wrapped destination took."""

    def __init__(self, inner: Destination, clients: Clients, prefix: str) -> None:
        self._inner = inner
        self._ecr = clients.ecr()
        self._prefix = prefix

    def has(self, model: str, digest: str) -> bool:
        """Whether the bytes are there already."""
        return self._inner.has(model, digest)

    def put(self, model: str, chunks: Iterable[bytes]) -> Blob:
        """Send bytes to the wrapped destination."""
        return self._inner.put(model, chunks)

    def tag(self, model: str, tag: str, manifest: bytes) -> Reference:
        """Name an image in the wrapped destination and in ECR.

        Raises:
            Conflict: the tag names another image.
            SluiceError: ECR does not take the image.
        """
        digest = self._inner.tag(model, tag, manifest).digest
        repository = f"{self._prefix}/{model}"
        uri = self._repository(repository)
        self._enter(repository, tag, manifest, digest)
        return Reference(uri, digest)

    def _repository(self, name: str) -> str:
        from botocore.exceptions import ClientError

        try:
            answer = call(
                "ECR",
                self._ecr.create_repository,
                repositoryName=name,
                imageTagMutability="IMMUTABLE",
                imageScanningConfiguration={"scanOnPush": True},
            )
            return answer["repository"]["repositoryUri"]
        except ClientError as error:
            if error_code(error) != "RepositoryAlreadyExistsException":
                raise SluiceError(f"ECR cannot create the repository {name}: {error}") from error
        found = call("ECR", self._ecr.describe_repositories, repositoryNames=[name])
        return found["repositories"][0]["repositoryUri"]

    def _enter(self, repository: str, tag: str, manifest: bytes, digest: str) -> None:
        from botocore.exceptions import ClientError

        there = self._digest_of(repository, tag)
        if there == digest:
            return
        if there is not None:  # a repository that someone else made may let tags move
            raise _taken(repository, tag)
        try:
            call(
                "ECR",
                self._ecr.put_image,
                repositoryName=repository,
                imageManifest=manifest.decode(),
                imageManifestMediaType=MANIFEST_TYPE,
                imageTag=tag,
                imageDigest=digest,
            )
        except ClientError as error:
            code = error_code(error)
            if code == "ImageAlreadyExistsException":
                return
            if code == "ImageTagAlreadyExistsException":
                raise _taken(repository, tag) from error
            if code == "LayersNotFoundException":
                raise SluiceError(
                    f"ECR lacks the layers of {repository}:{tag}: push the layout there once with `skopeo copy`."
                ) from error
            raise SluiceError(f"ECR does not take {repository}:{tag}: {error}") from error

    def _digest_of(self, repository: str, tag: str) -> str | None:
        answer = call("ECR", self._ecr.batch_get_image, repositoryName=repository, imageIds=[{"imageTag": tag}])
        return next((image["imageId"].get("imageDigest") for image in answer.get("images", [])), None)


def _taken(repository: str, tag: str) -> Conflict:
    return Conflict(f"{repository} already has another image named {tag}, and tags never move: register a new version.")
