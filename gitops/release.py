"""What runs of one model in one environment, and how that may change: a state machine of pure functions.

A release always has a stable version, which takes all traffic, unless a canary takes `weight` percent of it:

    nothing ──begin──▶ stable ──start_canary──▶ stable + canary ─┐ set_weight
                       ▲ ▲ │ replace                 │ │   ▲─────┘
                       │ │ └─┘◀──────finish──────────┘ │
                       └─────────────abort─────────────┘

`advance` picks the transition that a promotion means. What is held, and what a rollback restores, is not a state of a
release: both follow from git's history (`gitops.history`, `gitops.rollback`).
"""

from __future__ import annotations

from collections.abc import Mapping
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

    @property
    def shares(self) -> Mapping[Deployed, int]:
        """What runs, with its percentage of the traffic; they add to 100."""
        if self.canary is None:
            return {self.stable: 100}
        trial = Deployed(**self.canary.model_dump(exclude={"weight"}))
        return {self.stable: 100 - self.canary.weight, trial: self.canary.weight}


def begin(model: str, environment: str, to: Deployed) -> Release:
    """The first release of a model in an environment: `to` takes all traffic."""
    return Release(model=model, environment=environment, stable=to)


def start_canary(release: Release, to: Deployed, weight: int) -> Release:
    """`to` goes on trial with `weight` percent.

    Raises:
        InvalidInput: `weight` is not 1 to 99.
        Conflict: there is a canary already, or `to` is the stable version.
    """
    _check_canary_weight(weight)
    if release.canary:
        raise _another(release.canary, release)
    if to.version == release.stable.version:
        raise Conflict(
            f"{release.model}@{to.version} is the stable version of {release.environment} and cannot be its"
            " canary too: promote another version."
        )
    return release.model_copy(update={"canary": Canary(**to.model_dump(), weight=weight)})


def set_weight(release: Release, weight: int) -> Release:
    """The canary takes `weight` percent from now on.

    Raises:
        InvalidInput: `weight` is not 1 to 99.
        Conflict: there is no canary.
    """
    _check_canary_weight(weight)
    return release.model_copy(update={"canary": _canary(release).model_copy(update={"weight": weight})})


def finish(release: Release) -> Release:
    """The canary becomes the stable version, with all of the traffic.

    Raises:
        Conflict: there is no canary.
    """
    return replace(abort(release), Deployed(**_canary(release).model_dump(exclude={"weight"})))


def abort(release: Release) -> Release:
    """The canary is gone, and the stable version has all of the traffic.

    Raises:
        Conflict: there is no canary.
    """
    _canary(release)
    return release.model_copy(update={"canary": None})


def replace(release: Release, to: Deployed) -> Release:
    """`to` takes the stable version's place in one step, without a trial.

    Raises:
        Conflict: a canary is on trial.
    """
    if release.canary:
        raise _another(release.canary, release)
    return release.model_copy(update={"stable": to})


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
        return begin(model, environment, to)
    if release.canary is None:
        return replace(release, to) if weight == 100 else start_canary(release, to, weight)
    if release.canary.version != to.version:
        raise _another(release.canary, release)
    # the same version may have been built again: the trial goes on with the image that was asked for
    on_trial = start_canary(abort(release), to, release.canary.weight)
    return finish(on_trial) if weight == 100 else set_weight(on_trial, weight)


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


def _check_canary_weight(weight: int) -> None:
    if not 1 <= weight <= 99:
        raise InvalidInput(f"{weight} is not a canary's weight: give a whole percentage from 1 to 99.")


def _canary(release: Release) -> Canary:
    if release.canary is None:
        raise Conflict(f"{release.environment} has no canary of {release.model}: promote a version below 100 % first.")
    return release.canary


def _another(canary: Canary, release: Release) -> Conflict:
    model, environment = release.model, release.environment
    return Conflict(
        f"{model}@{canary.version} is already the canary of {environment} at {canary.weight} %: finish it with"
        f" --weight 100 or take it back with `sluice rollback {model} --env {environment}` first."
    )
