"""Amazon ECR: a repository for each model, with tags that never move, and a way in.

Its control plane makes repositories and gives passwords; images are pushed by the protocol of every registry, which is
in `remote`. Amazon ECR API Reference, Amazon ECR User Guide ("Private registry authentication").
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, PositiveInt

from pipelines.image.canonical import canonical
from pipelines.image.content import Content
from pipelines.image.images import Destination, Reference
from pipelines.image.oci import MANIFEST_TYPE
from pipelines.image.remote.credentials import Login
from pipelines.image.wrapped import WrappedDestination
from registry.aws import Answered, Clients, ask
from registry.errors import Conflict, SluiceError
from registry.store import Blob

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient

_EARLY = 600.0
"""Seconds before it expires that a password is renewed; one is good for 12 hours."""


class EcrTemplate(BaseModel):
    """What a repository is like that is made; one that is there is left as it is. Tags never move in any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scan_on_push: bool = True
    kms_key: str = ""
    """The key that encrypts images, as an ARN or an alias; "" for ECR's own encryption."""
    tags: Mapping[str, str] = {}
    """Of the repository, for whoever pays for it."""
    untagged_days: PositiveInt | None = None
    """After how many days images without a tag are deleted; never, where it is None.

    Signatures and the like have no tag either, nor has an image between its push and its tag: let ECR preview the
    policy before it is set (Amazon ECR User Guide, "Creating a lifecycle policy preview").
    """


class EcrRepositories:
    """Finds repositories, and makes those that are missing. Safe for several threads at once."""

    def __init__(self, ecr: ECRClient, template: EcrTemplate | None = None, account: str | None = None) -> None:
        self._ecr, self._template = ecr, template or EcrTemplate()
        self._account: Any = {"registryId": account} if account else {}
        self._lock = Lock()
        self._known: dict[str, str] = {}

    def uri(self, name: str) -> str:
        """The URI of a repository that is there from then on; no request where it was asked before.

        Raises:
            SluiceError: ECR does not give or make it.
        """
        with self._lock:
            if name not in self._known:
                self._known[name] = self._found_or_made(name)
                self._set_lifecycle(name)
            return self._known[name]

    def _found_or_made(self, name: str) -> str:
        """Looked for first, so that an existing one needs no right to make any."""
        found = self._find(name)
        if found is None:
            with suppress(Answered):  # another build made it in between
                return self._make(name)
            found = self._find(name)
        if found is None:
            raise SluiceError(f"ECR does not make the repository {name}: make it by hand, with immutable tags.")
        return found

    def _find(self, name: str) -> str | None:
        try:
            found = ask("ECR", self._ecr.describe_repositories, repositoryNames=[name], **self._account)
        except Answered as error:
            if error.code == "RepositoryNotFoundException":
                return None
            raise
        return found["repositories"][0]["repositoryUri"]

    def _make(self, name: str) -> str:
        template, more = self._template, dict(self._account)
        if template.kms_key:
            more["encryptionConfiguration"] = {"encryptionType": "KMS", "kmsKey": template.kms_key}
        if template.tags:
            more["tags"] = [{"Key": key, "Value": value} for key, value in sorted(template.tags.items())]
        made = ask(
            "ECR",
            self._ecr.create_repository,
            repositoryName=name,
            imageTagMutability="IMMUTABLE",
            imageScanningConfiguration={"scanOnPush": template.scan_on_push},
            **more,
        )
        return made["repository"]["repositoryUri"]

    def _set_lifecycle(self, name: str) -> None:
        """Have leftovers deleted, where the repository has no policy of its own; a build may have died before it."""
        if self._template.untagged_days is None:
            return
        try:
            ask("ECR", self._ecr.get_lifecycle_policy, repositoryName=name, **self._account)
        except Answered as error:
            if error.code != "LifecyclePolicyNotFoundException":
                raise
            policy = _lifecycle(self._template.untagged_days)
            put = self._ecr.put_lifecycle_policy
            ask("ECR", put, repositoryName=name, lifecyclePolicyText=policy, **self._account)


