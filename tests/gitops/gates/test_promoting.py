"""Gates on real git: asked on the head that the commit is made on, with history telling how long something ran."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gitops.decide import Rollback
from gitops.gates import Gate, GatesRefuse, Known, soak
from gitops.history import history
from gitops.message import Identity
from gitops.operations import Outcome, init_in, promote_in, roll_back_in
from gitops.promote import Promotion, promote, stable_in
from gitops.release import Deployed, Runtime
from gitops.repository import Repository
from registry.changes import Approval
from registry.errors import Conflict, InvalidInput, NotFound, Refused
from registry.facts import Severity
from registry.progress import Silent
from registry.roles import Role

_HOUR = timedelta(hours=1)


class Clock:
    """In place of `datetime` where commits get their times."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 2, 9, tzinfo=UTC)

    def now(self, _zone: object) -> datetime:
        return self.time

    def wait(self, hours: float) -> None:
        self.time += hours * _HOUR


class Desk:
    """Releases fraud as the commands do, by a clock of its own."""

    def __init__(self, repository: Repository, author: Identity, clock: Clock) -> None:
        self.repository = repository
        self.author = author
        self.clock = clock

    def promotion(self, version: int, environment: str, weight: int = 100, **more: Any) -> Promotion:
        known = {"at": self.clock.time, **more.pop("known", {})}
        said = {"requested_by": "Ann <ann@example.com>", **more}
        return Promotion(
            model="fraud",
            environment=environment,
            to=deployed(version),
            weight=weight,
            known=Known(**known),
            **said,
        )

    def promote(self, version: int, environment: str, weight: int = 100, **more: Any) -> Outcome:
        wanted = self.promotion(version, environment, weight, **more)
        return promote_in(self.repository, wanted, self.author, Silent())

    def roll_back(self, environment: str) -> Outcome:
        wanted = Rollback(model="fraud", environment=environment, requested_by="ann")
        return roll_back_in(self.repository, wanted, self.author, Silent())

    def since(self, version: int, to: Deployed | None = None, hours: int = 1000) -> datetime | None:
        enough = self.clock.time - hours * _HOUR
        return soak(self.repository.head(), "fraud", "staging", to or deployed(version), enough).since

    def message(self) -> str:
        commit = self.repository.head().commit
        assert commit is not None
        return commit.message


def deployed(version: int) -> Deployed:
    return Deployed(version=version, image=f"registry.example/fraud@sha256:{version:064x}", runtime=Runtime.TORCHSERVE)


@pytest.fixture
def desk(repository: Repository, author: Identity, monkeypatch: pytest.MonkeyPatch) -> Desk:
    clock = Clock()
    monkeypatch.setattr("gitops.fastimport.datetime", clock)
    init_in(repository, ("staging", "prod"), "https://git.example.com/acme/models.git", author, Silent())
    return Desk(repository, author, clock)


@pytest.fixture
def ask(desk: Desk, person: Callable[[], Any]) -> Callable[[str], None]:
    """A person writes what an environment asks into its file."""
    clones: list[Any] = []

    def write(text: str, environment: str = "prod") -> None:
        if not clones:
            clones.append(person())
        path = f"environments/{environment}.yaml"
        head = f"name: {environment}\nnamespace: models-{environment}\ndomain: {environment}.example.com\n"
        clones[0].commit({path: f"{head}{text}\n"}, "Ask for more")

    return write


def test_how_long_a_version_ran_counts_from_the_commit_that_made_it_stable(desk: Desk) -> None:
    assert desk.since(1) is None
    begun = desk.clock.time
    desk.promote(1, "staging")
    desk.clock.wait(1)
    desk.promote(2, "staging", 10)
    desk.clock.wait(1)
    assert desk.since(1) == begun  # a canary beside it changes nothing
    assert desk.since(2) is None  # and is not stable
    assert desk.since(1, hours=2) == begun
    assert desk.since(1, hours=1) == desk.clock.time - _HOUR  # looked back far enough
    desk.clock.wait(1)
    desk.promote(2, "staging", 100)
    assert desk.since(1) is None
    assert desk.since(2) == desk.clock.time


def test_another_version_or_a_rollback_in_between_begins_it_anew(desk: Desk) -> None:
    desk.promote(1, "staging")
    desk.clock.wait(1)
    desk.promote(2, "staging")
    desk.clock.wait(1)
    desk.roll_back("staging")
    assert desk.since(1) == desk.clock.time
    assert desk.since(2) is None
    desk.clock.wait(1)
    desk.promote(2, "staging", unhold="it was the node")
    assert desk.since(2) == desk.clock.time


