"""One story for each router, told in commands: what the rule in git says at each step, and that going back is exact."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.sluice.conftest import Ran, Workspace

pytestmark = pytest.mark.slow
FOLDER = "models/digits/prod"
ROUTERS = {
    "alb": {"group": "prod", "groupOrder": 10, "stickiness": {"durationSeconds": 600}},
    "gateway": {"gateway": {"name": "public", "namespace": "gateways", "sectionName": "https"}},
    "rollouts": {"steps": [{"setWeight": 10}, {"pause": {"duration": "10m"}}, {"setWeight": 50}]},
    "kserve": {},
}


class Story:
    """A person with a clone, a terminal and prod behind one router."""

    def __init__(self, run: Callable[..., Ran], workspace: Workspace) -> None:
        self._run, self._remote = run, workspace.gitops
        self._work = workspace.folder / "work"
        self._git("clone", "--quiet", str(self._remote), str(self._work), at=workspace.folder)

    def _git(self, *arguments: str, at: Any = None) -> str:
        person = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com")
        command = ["git", "-C", str(at or self._work), *person, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def chooses(self, kind: str) -> None:
        path = self._work / "environments/prod.yaml"
        told = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**told, "router": {"kind": kind, **ROUTERS[kind]}}))
        self._git("commit", "--quiet", "-am", f"prod: {kind}")
        self._git("push", "--quiet")

    def says(self, *command: object) -> str:
        done = self._run(*command)
        assert done.code == 0, done.err
        return done.out

    def promotes(self, version: int, weight: int) -> None:
        self.says("promote", f"digits@{version}", "--to", "prod", "--weight", weight)
        assert self.says("render", "--check") == "The repository holds just what it renders.\n"

    def tree(self, at: str = "main") -> str:
        return self._git("rev-parse", f"{at}:{FOLDER}", at=self._remote)

    def objects(self) -> dict[tuple[str, str], Any]:
        """What Argo CD would apply, by kind and name."""
        names = self._git("ls-tree", "--name-only", f"main:{FOLDER}/manifests", at=self._remote).splitlines()
        texts = [self._git("show", f"main:{FOLDER}/manifests/{name}", at=self._remote) for name in names]
        found = [yaml.safe_load(text) for text in texts]
        return {(one["kind"], one["metadata"]["name"]): one for one in found if one["kind"] != "Kustomization"}


@pytest.fixture
def story(sluice: Callable[..., Ran], workspace: Workspace) -> Callable[[str], Story]:
    """Version 1 of digits is prod's stable version, behind a router; version 2 is built."""

    def begin(kind: str) -> Story:
        told = Story(sluice, workspace)
        told.chooses(kind)
        for job in ("digits-2026-11-01", "digits-2026-11-08"):
            told.says("release", job, "--model", "digits")
        told.promotes(1, 100)
        return told

    return begin


def by_alb(objects: dict[tuple[str, str], Any]) -> dict[str, int]:
    annotations = objects["Ingress", "digits"]["metadata"]["annotations"]
    action = json.loads(annotations["alb.ingress.kubernetes.io/actions.weights"])
    weights = {group["serviceName"]: group["weight"] for group in action["forwardConfig"]["targetGroups"]}
    assert action["forwardConfig"]["targetGroupStickinessConfig"]["enabled"] == (weights["digits-canary"] > 0)
    return weights


def by_gateway(objects: dict[tuple[str, str], Any]) -> dict[str, int]:
    (rule,) = objects["HTTPRoute", "digits"]["spec"]["rules"]
    return {backend["name"]: backend["weight"] for backend in rule["backendRefs"]}


@pytest.mark.parametrize(("kind", "weights"), [("alb", by_alb), ("gateway", by_gateway)])
def test_a_weight_is_what_git_says(
    kind: str, weights: Callable[[Any], dict[str, int]], story: Callable[[str], Story]
) -> None:
    told = story(kind)
    for version, weight in ((1, 0), (2, 10), (2, 50)):
        if weight:
            told.promotes(version, weight)
        objects = told.objects()
        assert weights(objects) == {"digits-stable": 100 - weight, "digits-canary": weight}
        assert {("Service", "digits-stable"), ("Service", "digits-canary")} <= set(objects)
        assert (("Deployment", "digits-canary") in objects) == (weight > 0)
    told.promotes(2, 100)
    assert weights(told.objects()) == {"digits-stable": 100, "digits-canary": 0}
    before = told.tree("main~3")
    told.says("rollback", "digits", "--env", "prod", "--reason", "p99 doubled")
    assert told.tree() == before
    assert told.says("render", "--check") == "The repository holds just what it renders.\n"


def test_kserve_splits_by_its_own_canary(story: Callable[[str], Story]) -> None:
    told = story("kserve")
    told.promotes(2, 25)
    (service,) = (one for (kind, _), one in told.objects().items() if kind == "InferenceService")
    (canary,) = service["spec"]["canary"]
    assert canary["trafficPercent"] == 25
    images = [told_of["containers"][0]["image"] for told_of in (service["spec"]["predictor"], canary["predictor"])]
    assert len(set(images)) == 2
    before = told.tree("main~1")
    told.says("rollback", "digits", "--env", "prod", "--reason", "p99 doubled")
    assert told.tree() == before


def test_argo_rollouts_owns_the_weight(story: Callable[[str], Story], refusal: Callable[..., str]) -> None:
    told = story("rollouts")
    said = refusal(4, "promote", "digits@2", "--to", "prod", "--weight", 10)
    assert "Argo Rollouts" in said
    told.promotes(2, 100)
    objects = told.objects()
    assert not any(kind == "Deployment" for kind, _ in objects)
    (rollout,) = (one for (kind, _), one in objects.items() if kind == "Rollout")
    steps = rollout["spec"]["strategy"]["canary"]["steps"]
    assert [step["setWeight"] for step in steps if "setWeight" in step] == [10, 50]
    before = told.tree("main~1")
    told.says("rollback", "digits", "--env", "prod", "--reason", "p99 doubled")
    assert told.tree() == before
    assert told.says("render", "--check") == "The repository holds just what it renders.\n"