class EcrCredentials:
    """ECR's own password, renewed before it expires. It is good for every registry that our AWS credentials may use.

    Safe for several threads at once.
    """

    def __init__(self, ecr: ECRClient, clock: Callable[[], float] = time.time) -> None:
        self._ecr, self._clock = ecr, clock
        self._lock = Lock()
        self._login: Login | None = None
        self._good_until = 0.0

    def login(self, host: str) -> Login | None:  # noqa: ARG002 - one password for all
        """The password as it is now; no request where there is a good one.

        Raises:
            SluiceError: ECR does not give one.
        """
        with self._lock:
            if self._login is None or self._clock() >= self._good_until:
                given = ask("ECR", self._ecr.get_authorization_token)["authorizationData"][0]
                self._login = _login(given["authorizationToken"])
                self._good_until = given["expiresAt"].timestamp() - _EARLY
            return self._login

    def forget(self, host: str) -> None:  # noqa: ARG002
        """Ask for a new one the next time."""
        with self._lock:
            self._login = None


class EcrDestination(WrappedDestination):
    """Pushes to ECR by way of `inner`, and makes each model's repository before the first thing goes there."""

    def __init__(self, inner: Destination, repositories: EcrRepositories, name: Callable[[str], str]) -> None:
        super().__init__(inner)
        self._repositories, self._name = repositories, name

    def prepare(self, model: str) -> None:
        """Make the repository where it is missing.

        Raises:
            SluiceError: ECR does not make it.
        """
        self._repositories.uri(self._name(model))

    def put(self, model: str, content: Content) -> Blob:
        """Have the bytes in the repository, which is made where it is missing.

        Raises:
            As the wrapped destination's, and SluiceError where ECR does not make the repository.
        """
        self.prepare(model)
        return super().put(model, content)

    def push(self, model: str, manifest: bytes) -> Reference:
        """Send a manifest.

        Raises:
            As `put`.
        """
        self.prepare(model)
        return super().push(model, manifest)


class EcrCatalog(WrappedDestination):
    """Enters each image that the wrapped destination took into ECR's list; the bytes stay where that has them.

    For an ECR that is nothing but its control plane, as moto's is.
    """

    def __init__(self, inner: Destination, clients: Clients, prefix: str, template: EcrTemplate | None = None) -> None:
        super().__init__(inner)
        self._ecr = clients.ecr()
        self._repositories = EcrRepositories(self._ecr, template)
        self._prefix = prefix

    def prepare(self, model: str) -> None:
        """Make the repository where it is missing.

        Raises:
            SluiceError: ECR does not make it.
        """
        self._repositories.uri(self._name(model))

    def push(self, model: str, manifest: bytes) -> Reference:
        """Send a manifest to the wrapped destination; the reference is ECR's.

        Raises:
            Answered: ECR does not give or make the repository.
        """
        return self.reference(model, super().push(model, manifest).digest)

    def reference(self, model: str, digest: str) -> Reference:
        """How a cluster names the image in ECR, where its repository is made if it is missing.

        Raises:
            Answered: ECR does not give or make the repository.
        """
        return Reference(self._repositories.uri(self._name(model)), digest)

    def tagged(self, model: str, tag: str) -> str | None:
        """The digest of the image with this tag in ECR, or None."""
        return self._digest_of(self._name(model), tag)

    def tag(self, model: str, tag: str, digest: str) -> None:
        """Name an image in the wrapped destination and in ECR.

        Raises:
            NotFound: there is no such image.
            Conflict: the tag names another image.
            SluiceError: ECR does not take the image.
        """
        super().tag(model, tag, digest)
        there = self._digest_of(self._name(model), tag)
        if there is not None and there != digest:  # a repository that someone else made may let tags move
            raise _taken(self._name(model), tag)
        if there is None:
            self._enter(self._name(model), tag, self.manifest(model, digest), digest)

    def _name(self, model: str) -> str:
        return f"{self._prefix}/{model}"

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
                    f"ECR lacks the layers of {repository}:{tag}: set `registry` in sluice.toml, so that they are"
                    " pushed there."
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


def _login(token: str) -> Login:
    try:
        user, colon, secret = base64.b64decode(token, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = ""
    if not colon:
        raise SluiceError("ECR gives a password that is none: check the endpoint of ECR.") from None
    return Login(user, secret)


def _lifecycle(days: int) -> str:
    selection = {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": days}
    rule = {"rulePriority": 1, "description": "leftovers", "selection": selection, "action": {"type": "expire"}}
    return canonical({"rules": [rule]}).decode()


def _taken(repository: str, tag: str) -> Conflict:
    return Conflict(f"{repository} already has another image named {tag}, and tags never move: register a new version.")
