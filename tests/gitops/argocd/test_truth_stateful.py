"""The truth against a cluster that is known: a small Argo CD that looks, syncs and falls behind in any order.

Whatever happens in whichever order, a release is called healthy only while the cluster really runs what its commit
wants; and when nothing happens any more, it is called so.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gitops.argocd.application import Application, Pod
from gitops.argocd.truth import Answer, Reach, Seen, State, truth
from gitops.release import Deployed, Release, Runtime
from tests.gitops.argocd.fake import application, at, node


def _image(version: int) -> str:
    return f"registry.example/models/fraud@sha256:{version:064x}"


class Cluster(RuleBasedStateMachine):
    """Git is a list of versions, one a commit; a cluster has applied one of them, and its pods follow."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[int] = []
        self.now = 0
        self.applied = 0
        self.pods = [0, 0]
        self.looked: int | None = None
        self.seen_synced = self.seen_healthy = False
        self.reconciled: int | None = None
        self.target: int | None = None
        self.operation: dict[str, object] = {}

    @initialize(version=st.integers(1, 3))
    def begin(self, version: int) -> None:
        self.commits = [version]

    @rule(version=st.integers(1, 3))
    def push(self, version: int) -> None:
        self.commits.append(version)

    @rule()
    def look(self) -> None:
        """Argo CD compares the cluster, as it is now, with the newest commit."""
        self.now += 1
        self.looked, self.reconciled = len(self.commits) - 1, self.now
        self.seen_synced = self.applied == self.commits[-1]
        self.seen_healthy = set(self.pods) == {self.applied}

    @precondition(lambda self: self.target is None and self.looked is not None and not self.seen_synced)
    @rule()
    def begin_sync(self) -> None:
        self.now += 1
        self.target = self.looked
        self.operation = {"phase": "Running", "startedAt": at(self.now)}

    @precondition(lambda self: self.target is not None)
    @rule(works=st.booleans())
    def end_sync(self, *, works: bool) -> None:
        self.now += 1
        assert self.target is not None
        if works:
            self.applied = self.commits[self.target]
        phase = "Succeeded" if works else "Failed"
        self.operation = {**self.operation, "phase": phase, "finishedAt": at(self.now), "message": "done"}
        self.target = None

    @rule(number=st.integers(0, 1))
    def replace_a_pod(self, number: int) -> None:
        self.pods[number] = self.applied

    @rule(version=st.integers(1, 3))
    def somebody_applies_by_hand(self, version: int) -> None:
        self.applied = version

    def ask(self, commit: int) -> Answer:
        wanted = self.commits[commit]
        stable = Deployed(version=wanted, image=_image(wanted), runtime=Runtime.TORCHSERVE)
        reach = Reach.NONE
        if self.looked is not None:
            there = self.looked >= commit and self.commits[self.looked] == wanted
            reach = Reach.SAME if there else Reach.BEFORE
        raw = application(
            "fraud-prod",
            "" if self.looked is None else f"{self.looked:040x}",
            sync={"status": "Synced" if self.seen_synced else "OutOfSync"} if self.looked is not None else {},
            health={"status": "Healthy" if self.seen_healthy else "Progressing"},
            reconciledAt=None if self.reconciled is None else at(self.reconciled),
            operationState=self.operation,
        )
        nodes = [Pod.of_node(node("stable", version, _image(version))) for version in self.pods]
        return truth(
            Seen(
                name="fraud-prod",
                commit=f"{commit:040x}",
                release=Release(model="fraud", environment="prod", stable=stable),
                superseded_by=None if self.commits[-1] == wanted else f"{len(self.commits) - 1:040x}",
                application=Application.of(raw),
                reach=reach,
                pods=tuple(pod for pod in nodes if pod),
            )
        )

    @invariant()
    def healthy_is_true(self) -> None:
        for commit, wanted in enumerate(self.commits):
            answer = self.ask(commit)
            if answer.state is State.HEALTHY:
                assert set(self.pods) == {wanted}, "every pod runs what the commit wants"
                assert self.looked is not None
                assert self.looked >= commit, "and Argo CD knows of the commit"
                assert self.target is None
            assert (answer.state is State.SUPERSEDED) == (wanted != self.commits[-1])

    def teardown(self) -> None:
        """Let everything come to rest."""
        if not self.commits:
            return
        for _ in range(3):
            if self.target is not None:
                self.end_sync(works=True)
            self.look()
            if not self.seen_synced:
                self.begin_sync()
        self.pods = [self.applied] * 2
        self.look()
        assert self.ask(len(self.commits) - 1).state is State.HEALTHY


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
