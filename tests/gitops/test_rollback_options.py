"""How far a rollback goes: steps, to a version, to a commit, and over what was changed by hand; on real git."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gitops.check import check
from gitops.history import held, history
from gitops.message import Identity
from gitops.operations import roll_back_in
from gitops.promote import Promotion, promote
from gitops.release import Deployed, Runtime
from gitops.repository import Repository
from gitops.rollback import ChangedByHand, ensure_ours, restore, rollback
from gitops.stack import Decision
from gitops.tree import Change
from registry.errors import Conflict, InvalidInput, NotFound, Refused, SluiceError, Unavailable

FOLDER = "models/fraud/prod"


@pytest.fixture
def walk(office: Any) -> list[tuple[str, str]]:
    """Commit and tree after each of: 5; 6 at 10, 50, 100; 7 at 100; 8 at 10."""
    made = []
    for version, weight in ((5, 100), (6, 10), (6, 50), (6, 100), (7, 100), (8, 10)):
        made.append((office.promote(version, weight).commit, office.tree()))
    return made


@pytest.mark.parametrize(
    ("how", "state", "holds", "subject"),
    [
        ({}, 4, {8}, "Roll back fraud@8 in prod"),
        ({"version": 8}, 4, {8}, "Roll back fraud@8 in prod"),
        ({"steps": 1}, 4, {8}, "Roll back fraud@8 in prod"),
        ({"steps": 2}, 3, {7, 8}, "Roll back fraud@8 in prod to v6"),
        ({"steps": 3}, 2, {6, 7, 8}, "Roll back fraud@8 in prod to v5"),
        ({"steps": 5}, 0, {6, 7, 8}, "Roll back fraud@8 in prod to v5"),
        ({"to_version": 7}, 4, {8}, "Roll back fraud@8 in prod"),
        ({"to_version": 6}, 3, {7, 8}, "Roll back fraud@8 in prod to v6"),
        ({"to_version": 5}, 0, {6, 7, 8}, "Roll back fraud@8 in prod to v5"),
        ({"to_commit": 4}, 4, {8}, "Roll back fraud@8 in prod"),
        ({"to_commit": 1}, 1, {6, 7, 8}, "Roll back fraud@8 in prod to v5"),
    ],
)
def test_it_goes_as_far_as_it_is_told_in_one_commit(
    office: Any, walk: Any, git: Any, remote: Path, how: dict[str, Any], state: int, holds: set[int], subject: str
) -> None:
    if "to_commit" in how:
        how = {"to_commit": walk[how["to_commit"]][0][:9]}
    head = office.repository.head().id
    made = office.roll_back(**how, reason="because", workflow="wf-1")
    assert office.tree() == walk[state][1]
    assert git(remote, "rev-parse", "main^") == head
    reverts = "\n".join(f"This reverts commit {commit}." for commit, _ in reversed(walk[state + 1 :]))
    assert git(remote, "log", "-1", "--format=%b", "main").startswith(f"{reverts}\n\nbecause\n\nRelease-Id: ")
    assert made.subject == subject
    assert office.history()[0].holds == tuple(sorted(holds))
    assert office.history()[0].workflow == "wf-1"
    assert office.held() == holds
    assert check(office.repository.head()) == []


def test_people_get_the_same_from_git_revert(office: Any, walk: Any, person: Callable[[], Any], git: Any) -> None:
    clone = person()
    git(clone.folder, "revert", "--no-edit", *(commit for commit, _ in reversed(walk[2:])))
    office.roll_back(to_commit=walk[1][0])
    assert office.repository.head().tree_id() == git(clone.folder, "rev-parse", "HEAD^{tree}")


def test_a_state_without_a_canary_is_better_than_a_newer_one_with_one(office: Any) -> None:
    office.promote(5)
    alone = office.tree()
    office.promote(6, 10)
    office.roll_back(to_version=5)
    assert office.tree() == alone
    assert office.roll_back(to_version=5).commit is None, "it is so already"


def test_back_to_a_version_that_only_ran_beside_a_canary(office: Any, person: Callable[[], Any]) -> None:
    office.promote(5)
    office.promote(6, 10)
    beside = office.tree()
    office.promote(6)
    clone = person()
    clone.git(clone.folder, "rm", "--quiet", "-r", FOLDER)
    clone.commit({}, "Retire")
    with pytest.raises(NotFound, match="fraud@5 was the stable version of prod in nothing that is in force"):
        office.roll_back(to_version=5)
    assert office.tree() != beside


@pytest.mark.parametrize(
    ("how", "error", "says"),
    [
        ({"steps": 1, "to_version": 5}, InvalidInput, "--steps and --to-version each say how far"),
        ({"version": 8, "to_commit": "abcdef0"}, InvalidInput, "fraud@8 and --to-commit each say how far"),
        ({"steps": 0}, InvalidInput, "0 is no number of steps"),
        ({"to_commit": "HEAD"}, InvalidInput, "'HEAD' is not a commit"),
        ({"to_commit": "--all"}, InvalidInput, "is not a commit"),
        ({"to_commit": "0123456"}, NotFound, "No commit 0123456 released fraud in prod"),
        ({"to_version": 9}, NotFound, "fraud@9 was the stable version of prod in nothing that is in force"),
        ({"steps": 7}, Refused, "has 6 actions in force in prod, not 7"),
        ({"steps": 6}, Refused, "nothing to roll back to"),
        ({"version": 7}, Conflict, "version 8, not 7"),
    ],
)
def test_what_makes_no_sense_is_refused(
    office: Any, walk: Any, how: dict[str, Any], error: type[SluiceError], says: str
) -> None:
    with pytest.raises(error, match=says):
        office.roll_back(**how)
    assert office.repository.head().id == walk[-1][0]


def test_a_commit_of_another_model_or_environment_is_none_to_go_back_to(
    office: Any, walk: Any, repository: Repository, author: Identity
) -> None:
    other = type(office)(repository, author, "churn").promote(1).commit
    with pytest.raises(NotFound, match="released fraud in prod"):
        office.roll_back(to_commit=other)
    held_at = office.hold(3).commit
    with pytest.raises(NotFound, match="released fraud in prod"):
        office.roll_back(to_commit=held_at)


def test_what_was_taken_back_is_not_gone_back_to(office: Any) -> None:
    office.promote(5)
    sixth = office.promote(6)
    back = office.roll_back()
    after = office.tree()
    office.promote(7)
    with pytest.raises(Refused, match=f"{sixth.commit[:12]} is not in force any more"):
        office.roll_back(to_commit=sixth.commit)
    with pytest.raises(NotFound, match="fraud@6 was the stable version of prod in nothing that is in force"):
        office.roll_back(to_version=6)
    assert office.roll_back(to_commit=back.commit).commit, "a rollback is a state like any other"
    assert office.tree() == after


def test_a_held_version_does_not_come_back_by_a_rollback(office: Any, walk: Any) -> None:
    office.hold(6)
    with pytest.raises(Refused, match=r"would bring back fraud@6, which is held"):
        office.roll_back(to_version=6)
    assert office.roll_back(to_version=5).release.stable.version == 5


def test_a_stable_version_that_is_held_stays_when_its_canary_goes(office: Any, walk: Any) -> None:
    office.hold(7)
    assert office.roll_back().release.stable.version == 7


def test_a_held_canary_gets_no_more_by_a_rollback(office: Any) -> None:
    office.promote(5)
    office.promote(6, 50)
    office.promote(6, 10)
    office.hold(6)
    with pytest.raises(Refused, match=r"would raise fraud@6 to 50 %, which is held since"):
        office.roll_back(steps=1)
    office.roll_back()
    assert office.history()[0].action == "rollback", "the way back stays open"


def test_a_held_canary_does_not_become_stable_by_a_rollback(office: Any) -> None:
    office.promote(5)
    office.promote(6)
    office.promote(5, 10)
    office.hold(5)
    with pytest.raises(Refused, match=r"would raise fraud@5 to 100 %"):
        office.roll_back(to_version=5)


def test_a_network_that_is_gone_after_the_push_does_not_hide_it(office: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told of a failure, people ask again, and take back one release more."""
    office.promote(5)
    office.promote(6)
    push = office.repository.commit

    def gone() -> Any:
        raise Unavailable("Nothing answers: try again.")

    def last(intent: Any, **options: Any) -> Any:
        made = push(intent, **options)
        monkeypatch.setattr(office.repository, "head", gone)
        return made

    monkeypatch.setattr(office.repository, "commit", last)
    assert office.roll_back().release.stable.version == 5


