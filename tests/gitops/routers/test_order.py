"""At every commit, in whatever order a controller applies it, traffic has somewhere to go."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops.release import Release, Runtime, advance
from registry.errors import Conflict, InvalidInput
from tests.gitops.routers.cases import ALL, WEIGHS, deployed, release, rendered, wave
from tests.gitops.routers.cluster import Cluster, Live


class Commit(NamedTuple):
    """One change of the repository, and how far a controller gets with it before the next."""

    router: str
    version: int
    weight: int | None  # None: the canary is taken back
    runtime: Runtime
    volume: bool
    steps: int
    """How many objects are applied and pruned; the next commit comes then."""


def commits(routers: list[str]) -> st.SearchStrategy[list[Commit]]:
    one = st.builds(
        Commit,
        st.sampled_from(routers),
        st.integers(1, 4),
        st.one_of(st.none(), st.integers(1, 99), st.just(100)),
        st.sampled_from(Runtime),
        st.booleans(),
        st.one_of(st.just(99), st.integers(0, 20)),
    )
    return st.lists(one, min_size=1, max_size=7)


def next_release(now: Release | None, commit: Commit) -> Release | None:
    if commit.weight is None:
        return now and now.model_copy(update={"canary": None})
    to = deployed(commit.version, commit.runtime, volume=commit.volume)
    try:
        return advance(now, "fraud", "prod", to, commit.weight)
    except (Conflict, InvalidInput):
        return now


def states(wanted: list[Commit]) -> Iterator[tuple[Commit, Release, Live]]:
    """What each commit renders; a router that cannot run what is released is not changed to."""
    now: Release | None = None
    for commit in wanted:
        following = next_release(now, commit)
        if following is None:
            continue
        try:
            found = rendered(following, ALL[commit.router])
        except InvalidInput:
            assert following.canary
            assert commit.router not in WEIGHS
            continue
        now = following
        yield commit, now, found


def sync(cluster: Cluster, found: Live, random: Random) -> Iterator[None]:
    """Argo CD with PruneLast: wave by wave, and then what is no longer in git; any order within each."""
    for _, group in groupby(sorted(found.values(), key=wave), key=wave):
        for manifest in shuffled(group, random):
            cluster.apply(manifest)
            yield
    gone = set(cluster.live) - set(found)
    cluster.give_up(gone)
    for key in shuffled(gone, random):
        cluster.prune(key)
        yield


def shuffled(items: Any, random: Random) -> list[Any]:
    ordered = sorted(items, key=str)
    random.shuffle(ordered)
    return ordered


def follow(wanted: list[Commit], random: Random) -> None:
    cluster = Cluster()
    for commit, now, found in states(wanted):
        for done, _ in enumerate(sync(cluster, found, random), 1):
            cluster.check()
            if done == commit.steps:
                break
        else:
            assert cluster.live == found
            settled(cluster, now)


def settled(cluster: Cluster, now: Release) -> None:
    """All is applied: each way in has the weights of git, and nothing of a canary is left without one."""
    trial = now.canary.weight if now.canary else 0
    for split in cluster.splits():
        assert sorted(split.values()) == sorted([100 - trial, trial])
    for predictors in cluster.predictors():
        assert [weight for _, weight in predictors] == ([100 - trial, trial] if trial else [100])
    assert len([*cluster.splits(), *cluster.predictors()]) == 1
    roles = {
        (kind, found["metadata"]["labels"].get("sluicegate.dev/role")) for (kind, _), found in cluster.live.items()
    }
    for kind in ("Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget"):
        assert now.canary or (kind, "canary") not in roles


@pytest.mark.parametrize("router", ALL)
@settings(max_examples=40)
@given(st.data(), st.randoms(use_true_random=False))
def test_in_any_order(router: str, data: st.DataObject, random: Random) -> None:
    follow(data.draw(commits([router])), random)


@settings(max_examples=250)
@given(commits(list(ALL)), st.randoms(use_true_random=False))
def test_in_any_order_while_the_router_changes(wanted: list[Commit], random: Random) -> None:
    follow(wanted, random)


@pytest.mark.parametrize("router", [name for name in WEIGHS if name != "kserve"])  # which is rule and pods in one
def test_the_check_would_tell_of_a_rule_that_comes_first(router: str) -> None:
    cluster, found = Cluster(), rendered(release(10), ALL[router])
    for (kind, name), manifest in found.items():
        if (kind, name) != ("Deployment", "fraud-canary"):
            cluster.apply(manifest)
    with pytest.raises(AssertionError, match="10 % go to fraud-canary, which has no pods"):
        cluster.check()
    cluster.apply(found["Deployment", "fraud-canary"])
    cluster.check()
    cluster.prune(("Service", "fraud-canary"))
    with pytest.raises(AssertionError, match="a rule names fraud-canary, which does not exist"):
        cluster.check()
