"""Puts the parts together as the settings say. Each is made when it is first asked for, so that a command that only
reads git never loads AWS's libraries."""

from __future__ import annotations

import getpass
import socket
from functools import cached_property
from typing import TYPE_CHECKING

from registry.errors import InvalidInput
from registry.names import check_bucket
from sluice.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from gitops.argocd.applications import Applications
    from gitops.config import Model
    from gitops.release import Runtime
    from gitops.repository import Repository
    from pipelines.image.images import BaseImage, Destination
    from pipelines.image.layers import Recipes
    from pipelines.supply.keys import PublicKey
    from pipelines.supply.signing import Signer
    from registry.aws import Clients
    from registry.names import VersionRef
    from registry.outputs import Outputs
    from registry.progress import Progress
    from registry.registry import Registry
    from registry.sagemaker import SageMakerSources
    from registry.storage import Storage
    from registry.store import Blobs
    from sluice.bases import Bases


_ACTOR_MAX = 200


def _person() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError) as error:  # a uid without a name, as in many pods
        raise InvalidInput("Nobody is set to act for: set SLUICE_ACTOR to `Name <email>`.") from error


class Wiring:
    """The parts of Sluice, for one set of settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def close(self) -> None:
        """End what was started for reading; everything may be used again after."""
        if "repository" in self.__dict__:
            self.repository.close()
        applications = self.__dict__.pop("applications", None)
        if applications is not None:
            applications.close()

    @cached_property
    def clients(self) -> Clients:
        """AWS."""
        from registry.aws import Clients

        return Clients()

    @cached_property
    def storage(self) -> Storage:
        """The bucket.

        Raises:
            InvalidInput: none is set.
        """
        from registry.storage import Storage

        return Storage.s3(self.clients, self.bucket)

    @cached_property
    def registry(self) -> Registry:
        """The model registry.

        Raises:
            InvalidInput: no bucket is set.
        """
        return self._registry(max_age=0.0)

    def _registry(self, max_age: float) -> Registry:
        from registry.registry import Registry

        if not self.settings.gitops:
            return Registry(self.storage, max_age=max_age)
        from gitops.lineage import GitReleases

        return Registry(self.storage, releases=GitReleases(lambda: self.repository), max_age=max_age)

    @property
    def blobs(self) -> Blobs:
        """Artifacts."""
        return self.storage.blobs

    @property
    def outputs(self) -> Outputs:
        """The registry's own copies of training outputs."""
        return self.storage.outputs

    @property
    def recipes(self) -> Recipes:
        """Image layers that were made before."""
        from pipelines.image.recipes import StoredRecipes

        return StoredRecipes(self.storage.store)

    def said_of(self, model: str) -> Model:
        """What people said in git of how a model is packaged and built; the defaults where no repository is set.

        Raises:
            InvalidInput: the model's file cannot be right.
        """
        from gitops.config import Model
        from gitops.state import said_of

        return said_of(self.repository.head(), model) if self.settings.gitops else Model(name=model)

    @cached_property
    def sources(self) -> SageMakerSources:
        """What can be registered."""
        from registry.sagemaker import SageMakerSources

        return SageMakerSources(self.clients)

    @cached_property
    def destination(self) -> Destination:
        """Where images go.

        Raises:
            InvalidInput: nothing can be called as the settings say.
        """
        from pipelines.image.ecr import EcrCatalog, EcrTemplate
        from pipelines.image.layout import LayoutDestination
        from pipelines.image.remote.places import open_destination

        template = EcrTemplate(**dict(self.settings.ecr))
        if self.settings.registry:
            return open_destination(self.settings.registry, template=template)
        layout = LayoutDestination(self.settings.images)
        if not self.settings.ecr_prefix:
            return layout
        return EcrCatalog(layout, self.clients, self.settings.ecr_prefix, template)

    @cached_property
    def bases(self) -> Bases:
        """Base images."""
        from pipelines.image.recipes import StoredBases
        from sluice.bases import Bases

        return Bases(self.settings, self.blobs, StoredBases(self.storage.store), self.destination)

    def base(self, ref: VersionRef, settings: Model, progress: Progress) -> Callable[[Runtime], BaseImage]:
        """From a model server, the base image for a packaged version, with what it needs beyond the usual one."""
        return self.bases.extended(ref, settings, self.registry, progress)

    @cached_property
    def signer(self) -> Signer | None:
        """What signs images, None where no key is set.

        Raises:
            InvalidInput: the key cannot be used.
            NotFound: there is no such key.
        """
        from pipelines.supply.signing import open_signer

        name = self.settings.signing.key
        return open_signer(name, lambda: self.clients) if name else None

    @property
    def trusted(self) -> tuple[PublicKey, ...]:
        """The keys whose signatures count: those in the settings, else the public half of the one that signs here.

        Raises:
            InvalidInput: one cannot be used.
            NotFound: there is no such key.
        """
        from pipelines.supply.keys import read_keys

        if self.settings.signing.trusted:
            return read_keys(self.settings.signing.trusted)
        return (self.signer.public,) if self.signer else ()

    @cached_property
    def repository(self) -> Repository:
        """The GitOps repository.

        Raises:
            InvalidInput: none is set.
        """
        from gitops.repository import Repository

        if not self.settings.gitops:
            raise InvalidInput("No GitOps repository is set: give --gitops, SLUICE_GITOPS or `gitops` in sluice.toml.")
        return Repository.open(
            self.settings.gitops,
            self.settings.branch,
            cache=self.settings.cache / "git",
            signing=self.settings.commit_signing,
        )

    @cached_property
    def applications(self) -> Applications | None:
        """Argo CD's Applications; None where no way to Argo CD is set.

        Raises:
            InvalidInput: what is set cannot be used.
        """
        return self.settings.argocd.open()

    @cached_property
    def actor(self) -> str:
        """Who asks: the setting, else the person at this machine.

        Raises:
            InvalidInput: it would be more than one short line in records and commits.
        """
        actor = self.settings.actor or _person()
        if not actor.isprintable() or not actor.strip() or len(actor) > _ACTOR_MAX:
            raise InvalidInput(f"{actor[:80]!r} cannot name who asks: set SLUICE_ACTOR to `Name <email>`, in one line.")
        return actor

    @property
    def bucket(self) -> str:
        """The registry's bucket.

        Raises:
            InvalidInput: none is set, or it cannot name one.
        """
        if not self.settings.bucket:
            raise InvalidInput("No registry bucket is set: give --bucket, SLUICE_BUCKET or `bucket` in sluice.toml.")
        return check_bucket(self.settings.bucket)