def test_a_merged_proposal_that_a_person_takes_back_is_held(
    office: Any, person: Callable[[], Any], author: Identity
) -> None:
    """The message of `git revert -m` names the merge, which changed nothing of its own."""
    office.promote(5)
    office.promote(6)
    to = Deployed(version=7, image=f"registry.example/fraud@sha256:{7:064x}", runtime=Runtime.TORCHSERVE)
    wanted = Promotion(**office.about, to=to, weight=100)
    office.repository.propose(
        lambda head: promote(head, history(head, "fraud", "prod"), wanted), author=author, branch="proposal"
    )
    clone, before = person(), office.tree()
    clone.git(clone.folder, "merge", "--quiet", "--no-ff", "-m", "Merge", "origin/proposal")
    clone.push()
    assert office.history()[0].version == 7
    clone.revert("-m", "1", "HEAD")
    assert office.tree() == before
    assert office.held() == {7}
    with pytest.raises(Refused, match="is held"):
        office.promote(7)
    back = office.roll_back()
    assert back.release.stable.version == 5
    clone.commit(
        {"README.md": "Ours\n"}, f"Odd\n\nThis reverts commit {'a' * 40}, reversing\nchanges made to beadfeed."
    )
    assert office.held() == {6, 7}


def test_going_back_to_a_version_that_was_promoted_twice_does_not_hold_it(office: Any) -> None:
    first = office.promote(5)
    office.promote(6)
    office.promote(5)
    assert office.roll_back(to_commit=first.commit).commit is None, "that is what runs"
    office.promote(7)
    office.roll_back(to_commit=first.commit)
    assert office.held() == {6, 7}


