"""What the routes are given: the parts of Sluice that answer."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from registry.errors import InvalidInput
from registry.names import check_bucket
from sluice.wiring import Wiring

if TYPE_CHECKING:
    from registry.mlflow.reader import Mlflow
    from registry.registry import Registry
    from registry.sagemaker import Sources
    from registry.storage import Storage
    from registry.store import Blobs


class Parts(Protocol):
    """Safe for threads. `Served` is one, and tests make others."""

    @property
    def registry(self) -> Registry:
        """The model registry."""

    @property
    def blobs(self) -> Blobs:
        """Where uploads go."""

    @property
    def sources(self) -> Sources:
        """What can be registered."""

    @property
    def bucket(self) -> str:
        """The registry's own bucket, which is no source of versions."""

    def other(self, bucket: str) -> Storage:
        """Another registry's bucket, to export to or import from."""

    def mlflow(self, url: str) -> Mlflow:
        """An MLflow server, which the settings allow; to be closed."""

    @property
    def actor(self) -> str:
        """Who everyone is where nothing tells who asks."""

    def ready(self) -> None:
        """Ask the store for something small.

        Raises:
            SluiceError: it did not answer, or does not let us.
        """

    def close(self) -> None:
        """End what was started."""


class Served(Wiring):
    """The wiring of the command line, with what a server needs beside."""

    @cached_property
    def registry(self) -> Registry:
        """The model registry, whose lists and aliases may be a second behind what other processes write."""
        return self._registry(max_age=1.0)

    def other(self, bucket: str) -> Storage:
        """Another registry's bucket.

        Raises:
            InvalidInput: it is no bucket's name, or our own bucket's.
        """
        from registry.storage import Storage

        if check_bucket(bucket) == self.bucket:
            raise InvalidInput(f"{bucket} is this registry's own bucket: give another one.")
        return Storage.s3(self.clients, bucket)

    def mlflow(self, url: str) -> Mlflow:
        """An MLflow server, asked with the credentials of this process's environment.

        Raises:
            InvalidInput: it is no server's address.
        """
        from registry.mlflow.reader import Mlflow

        # a source in our own bucket would bring over bytes of models that the caller may not see
        return Mlflow(url, clients=self.clients, barred=self.bucket)

    def ready(self) -> None:
        """Ask the bucket for its marker, one small object, whether it is there or not.

        Raises:
            SluiceError: the store did not answer, or does not let us.
        """
        from registry import keys

        self.storage.store.get(keys.MARKER)
