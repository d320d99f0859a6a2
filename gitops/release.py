"""What runs of one model in one environment, and how that may change: a state machine of pure functions.

A release always has a stable version, which takes all traffic, unless a canary takes `weight` percent of it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from registry.errors import Conflict, InvalidInput
from registry.names import EnvironmentName, ImageRef, ModelName, VersionNumber

Weight = Annotated[int, Field(ge=1, le=99)]


class Runtime(StrEnum):
    """The model server inside an image."""

    TORCHSERVE = "torchserve"
    TENSORFLOW_SERVING = "tensorflow-serving"
    TRITON = "triton"


class Deployed(BaseModel):
    """A version as it runs: its number, its image by digest, and the server in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: VersionNumber
    image: ImageRef
    """What the server's container runs."""
    runtime: Runtime
    volume: ImageRef | None = None
    """The image of the model alone, mounted beside it; None where the model is in `image`."""

    @property
    def model_image(self) -> ImageRef:
        """The image that has the model in it: the one that was built of this version."""
        return self.volume or self.image


class Canary(Deployed):
    """A version on trial, with the percentage of traffic it takes."""

    weight: Weight


class Release(BaseModel):
    """What git wants to run of one model in one environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelName
    environment: EnvironmentName
    stable: Deployed
    canary: Canary | None = None

    @model_validator(mode="after")
    def _two_versions(self) -> Release:
        if self.canary and self.canary.version == self.stable.version:
            raise ValueError(f"version {self.stable.version} cannot be stable and canary at once")
        return self


def advance(release: Release | None, model: str, environment: str, to: Deployed, weight: int) -> Release:
    """The release in which `to` takes `weight` percent: below 100 as the canary, at 100 as the stable version.

    Gives the release itself where it is so already.

    Raises:
        InvalidInput: `weight` is not 1 to 100, or nothing is there to take the rest of the traffic.
        Conflict: another version is the canary, or `to` is already stable and cannot be its own canary.
    """
    check_weight(weight)
    if release is None:
        check_first_weight(model, environment, weight)
        return Release(model=model, environment=environment, stable=to)
    if release.canary and release.canary.version != to.version:
        raise Conflict(
            f"{model}@{release.canary.version} is already the canary of {environment} at"
            f" {release.canary.weight} %: finish it with --weight 100 or take it back with"
            f" `sluice rollback {model} --env {environment}` first."
        )
    if to.version == release.stable.version:
        return _stay(release, to, weight)
    if weight == 100:
        return release.model_copy(update={"stable": to, "canary": None})
    return release.model_copy(update={"canary": Canary(**to.model_dump(), weight=weight)})


def check_weight(weight: int) -> None:
    """Make sure that `weight` can be a version's share of the traffic.

    Raises:
        InvalidInput: it is not 1 to 100.
    """
    if not 1 <= weight <= 100:
        raise InvalidInput(f"{weight} is not a weight: give a whole percentage from 1 to 100.")


def check_first_weight(model: str, environment: str, weight: int) -> None:
    """Make sure that `weight` can be the share of the first version of a model in an environment.

    Raises:
        InvalidInput: it is not 100.
    """
    if weight != 100:
        raise InvalidInput(
            f"{environment} runs no version of {model} yet, so nothing can take the other {100 - weight} %:"
            " give the first version --weight 100."
        )


def _stay(release: Release, to: Deployed, weight: int) -> Release:
    if weight != 100:
        raise Conflict(
            f"{release.model}@{to.version} is the stable version of {release.environment} and cannot be its"
            " canary too: promote another version."
        )
    return release.model_copy(update={"stable": to})