def test_the_other_image_of_a_version_that_was_taken_back_is_held(releases: Any, repository: Repository) -> None:
    """Built again and promoted again: its number is the one that stays, and still it was taken back."""
    releases.promote(5)
    head = repository.head()
    old = head.read(f"{FOLDER}/release.yaml")
    assert old is not None
    change = Change(
        writes={f"{FOLDER}/release.yaml": old.replace(b"0000005", b"00000f5")},
        subject="Again",
        trailers={"Model": "fraud", "Version": "5", "Environment": "prod", "Action": "promote"},
    )
    repository.commit(lambda _: change, author=releases.author)
    releases.roll_back()
    assert held(releases.history()) == {5}


def test_decided_once_it_takes_back_no_more(office: Any, walk: Any, remote: Path, tmp_path: Path, author: Any) -> None:
    """Another writer promotes between the decision and the push."""
    with Repository.open(str(remote), cache=tmp_path / "other") as elsewhere:
        other = type(office)(elsewhere, author)
        push = office.repository.commit

        def late(intent: Any, **options: Any) -> Any:
            other.promote(8, 20)
            return push(intent, **options)

        office.repository.commit = late
        with pytest.raises(Conflict, match="moved on in prod since this rollback was decided"):
            office.roll_back(to_version=5)
    assert office.history()[0].action == "promote"


# an early commit reverted alone


SERVICE, RULE = f"{FOLDER}/manifests/service-canary.yaml", f"{FOLDER}/manifests/rule.yaml"


