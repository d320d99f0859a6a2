"""The state machine of a release, walked at random: what it reaches renders, and what renders it reaches."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gitops.config import Environment, Model
from gitops.release import (
    Canary,
    Deployed,
    Release,
    Runtime,
    abort,
    advance,
    begin,
    finish,
    replace,
    set_weight,
    start_canary,
)
from gitops.render import render
from gitops.state import parse_release, release_yaml
from registry.errors import Conflict, InvalidInput

ENVIRONMENT = Environment(name="prod", namespace="models-prod", domain="models.example.com")
PATH = "models/fraud/prod/release.yaml"


@st.composite
def deployed(draw: st.DrawFn) -> Deployed:
    version, build = draw(st.integers(1, 6)), draw(st.integers(1, 2))
    image = f"registry.example/models/fraud@sha256:{version * 16 + build:064x}"
    return Deployed(version=version, image=image, runtime=draw(st.sampled_from(Runtime)))


@st.composite
def releases(draw: st.DrawFn) -> Release:
    stable = draw(deployed())
    trial = draw(st.none() | deployed().filter(lambda one: one.version != stable.version))
    canary = Canary(**trial.model_dump(), weight=draw(st.integers(1, 99))) if trial else None
    return Release(model="fraud", environment="prod", stable=stable, canary=canary)


def rendered(release: Release) -> dict[str, bytes]:
    return render(release, Model(name="fraud"), ENVIRONMENT)


def weights(files: dict[str, bytes]) -> dict[str, int]:
    """What the rendered Ingress gives each Service."""
    found = {}
    for data in files.values():
        for document in yaml.safe_load_all(data):
            if document.get("kind") != "Ingress":
                continue
            for key, text in document["metadata"]["annotations"].items():
                if key.startswith("alb.ingress.kubernetes.io/actions."):
                    groups = json.loads(text)["forwardConfig"]["targetGroups"]
                    found |= {group["serviceName"]: group["weight"] for group in groups}
    return found


class Walk(RuleBasedStateMachine):
    """Every transition that is open, in any order; those that are not open change nothing."""

    @initialize(to=deployed())
    def begins(self, to: Deployed) -> None:
        self.release = begin("fraud", "prod", to)

    @rule(to=deployed(), weight=st.integers(1, 99))
    def starts_a_canary(self, to: Deployed, weight: int) -> None:
        if self.release.canary or to.version == self.release.stable.version:
            with pytest.raises(Conflict):
                start_canary(self.release, to, weight)
            return
        stable = self.release.stable
        self.release = start_canary(self.release, to, weight)
        assert self.release.stable == stable
        assert self.release.shares == {stable: 100 - weight, to: weight}

    @rule(weight=st.integers(1, 99))
    def sets_a_weight(self, weight: int) -> None:
        if self.release.canary is None:
            with pytest.raises(Conflict, match="no canary"):
                set_weight(self.release, weight)
            return
        before, self.release = self.release, set_weight(self.release, weight)
        assert list(self.release.shares.values()) == [100 - weight, weight]
        assert list(self.release.shares) == list(before.shares)

    @rule(weight=st.sampled_from([-1, 0, 100, 101]))
    def refuses_what_is_no_canarys_weight(self, weight: int) -> None:
        with pytest.raises((InvalidInput, Conflict)):
            set_weight(self.release, weight)

    @rule()
    def finishes(self) -> None:
        canary = self.release.canary
        if canary is None:
            with pytest.raises(Conflict, match="no canary"):
                finish(self.release)
            return
        self.release = finish(self.release)
        assert self.release.canary is None
        assert self.release.stable == Deployed(**canary.model_dump(exclude={"weight"}))

    @rule()
    def aborts(self) -> None:
        stable = self.release.stable
        if self.release.canary is None:
            with pytest.raises(Conflict, match="no canary"):
                abort(self.release)
            return
        self.release = abort(self.release)
        assert self.release == begin("fraud", "prod", stable)

    @rule(to=deployed())
    def replaces(self, to: Deployed) -> None:
        if self.release.canary:
            with pytest.raises(Conflict):
                replace(self.release, to)
            return
        self.release = replace(self.release, to)

    @rule(to=deployed(), weight=st.integers(1, 100))
    def is_promoted(self, to: Deployed, weight: int) -> None:
        try:
            after = advance(self.release, "fraud", "prod", to, weight)
        except Conflict:
            return
        assert after.shares[to] == weight
        assert advance(after, "fraud", "prod", to, weight) == after
        self.release = after

    @precondition(lambda self: hasattr(self, "release"))
    @invariant()
    def it_renders_and_weights_add_to_100(self) -> None:
        assert sum(self.release.shares.values()) == 100
        trial = self.release.canary
        files = rendered(self.release)
        assert weights(files) == {
            "fraud-stable": 100 - (trial.weight if trial else 0),
            "fraud-canary": trial.weight if trial else 0,
        }
        # the canary's Service stays, as the rule names it; what runs behind it is gone
        assert [path for path in files if path.endswith("deployment-canary.yaml")] == (
            ["models/fraud/prod/manifests/deployment-canary.yaml"] if trial else []
        )

    @precondition(lambda self: hasattr(self, "release"))
    @invariant()
    def it_is_what_its_file_says(self) -> None:
        assert parse_release(release_yaml(self.release), PATH) == self.release


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=10, stateful_step_count=12, deadline=None)


@settings(max_examples=20, deadline=None)
@given(release=releases())
def test_what_renders_is_reached_by_transitions(release: Release) -> None:
    assert rendered(release)
    reached = begin("fraud", "prod", release.stable)
    if release.canary:
        trial = Deployed(**release.canary.model_dump(exclude={"weight"}))
        reached = set_weight(start_canary(reached, trial, 50), release.canary.weight)
    assert reached == release
    assert rendered(reached) == rendered(release)


@settings(max_examples=50, deadline=None)
@given(start=releases(), goal=releases())
def test_any_release_is_reached_from_any_other(start: Release, goal: Release) -> None:
    alone = abort(start) if start.canary else start
    reached = replace(alone, goal.stable)
    if goal.canary:
        trial = Deployed(**goal.canary.model_dump(exclude={"weight"}))
        reached = start_canary(reached, trial, goal.canary.weight)
    assert reached == goal