def test_another_image_of_it_does_not_count(desk: Desk) -> None:
    desk.promote(1, "staging")
    other = deployed(1).model_copy(update={"image": f"registry.example/fraud@sha256:{'f' * 64}"})
    assert desk.since(1, other) is None
    assert soak(desk.repository.head(), "fraud", "staging", other, desk.clock.time).stable == 1


def test_a_file_that_a_person_broke_for_a_while_begins_it_anew(desk: Desk, person: Callable[[], Any]) -> None:
    desk.promote(1, "staging")
    clone, path = person(), "models/fraud/staging/release.yaml"
    whole = (clone.folder / path).read_text()
    clone.commit({path: "model: fraud\n"}, "Oops")
    mended = clone.commit({path: whole}, "Mend")
    head = desk.repository.head()
    assert desk.since(1) == head.at(mended).commit.time  # type: ignore[union-attr]


@pytest.mark.parametrize("how", [("merge", "--no-ff", "-m", "Merge"), ("cherry-pick", "--no-gpg-sign")])
def test_a_proposal_ran_from_when_it_was_merged(
    desk: Desk, person: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, how: tuple[str, ...]
) -> None:
    """By a merge commit, or by a rebase, which keeps the author's time."""
    desk.promote(1, "staging")
    clone = person()
    wanted = desk.promotion(2, "staging")
    desk.repository.propose(
        lambda head: promote(head, history(head, "fraud", "staging"), wanted), author=desk.author, branch="proposal"
    )
    clone.commit({"README.md": "In between.\n"}, "In between")
    desk.clock.wait(24)
    monkeypatch.setenv("GIT_COMMITTER_DATE", f"@{int(desk.clock.time.timestamp())} +0000")
    clone.git(clone.folder, "fetch", "--quiet")
    clone.git(clone.folder, *how, "origin/proposal")
    clone.push()
    assert desk.since(2) == desk.clock.time
    desk.clock.wait(1)
    desk.promote(3, "staging", 10)
    assert desk.since(2) == desk.clock.time - _HOUR


