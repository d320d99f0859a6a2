"""release.yaml there and back, and reading a tree."""

import pytest

from gitops.config import default_model_file
from gitops.release import Canary, Deployed, Release, Runtime
from gitops.state import parse_release, read_environment, read_model, read_release, release_yaml
from gitops.tree import Files
from registry.errors import InvalidInput, NotFound

_PATH = "models/fraud/prod/release.yaml"
_IMAGE = "registry.example/models/fraud@sha256:" + "0" * 64
_STABLE = Deployed(version=7, image=_IMAGE, runtime=Runtime.TORCHSERVE)
_RELEASE = Release(
    model="fraud",
    environment="prod",
    stable=_STABLE,
    canary=Canary(version=8, image=_IMAGE, runtime=Runtime.TENSORFLOW_SERVING, weight=5),
)


def test_a_release_is_written_for_people() -> None:
    assert release_yaml(_RELEASE).decode().splitlines()[2:] == [
        "model: fraud",
        "environment: prod",
        "stable:",
        "  version: 7",
        f"  image: {_IMAGE}",
        "  runtime: torchserve",
        "canary:",
        "  version: 8",
        f"  image: {_IMAGE}",
        "  runtime: tensorflow-serving",
        "  weight: 5",
    ]
    assert b"sluice promote" in release_yaml(_RELEASE)


@pytest.mark.parametrize("release", [_RELEASE, _RELEASE.model_copy(update={"canary": None})])
def test_there_and_back(release: Release) -> None:
    assert parse_release(release_yaml(release), _PATH) == release
    assert b"null" not in release_yaml(release)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (release_yaml(_RELEASE).replace(b"weight: 5", b"weight: 100"), "canary.weight is wrong"),
        (release_yaml(_RELEASE).replace(b"version: 8", b"version: 7"), "version 7 cannot be stable and canary"),
        (release_yaml(_RELEASE).replace(b"torchserve", b"flask"), "stable.runtime is wrong"),
        (release_yaml(_RELEASE).replace(b"@sha256:" + b"0" * 64, b":latest"), "stable.image is wrong.*and 1 more"),
        (release_yaml(_RELEASE).replace(b"fraud\n", b"spam\n", 1), "move it to models/spam/prod/release.yaml"),
        (b"model: fraud\nenvironment: prod\n", "stable is missing"),
    ],
)
def test_a_release_that_is_wrong(data: bytes, says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as caught:
        parse_release(data, _PATH)
    assert str(caught.value).startswith(_PATH)


def test_reading_a_tree() -> None:
    tree = Files(
        {
            _PATH: release_yaml(_RELEASE),
            "models/fraud/model.yaml": default_model_file("fraud"),
            "environments/prod.yaml": b"name: prod\nnamespace: models\ndomain: m.example.com",
        }
    )
    assert read_release(tree, "fraud", "prod") == _RELEASE
    assert read_release(tree, "fraud", "dev") is None
    assert read_model(tree, "fraud").name == "fraud"
    assert read_environment(tree, "prod").namespace == "models"
    with pytest.raises(NotFound, match=r"no environment dev: add environments/dev\.yaml"):
        read_environment(tree, "dev")
    with pytest.raises(NotFound, match="no model spam"):
        read_model(tree, "spam")
    with pytest.raises(InvalidInput, match="cannot name"):
        read_model(tree, "../spam")