@pytest.fixture
def pointed(releases: Any, repository: Repository) -> tuple[str, str, str]:
    """A canary's Service by one commit, then a rule that sends it traffic, by the next; and the tree before both."""

    def promote(weight: int, path: str, text: str) -> str:
        change = Change(
            writes={path: text.encode()},
            subject=f"fraud: prod canary v7 at {weight} %",
            trailers={"Model": "fraud", "Version": "7", "Environment": "prod", "Action": "promote"},
        )
        made = repository.commit(lambda _: change, author=releases.author)
        assert made is not None
        return made.id

    releases.promote(6)
    before = releases.tree()
    first = promote(1, SERVICE, "kind: Service\nname: fraud-canary\n")
    return first, promote(10, RULE, "weights: {fraud-stable: 90, fraud-canary: 10}\n"), before


def test_reverting_an_early_commit_alone_applies_cleanly_and_is_wrong(
    releases: Any, repository: Repository, person: Callable[[], Any], pointed: tuple[str, str, str]
) -> None:
    first, second, before = pointed
    person().revert(first)  # git finds no conflict
    head = repository.head()
    assert head.read(SERVICE) is None
    assert b"fraud-canary: 10" in (head.read(RULE) or b""), "the weight points to a Service that is gone"

    for action in (
        lambda: releases.promote(8),
        lambda: releases.roll_back(),
        lambda: ensure_ours(repository.head(), releases.history(), "fraud", "prod"),
    ):
        with pytest.raises(ChangedByHand, match=r"in manifests/service-canary\.yaml") as caught:
            action()
        assert "-kind: Service" in caught.value.details

    decision = Decision(undo=(first, second), over=(head.id or "",))
    releases.repository.commit(
        lambda at: restore(at, releases.history(), "fraud", "prod", "ann", decision), author=releases.author
    )
    assert releases.tree() == before
    assert releases.history()[0].reverts == (head.id, second, first)


def test_sluice_takes_no_early_commit_back_alone(releases: Any, pointed: tuple[str, str, str]) -> None:
    first, second, before = pointed
    with pytest.raises(Conflict, match="moved on"):
        releases.roll_back(undo=[first])
    releases.roll_back(undo=[first, second])
    assert releases.tree() == before