def test_another_version_on_the_branch_counts_though_a_merge_hides_it(
    desk: Desk, person: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person's pull makes the branch the second parent of what they push."""
    desk.promote(1, "staging")
    clone = person()
    desk.clock.wait(10)
    desk.promote(2, "staging")
    desk.promote(1, "staging")
    monkeypatch.setenv("GIT_COMMITTER_DATE", f"@{int(desk.clock.time.timestamp())} +0000")
    (clone.folder / "README.md").write_text("In between.\n")
    clone.git(clone.folder, "commit", "--quiet", "-am", "In between")
    clone.git(clone.folder, "pull", "--quiet", "--no-rebase", "--no-edit")
    clone.push()
    assert desk.since(1) == desk.clock.time


def test_it_is_let_pass_once_it_ran_long_enough(desk: Desk, ask: Callable[[str], None]) -> None:
    ask("gates: {healthyIn: {environment: staging, hours: 24}}")
    with pytest.raises(GatesRefuse, match="healthyIn: staging does not run it, promote it to staging with --weight"):
        desk.promote(1, "prod")
    desk.promote(1, "staging")
    desk.clock.wait(23)
    before = desk.repository.head().id
    with pytest.raises(GatesRefuse, match=r"has run it for 23 of 24 hours, wait until 2026-11-03 09:00 UTC"):
        desk.promote(1, "prod")
    assert desk.repository.head().id == before
    desk.clock.wait(1)
    assert desk.promote(1, "prod").commit
    assert "Override" not in desk.message()


def test_an_environment_that_a_gate_names_and_nobody_made(desk: Desk, ask: Callable[[str], None]) -> None:
    ask("gates: {healthyIn: {environment: moon, hours: 1}}")
    with pytest.raises(NotFound, match="There is no environment moon"):
        desk.promote(1, "prod")


def test_what_gates_ask_of_the_registry(desk: Desk, ask: Callable[[str], None]) -> None:
    ask("gates: {scanClean: note, approved: true}")
    known = {"scanner": "picklescan", "worst": Severity.NOTE, "approval": Approval.APPROVED}
    with pytest.raises(GatesRefuse, match="2 gates of prod refuse fraud@1 at 100 %"):
        desk.promote(1, "prod")
    assert desk.promote(1, "prod", known=known).commit


def test_an_override_is_in_the_commit_with_its_reason(desk: Desk, ask: Callable[[str], None]) -> None:
    ask("gates: {approved: true, scanClean: note}")
    admin = {"known": {"role": Role.ADMIN}, "override": (Gate.APPROVED, Gate.SCAN_CLEAN)}
    with pytest.raises(InvalidInput, match="An override needs a reason: say in a sentence why with --reason TEXT"):
        desk.promote(1, "prod", **admin)
    with pytest.raises(Refused, match="To pass over gates is for an admin"):
        desk.promote(1, "prod", override=(Gate.APPROVED,), reason="now")
    commit = desk.promote(1, "prod", **admin, reason="The board meets on Monday.\nOverride: nothing").commit
    (newest, *_) = history(desk.repository.head(), "fraud", "prod")
    assert newest.id == commit
    assert newest.override == ("scanClean", "approved")
    assert "The board meets on Monday." in newest.body


def test_what_is_so_already_is_not_asked_again(desk: Desk, ask: Callable[[str], None]) -> None:
    assert desk.promote(1, "prod").commit
    ask("gates: {approved: true}")
    assert desk.promote(1, "prod").commit  # the environment's file changed, and what follows from it is rendered
    assert desk.promote(1, "prod").commit is None


def test_less_traffic_needs_no_approval(desk: Desk, ask: Callable[[str], None]) -> None:
    desk.promote(1, "prod")
    desk.promote(2, "prod", 50)
    ask("gates: {approved: true, freeze: [{cron: '* * * * *', duration: 1h}]}")
    with pytest.raises(GatesRefuse):
        desk.promote(2, "prod", 60)
    assert desk.promote(2, "prod", 5).commit
    assert desk.roll_back("prod").commit


def test_gates_are_asked_on_the_head_that_the_commit_is_made_on(desk: Desk, ask: Callable[[str], None]) -> None:
    ask("gates: {}")
    calls = []

    def intent(head: Any) -> Any:
        change = promote(head, history(head, "fraud", "prod"), desk.promotion(1, "prod"))
        if not calls:
            ask("gates: {approved: true}")  # somebody is faster
        calls.append(head.id)
        return change

    with pytest.raises(GatesRefuse, match="approved: it is pending"):
        desk.repository.commit(intent, author=desk.author)
    assert len(set(calls)) == 1
    assert history(desk.repository.head(), "fraud", "prod") == []


def test_a_version_is_handed_on_from_environment_to_environment(desk: Desk) -> None:
    head = desk.repository.head
    with pytest.raises(NotFound, match="staging runs no version of fraud: `sluice status` shows"):
        stable_in(head(), "fraud", "staging")
    with pytest.raises(NotFound, match="There is no environment moon"):
        stable_in(head(), "fraud", "moon")
    desk.promote(1, "staging")
    assert stable_in(head(), "fraud", "staging") == deployed(1)
    desk.promote(2, "staging", 20)
    with pytest.raises(
        Conflict, match=r"fraud@2 is the canary of staging at 20 %: finish it there, or say which .*, as in fraud@1"
    ):
        stable_in(head(), "fraud", "staging")
    with pytest.raises(Conflict, match="fraud@2 is the canary of staging"):
        desk.promote(1, "prod", source="staging")
    desk.promote(2, "staging", 100)
    with pytest.raises(Conflict, match="staging runs fraud@2 by now, and not version 1: look at `sluice history fraud"):
        desk.promote(1, "prod", source="staging")
    assert desk.promote(2, "prod", source="staging").commit


def test_a_workflow_is_named_in_the_commit(desk: Desk) -> None:
    desk.promote(1, "prod", workflow="release-fraud-x7k2p")
    (newest,) = history(desk.repository.head(), "fraud", "prod")
    assert newest.workflow == "release-fraud-x7k2p"


def test_a_weight_is_refused_where_a_controller_sets_it(desk: Desk, ask: Callable[[str], None]) -> None:
    ask("router: {kind: rollouts}")
    desk.promote(1, "prod")
    with pytest.raises(Refused, match="prod leaves the weights to Argo Rollouts"):
        desk.promote(2, "prod", 10)
    with pytest.raises(InvalidInput, match="101 is not a weight"):
        desk.promote(2, "prod", 101)
    assert desk.promote(2, "prod", 100).commit
