"""What is true of a release: one table for each question, and that the questions come in their order."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.argocd.application import Application, Pod
from gitops.argocd.truth import Answer, Reach, Seen, State, truth, worst
from gitops.release import Canary, Deployed, Release, Runtime
from tests.gitops.argocd.fake import START, application, at, node

OURS, NEWER, OTHER = "a" * 40, "b" * 40, "c" * 40
V7, V8 = (f"registry.example/models/fraud@sha256:{version:064x}" for version in (7, 8))
STABLE = Deployed(version=7, image=V7, runtime=Runtime.TORCHSERVE)
TRIAL = Canary(version=8, image=V8, runtime=Runtime.TORCHSERVE, weight=10)
BOTH = Release(model="fraud", environment="prod", stable=STABLE, canary=TRIAL)
ALONE = Release(model="fraud", environment="prod", stable=STABLE)


def seen(release: Release = ALONE, *, status: dict[str, Any] | None = None, **changed: Any) -> Seen:
    """A release that is healthy, but for what is said otherwise."""
    images = [deployed.image for deployed in release.shares]
    raw = application("fraud-prod", OURS, *images, **(status or {}))
    about = {"name": "fraud-prod", "commit": OURS, "release": release, "reach": Reach.SAME}
    return Seen(**{**about, "application": Application.of(raw), **changed})


def pods(*nodes: dict[str, Any]) -> tuple[Pod, ...]:
    return tuple(pod for each in nodes if (pod := Pod.of_node(each)))


@pytest.mark.parametrize("release", [ALONE, BOTH])
def test_all_is_well(release: Release) -> None:
    answer = truth(seen(release))
    assert (answer.state, answer.why, answer.refresh) == (State.HEALTHY, "", False)
    assert answer.since == START + timedelta(seconds=60)


def test_a_newer_commit_makes_every_other_question_idle() -> None:
    answer = truth(seen(superseded_by=NEWER, application=None))
    assert (answer.state, answer.by) == (State.SUPERSEDED, NEWER)
    assert NEWER[:12] in answer.why
    assert OURS[:12] in answer.why


def test_without_an_application() -> None:
    answer = truth(seen(application=None, reach=Reach.NONE))
    assert answer.state is State.UNKNOWN
    assert "no Application fraud-prod yet" in answer.why


RUNNING = {"phase": "Running", "startedAt": at(200), "message": "waiting for healthy state"}
FAILED = {"phase": "Failed", "startedAt": at(0), "finishedAt": at(30), "message": "one or more objects failed to apply"}


@pytest.mark.parametrize(
    ("status", "state", "why", "refresh"),
    [
        ({"operationState": RUNNING}, State.PROGRESSING, "a sync is running: waiting for healthy state", False),
        ({"operationState": {**RUNNING, "phase": "Terminating", "message": ""}}, State.PROGRESSING, "running", False),
        ({"reconciledAt": at(29)}, State.PROGRESSING, "not looked again since the last sync", True),
        ({"reconciledAt": None}, State.PROGRESSING, "not looked again", True),
        ({"reconciledAt": at(30)}, State.HEALTHY, "", False),
        (
            {"conditions": [{"type": "ComparisonError", "message": "rpc error:\ncode = Unknown."}]},
            State.FAILED,
            "ComparisonError: rpc error: code = Unknown",
            False,
        ),
        ({"conditions": [{"type": "SharedResourceWarning", "message": "x"}]}, State.HEALTHY, "", False),
        ({"sync": {"status": "OutOfSync", "revision": OURS}}, State.PROGRESSING, "a sync is due", False),
        (
            {"sync": {"status": "OutOfSync", "revision": OURS}, "operationState": FAILED},
            State.FAILED,
            "the sync failed: one or more objects failed to apply",
            False,
        ),
        ({"sync": {"status": "Unknown", "revision": OURS}}, State.UNKNOWN, "is Unknown how", True),
        ({"sync": {"status": ""}}, State.UNKNOWN, "says of no commit", True),
        ({"health": {"status": "Progressing", "message": "1 of 2"}}, State.PROGRESSING, "coming up: 1 of 2", False),
        ({"health": {"status": "Suspended"}}, State.PROGRESSING, "paused", False),
        ({"health": {"status": "Degraded", "message": "too late"}}, State.DEGRADED, "Degraded: too late", False),
        ({"health": {"status": "Missing"}}, State.DEGRADED, "Missing", False),
        ({"health": {"status": "Unknown"}}, State.UNKNOWN, "does not know its health", False),
        ({"summary": {"images": []}}, State.PROGRESSING, "no pod runs the image of v7 yet", False),
        ({"summary": {"images": [V7, "another"]}}, State.HEALTHY, "", False),
    ],
)
def test_each_question(status: dict[str, Any], state: State, why: str, *, refresh: bool) -> None:
    answer = truth(seen(status=status))
    assert (answer.state, answer.refresh) == (state, refresh)
    assert why in answer.why


def test_a_sync_that_is_asked_for() -> None:
    raw = {**application("fraud-prod", OURS, V7), "operation": {"sync": {}}}
    answer = truth(seen(application=Application.of(raw)))
    assert (answer.state, answer.why) == (State.PROGRESSING, "a sync is about to begin")


@pytest.mark.parametrize(
    ("reach", "state", "why"),
    [
        (Reach.SAME, State.HEALTHY, ""),
        (Reach.BEFORE, State.PROGRESSING, "before aaaaaaaaaaaa"),
        (Reach.FOREIGN, State.UNKNOWN, "the branch here does not have"),
        (Reach.NONE, State.UNKNOWN, "says of no commit"),
    ],
)
def test_the_commit_that_argo_cd_looked_at(reach: Reach, state: State, why: str) -> None:
    answer = truth(seen(reach=reach))
    assert (answer.state, answer.refresh) == (state, state is not State.HEALTHY)
    assert why in answer.why


def test_what_a_commit_before_ours_came_to_is_no_verdict_on_ours() -> None:
    wrong = {
        "sync": {"status": "OutOfSync", "revision": OTHER},
        "operationState": FAILED,
        "conditions": [{"type": "SyncError", "message": "Failed last sync attempt to cccc"}],
        "health": {"status": "Degraded"},
    }
    answer = truth(seen(status=wrong, reach=Reach.BEFORE))
    assert (answer.state, answer.refresh) == (State.PROGRESSING, True)
    assert "it says: Failed last sync attempt to cccc" in answer.why
    assert truth(seen(status=wrong)).state is State.FAILED


@pytest.mark.parametrize(
    ("release", "nodes", "why"),
    [
        (ALONE, [node("stable", 7, V7)], ""),
        (BOTH, [node("stable", 7, V7), node("canary", 8, V8)], ""),
        (BOTH, [node("stable", 7, V7)], "no canary pod runs the image of v8 yet"),
        (BOTH, [node("stable", 8, V8), node("canary", 7, V7)], "no stable pod runs the image of v7 yet"),
        (ALONE, [], "no stable pod runs the image of v7 yet"),
        (ALONE, [node("stable", 7, V7), node("stable", 6, "old")], "a stable pod still runs another image"),
        (ALONE, [node("stable", 7, V7), node("stable", 6, "old", reason="Terminating")], ""),
        (ALONE, [node("stable", 7, V7), node("stable", 6, "old", reason="Evicted", health="Degraded")], ""),
        (ALONE, [node("stable", 7, V7, reason="Terminating")], "no stable pod runs"),
        (ALONE, [node("stable", 6, V7)], "no stable pod runs the image of v7 yet"),  # the same server, another model
        (ALONE, [node("stable", 7, V7), node("canary", 9, "canary that is going")], ""),
    ],
)
def test_the_images_that_pods_run(release: Release, nodes: list[dict[str, Any]], why: str) -> None:
    answer = truth(seen(release, pods=pods(*nodes)))
    assert answer.state is (State.PROGRESSING if why else State.HEALTHY)
    assert why in answer.why


def test_a_pod_that_says_nothing_of_itself_is_judged_by_its_image() -> None:
    bare = {**node("stable", 7, V7), "networkingInfo": None}
    assert truth(seen(pods=pods(bare))).state is State.HEALTHY
    assert truth(seen(pods=pods(bare, {**bare, "images": ["proxy"]}))).state is State.HEALTHY


# each makes one question be answered badly, in the order in which they are asked
WRONG: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("changed what runs here", {}, {"superseded_by": NEWER}),
    ("a sync is running", {"operationState": RUNNING}, {}),
    ("not looked again", {"reconciledAt": at(1)}, {}),
    ("has last looked at", {}, {"reach": Reach.BEFORE}),
    ("SyncError", {"conditions": [{"type": "SyncError", "message": "x"}]}, {}),
    ("a sync is due", {"sync": {"status": "OutOfSync", "revision": OURS}}, {}),
    ("its health is Degraded", {"health": {"status": "Degraded"}}, {}),
    ("no stable pod", {}, {"pods": ()}),
]


@given(st.sets(st.integers(0, len(WRONG) - 1), min_size=1))
def test_the_first_question_that_is_answered_badly_decides(numbers: set[int]) -> None:
    status: dict[str, Any] = {}
    changed: dict[str, Any] = {}
    for number in numbers:
        status |= WRONG[number][1]
        changed |= WRONG[number][2]
    assert WRONG[min(numbers)][0] in truth(seen(status=status, **changed)).why


@given(st.data())
def test_it_is_healthy_only_where_nothing_is_wrong(data: st.DataObject) -> None:
    """Whatever Argo CD may say, in words that nobody foresaw: no other way leads to Healthy."""
    word = st.sampled_from(
        ["", "Synced", "OutOfSync", "Healthy", "Progressing", "Running", "Succeeded", "Error", "New"]
    )
    moment = st.sampled_from([None, at(0), at(30), at(60)])
    status = {
        "sync": {"status": data.draw(word), "revision": OURS},
        "health": {"status": data.draw(word)},
        "operationState": {"phase": data.draw(word), "startedAt": at(0), "finishedAt": data.draw(moment)},
        "reconciledAt": data.draw(moment),
        "conditions": data.draw(st.lists(st.fixed_dictionaries({"type": st.sampled_from(["XError", "XWarning"])}))),
    }
    reach = data.draw(st.sampled_from(Reach))
    found = seen(status=status, reach=reach)
    application = found.application
    assert application is not None
    if truth(found).state is State.HEALTHY:
        finished, looked = application.operation.finished_at, application.reconciled_at
        assert (application.sync.status, application.health.status, reach) == ("Synced", "Healthy", Reach.SAME)
        assert finished is None or (looked is not None and looked >= finished)
        assert not application.operation.running
        assert not application.errors


@given(st.text(max_size=600))
def test_a_reason_is_one_short_line_whatever_a_controller_says(text: str) -> None:
    for status in (
        {"health": {"status": "Degraded", "message": text}},
        {"conditions": [{"type": "E", "message": text}]},
    ):
        why = truth(seen(status=status)).why
        assert why.isprintable() or not why
        assert len(why) < 400


def test_of_several_clusters_the_worst_is_told_with_its_name() -> None:
    well, bad = Answer(state=State.HEALTHY), Answer(state=State.DEGRADED, why="no GPU")
    assert worst({"eu": well, "us": well}).state is State.HEALTHY
    found = worst({"eu": well, "us": bad})
    assert (found.state, found.why) == (State.DEGRADED, "us: no GPU")
    assert worst({"": bad}).why == "no GPU"


@given(st.lists(st.sampled_from(State), min_size=1, max_size=5))
def test_the_worst_is_the_worst(states: list[State]) -> None:
    order = list(State)
    found = worst({str(number): Answer(state=state) for number, state in enumerate(states)})
    assert order.index(found.state) == min(map(order.index, states))
