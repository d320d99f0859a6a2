"""The state machine of a release: every step it takes, and every one it refuses."""

import pytest
from pydantic import ValidationError

from gitops.release import Canary, Deployed, Release, Runtime, advance
from registry.errors import Conflict, InvalidInput


def deployed(version: int) -> Deployed:
    image = f"registry.example/models/fraud@sha256:{version:064x}"
    return Deployed(version=version, image=image, runtime=Runtime.TORCHSERVE)


def release(stable: int, canary: int | None = None, weight: int = 10) -> Release:
    trial = Canary(**deployed(canary).model_dump(), weight=weight) if canary else None
    return Release(model="fraud", environment="prod", stable=deployed(stable), canary=trial)


@pytest.mark.parametrize(
    ("before", "version", "weight", "after"),
    [
        (None, 1, 100, release(1)),
        (release(1), 2, 10, release(1, 2, 10)),
        (release(1, 2, 10), 2, 50, release(1, 2, 50)),
        (release(1, 2, 50), 2, 5, release(1, 2, 5)),
        (release(1, 2, 50), 2, 50, release(1, 2, 50)),
        (release(1, 2, 50), 2, 100, release(2)),
        (release(2), 1, 100, release(1)),
        (release(2), 2, 100, release(2)),
        (release(1), 2, 100, release(2)),
    ],
)
def test_advance(before: Release | None, version: int, weight: int, after: Release) -> None:
    assert advance(before, "fraud", "prod", deployed(version), weight) == after


@pytest.mark.parametrize(
    ("before", "version", "weight", "error", "says"),
    [
        (None, 1, 99, InvalidInput, "no version of fraud yet.*other 1 %.*--weight 100"),
        (release(1), 2, 0, InvalidInput, "0 is not a weight"),
        (release(1), 2, 101, InvalidInput, "101 is not a weight"),
        (release(1), 2, -1, InvalidInput, "-1 is not a weight"),
        (release(1, 2), 3, 10, Conflict, "fraud@2 is already the canary of prod at 10 %.*sluice rollback"),
        (release(1, 2), 3, 100, Conflict, "fraud@2 is already the canary"),
        (release(1, 2), 1, 100, Conflict, "fraud@2 is already the canary"),
        (release(1), 1, 50, Conflict, "fraud@1 is the stable version of prod"),
    ],
)
def test_advance_refuses(before: Release | None, version: int, weight: int, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        advance(before, "fraud", "prod", deployed(version), weight)


def test_a_version_is_not_stable_and_canary_at_once() -> None:
    with pytest.raises(ValidationError, match="version 1 cannot be stable and canary at once"):
        release(1, 1)


@pytest.mark.parametrize(
    "image", ["fraud:latest", "registry.example/fraud:7", "fraud@sha256:" + "0" * 63, "a b@sha256:"]
)
def test_an_image_is_named_by_digest(image: str) -> None:
    with pytest.raises(ValidationError, match="is not an image by digest"):
        Deployed(version=1, image=image, runtime=Runtime.TORCHSERVE)