def test_the_proof_is_of_what_was_pushed(office: Any, walk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that restores something else, which no code here makes, is told at once."""
    wrong = office.repository.head()

    def careless(*arguments: Any) -> Any:
        change = rollback(*arguments)
        return change and change.model_copy(update={"tree": wrong.at(walk[1][0]).tree_id(FOLDER)})

    monkeypatch.setattr("gitops.operations.rollback", careless)
    with pytest.raises(SluiceError, match=r"did not restore models/fraud/prod: look at it now"):
        office.roll_back()


# over what was changed by hand


def edit(text: str = "kind: Mine\n") -> dict[str, str | None]:
    return {f"{FOLDER}/manifests/service-stable.yaml": text}


@pytest.mark.parametrize(("how", "state"), [({}, 4), ({"steps": 2}, 3), ({"to_version": 5}, 0), ({"to_version": 7}, 4)])
def test_restore_writes_over_what_was_changed_by_hand_and_says_so(
    office: Any, walk: Any, person: Callable[[], Any], git: Any, remote: Path, how: Any, state: int
) -> None:
    clone = person()
    one = clone.commit(edit(), "Scale up")
    two = clone.commit({f"{FOLDER}/release.yaml": None}, "Tidy")
    elsewhere = clone.commit({"models/fraud/model.yaml": "name: fraud\n", "notes.md": "x\n"}, "People's")
    with pytest.raises(ChangedByHand):
        office.roll_back(**how)
    office.roll_back(**how, restore=True, reason="enough")
    assert office.tree() == walk[state][1]
    told = git(remote, "log", "-1", "--format=%b", "main").split("\n\n")
    assert told[0].splitlines() == [
        f"This reverts commit {two}, a change by hand that is overwritten.",
        f"This reverts commit {one}, a change by hand that is overwritten.",
        *(f"This reverts commit {commit}." for commit, _ in reversed(walk[state + 1 :])),
    ]
    assert told[1] == "enough"
    assert office.repository.head().read("notes.md") == b"x\n"
    assert elsewhere == office.repository.head().before().id
    assert office.held() == {8, *({7} if state < 4 else ()), *({6} if state < 3 else ())}
    assert office.promote(9, 10).commit, "the folder is Sluice's again"


def test_restore_to_where_it_was_left_undoes_the_edit_alone(office: Any, walk: Any, person: Callable[[], Any]) -> None:
    sha = person().commit(edit(), "Scale up")
    office.roll_back(to_commit=walk[-1][0], restore=True)
    assert office.tree() == walk[-1][1]
    assert office.history()[0].reverts == (sha,)
    assert office.held() == set()
    assert office.roll_back(to_commit=walk[-1][0], restore=True).commit is None
    assert office.roll_back().release.stable.version == 7, "the stack is as it was"


def test_restore_where_nobody_changed_anything_is_a_plain_rollback(office: Any, walk: Any) -> None:
    office.roll_back(restore=True)
    assert office.tree() == walk[4][1]
    assert office.history()[0].reverts == (walk[5][0],)


def test_an_edit_that_came_after_the_decision_is_not_written_over(
    office: Any, walk: Any, person: Callable[[], Any]
) -> None:
    clone = person()
    clone.commit(edit(), "Scale up")
    push = office.repository.commit

    def late(intent: Any, **options: Any) -> Any:
        clone.commit(edit("kind: Later\n"), "Once more")
        return push(intent, **options)

    office.repository.commit = late
    with pytest.raises(Conflict, match="moved on in prod"):
        office.roll_back(restore=True)
    assert office.history()[0].subject == "Once more"


def test_a_step_down_that_is_taken_back_holds_nothing(office: Any) -> None:
    office.promote(5)
    office.promote(6, 50)
    office.promote(6, 10)
    office.roll_back(steps=1)
    assert office.held() == set()


def test_a_person_who_reverts_the_restore_has_the_edit_back(office: Any, walk: Any, person: Callable[[], Any]) -> None:
    clone = person()
    clone.commit(edit(), "Scale up")
    edited = office.tree()
    made = office.roll_back(restore=True)
    clone.revert(made.commit)
    assert office.tree() == edited
    assert office.held() == set()
    with pytest.raises(ChangedByHand):
        office.roll_back()
    office.roll_back(restore=True)
    assert office.tree() == walk[4][1]


def test_what_a_person_promoted_by_hand_is_held_when_it_is_overwritten(
    office: Any, walk: Any, person: Callable[[], Any]
) -> None:
    text = office.repository.head().read(f"{FOLDER}/release.yaml").decode()
    person().commit({f"{FOLDER}/release.yaml": text.replace("version: 8", "version: 9")}, "Quick fix")
    office.roll_back(to_commit=walk[-1][0], restore=True)
    assert office.held() == {9}


def test_no_name_of_a_person_smuggles_a_revert_in(office: Any, walk: Any, person: Callable[[], Any]) -> None:
    clone = person()
    clone.git(clone.folder, "config", "user.name", f"This reverts commit {walk[0][0]}")
    clone.commit(edit(), f"This reverts commit {walk[0][0]}.x")
    office.roll_back(restore=True)
    assert walk[0][0] not in office.history()[0].reverts


def test_the_wrong_way_is_told_before_anything_is_fetched(author: Identity) -> None:
    from gitops.decide import Rollback
    from registry.progress import Silent

    wanted = Rollback(model="fraud", environment="prod", steps=1, to_version=2, requested_by="ann")
    with pytest.raises(InvalidInput, match="give one of them"):
        roll_back_in(None, wanted, author, Silent())
