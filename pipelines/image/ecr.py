"""ECR's control plane: a repository for each model, with tags that never move.

This wraps a destination that holds the bytes. Pushing the bytes to ECR itself is another destination.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from pipelines.image.images import Destination, Reference
from pipelines.image.oci import MANIFEST_TYPE
from registry.aws import Answered, Clients, ask
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

    def push(self, model: str, manifest: bytes) -> Reference:
        """Send a manifest to the wrapped destination; the reference is ECR's.

        Raises:
            Answered: ECR does not give or make the repository.
        """
        digest = self._inner.push(model, manifest).digest
        return Reference(self._repository(self._name(model)), digest)

    def manifest(self, model: str, digest: str) -> bytes:
        """The manifest of an image that was pushed.

        Raises:
            NotFound: there is no such image.
        """
        return self._inner.manifest(model, digest)

    def tag(self, model: str, tag: str, digest: str) -> None:
        """Name an image in the wrapped destination and in ECR.

        Raises:
            NotFound: there is no such image.
            Conflict: the tag names another image.
            SluiceError: ECR does not take the image.
        """
        self._inner.tag(model, tag, digest)
        there = self._digest_of(self._name(model), tag)
        if there is not None and there != digest:  # a repository that someone else made may let tags move
            raise _taken(self._name(model), tag)
        if there is None:
            self._enter(self._name(model), tag, self._inner.manifest(model, digest), digest)

    def _name(self, model: str) -> str:
        return f"{self._prefix}/{model}"

    def _repository(self, name: str) -> str:
        """The repository's URI; it is made where it is missing, so an existing one needs no right to make any."""
        found = self._find(name)
        if found is None:
            with suppress(Answered):  # another build made it in between
                return ask(
                    "ECR",
                    self._ecr.create_repository,
                    repositoryName=name,
                    imageTagMutability="IMMUTABLE",
                    imageScanningConfiguration={"scanOnPush": True},
                )["repository"]["repositoryUri"]
            found = self._find(name)
        if found is None:
            raise SluiceError(f"ECR does not make the repository {name}: make it by hand, with immutable tags.")
        return found

    def _find(self, name: str) -> str | None:
        try:
            found = ask("ECR", self._ecr.describe_repositories, repositoryNames=[name])
        except Answered as error:
            if error.code == "RepositoryNotFoundException":
                return None
            raise
        return found["repositories"][0]["repositoryUri"]

    def _enter(self, repository: str, tag: str, manifest: bytes, digest: str) -> None:
        try:
            ask(
                "ECR",
                self._ecr.put_image,
                repositoryName=repository,
                imageManifest=manifest.decode(),
                imageManifestMediaType=MANIFEST_TYPE,
                imageTag=tag,
                imageDigest=digest,
            )
        except Answered as error:
            if error.code == "ImageAlreadyExistsException":
                return
            if error.code == "ImageTagAlreadyExistsException":
                raise _taken(repository, tag) from error
            if error.code in ("LayersNotFoundException", "LayerInaccessibleException"):
                raise SluiceError(
                    f"ECR lacks the layers of {repository}:{tag}: send them with `skopeo copy --preserve-digests`, then"
                    " give this command again."
                ) from error
            raise

    def _digest_of(self, repository: str, tag: str) -> str | None:
        try:
            answer = ask("ECR", self._ecr.batch_get_image, repositoryName=repository, imageIds=[{"imageTag": tag}])
        except Answered as error:
            if error.code == "RepositoryNotFoundException":
                return None
            raise
        return next((image["imageId"].get("imageDigest") for image in answer.get("images", [])), None)


def _taken(repository: str, tag: str) -> Conflict:
    return Conflict(f"{repository} already has another image named {tag}, and tags never move: register a new version.")
