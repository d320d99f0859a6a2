"""A rollback restores exactly the tree that was there; told by tree ids, on real git."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gitops.history import held
from gitops.message import Identity
from gitops.repository import Repository
from gitops.rollback import ChangedByHand, ensure_ours, rollback
from gitops.stack import last_action, last_release
from gitops.state import read_release
from registry.errors import Conflict, Refused

FOLDER = "models/fraud/prod"


def test_the_whole_commit_is_as_it_was(releases: Any, repository: Repository, git: Any, remote: Path) -> None:
    before = releases.promote(6)
    promoted = releases.promote(7, 10)
    back = releases.roll_back()
    assert back.tree == before.tree != promoted.tree
    assert git(remote, "rev-parse", "main^{tree}") == before.tree
    assert back.message == (
        f"Roll back fraud@7 in prod\n\nThis reverts commit {promoted.id}.\n\n"
        f"Release-Id: {releases.history()[0].release_id}\nModel: fraud\nEnvironment: prod\nAction: rollback\n"
        "Canary-Weight: 0\nRequested-By: ann\nVersion: 7\nHolds: 7\n"
    )
    assert held(releases.history()) == {7}


def test_it_is_what_git_revert_makes(releases: Any, person: Callable[[], Any], git: Any) -> None:
    for version in (5, 6, 7):
        releases.promote(version)
    promoted = releases.repository.head().id
    clone = person()
    git(clone.folder, "revert", "--no-edit", promoted)
    assert releases.roll_back().tree == git(clone.folder, "rev-parse", "HEAD^{tree}")


def test_files_added_removed_and_changed_are_restored(releases: Any, repository: Repository) -> None:
    before = releases.promote(6)
    files = {path: repository.head().read(path) for path in repository.head().paths(FOLDER)}
    assert releases.promote(7).tree != before.tree
    assert set(repository.head().paths(FOLDER)) != set(files)
    releases.roll_back()
    assert {path: repository.head().read(path) for path in repository.head().paths(FOLDER)} == files


def test_the_change_says_file_by_file_what_it_does(releases: Any, repository: Repository) -> None:
    releases.promote(6)
    old = repository.head()
    releases.promote(7)
    head = repository.head()
    change = rollback(head, releases.history(), "fraud", "prod", "ann")
    assert change is not None
    assert change.writes == {
        f"{FOLDER}/release.yaml": old.read(f"{FOLDER}/release.yaml"),
        f"{FOLDER}/manifests/v6.yaml": old.read(f"{FOLDER}/manifests/v6.yaml"),
        f"{FOLDER}/manifests/v7.yaml": None,
    }


def test_modes_are_restored_too(releases: Any, person: Callable[[], Any], git: Any) -> None:
    releases.promote(6)
    clone = person()
    git(clone.folder, "update-index", "--chmod=+x", f"{FOLDER}/manifests/v6.yaml")
    clone.commit({}, "s\n\nRelease-Id: r\nAction: promote\nVersion: 6")
    before = releases.tree()
    releases.promote(7)
    releases.roll_back()
    assert releases.tree() == before


def test_what_happened_elsewhere_in_between_stays(
    releases: Any, repository: Repository, person: Callable[[], Any]
) -> None:
    releases.promote(6)
    releases.promote(3, model="churn")
    releases.promote(6, env="dev")
    before = releases.tree()
    releases.promote(7, 10)
    releases.promote(4, model="churn")
    releases.promote(7, env="dev")
    person().commit({"models/fraud/model.yaml": "resources: {}\n", "README.md": "hi\n"}, "People's files")
    others = [releases.tree(path) for path in ("models/churn", "models/fraud/dev")]
    back = releases.roll_back()
    assert releases.tree() == before
    assert [releases.tree(path) for path in ("models/churn", "models/fraud/dev")] == others
    head = repository.head()
    assert head.read("models/fraud/model.yaml") == b"resources: {}\n"
    changed = set(head.paths()) ^ set(head.before().paths())
    assert all(path.startswith(FOLDER) for path in changed)
    assert back.parents == (head.before().id,)


def test_twice_walks_further_back(releases: Any) -> None:
    trees = [releases.promote(version).tree for version in (5, 6, 7)]
    assert releases.roll_back().tree == trees[1]
    assert releases.roll_back().tree == trees[0]
    assert held(releases.history()) == {6, 7}
    with pytest.raises(Refused, match="nothing to roll back to"):
        releases.roll_back()


def test_forward_again_and_back_again(releases: Any) -> None:
    releases.promote(6)
    releases.promote(7)
    back = releases.roll_back()
    releases.promote(7, unhold=7)
    assert held(releases.history()) == set()
    assert releases.roll_back().tree == back.tree
    assert held(releases.history()) == {7}


def test_a_step_goes_back_a_step_and_a_release_goes_back_whole(releases: Any, repository: Repository) -> None:
    before = releases.promote(6)
    steps = [releases.promote(7, weight) for weight in (5, 25, 50)]
    back = releases.roll_back()
    assert back.tree == steps[1].tree
    release = read_release(repository.head(), "fraud", "prod")
    assert release is not None
    assert release.canary is not None
    assert (release.canary.weight, releases.history()[0].weight) == (25, 25)
    undo = [action.id for action in last_release(releases.history())]
    assert undo == [steps[0].id, steps[1].id]
    whole = releases.roll_back(undo=undo)
    assert whole.tree == before.tree
    assert releases.history()[0].reverts == (steps[1].id, steps[0].id)
    assert held(releases.history()) == {7}


def test_what_was_rendered_in_between_goes_with_the_release(releases: Any) -> None:
    releases.promote(6)
    rendered = releases.render("one")
    steps = [releases.promote(7, 5), releases.render("two"), releases.promote(7, 50), releases.render("three")]
    assert last_action(releases.history())[0].id == steps[3].id
    undo = [action.id for action in last_release(releases.history())]
    assert undo == [step.id for step in steps]
    assert releases.roll_back(undo=undo).tree == rendered.tree
    assert releases.history()[0].holds == (7,)


def test_a_rendering_taken_back_holds_no_version(releases: Any) -> None:
    before = releases.promote(6)
    releases.render("one")
    assert releases.roll_back().tree == before.tree
    assert held(releases.history()) == set()


def test_after_a_persons_revert_the_one_before_is_next(releases: Any, person: Callable[[], Any]) -> None:
    trees = [releases.promote(version).tree for version in (5, 6, 7)]
    person().revert("HEAD")
    assert releases.repository.head().tree_id() == trees[1]
    assert held(releases.history()) == {7}
    assert releases.roll_back().tree == trees[0]


def test_a_persons_revert_of_a_rollback_can_be_rolled_back(releases: Any, person: Callable[[], Any]) -> None:
    before = releases.promote(6)
    after = releases.promote(7)
    releases.roll_back()
    person().revert("HEAD")
    assert releases.repository.head().tree_id() == after.tree
    assert held(releases.history()) == set()
    assert releases.roll_back().tree == before.tree


def test_a_short_revert_message_is_understood(releases: Any, person: Callable[[], Any], git: Any) -> None:
    trees = [releases.promote(version).tree for version in (5, 6, 7)]
    clone = person()
    git(clone.folder, "revert", "--no-commit", "HEAD")
    short = git(clone.folder, "rev-parse", "--short", "HEAD")
    clone.commit({}, f"Undo v7\n\nThis reverts commit {short} (fraud: prod v7, 2026-01-01).")
    assert releases.roll_back().tree == trees[0]


def test_changes_by_hand_stop_it_and_are_shown(
    releases: Any, person: Callable[[], Any], git: Any, remote: Path
) -> None:
    releases.promote(6)
    releases.promote(7)
    sha = person().commit(
        {f"{FOLDER}/manifests/v7.yaml": "replicas: 9\n", f"{FOLDER}/manifests/new.yaml": "x\n"}, "Scale up"
    )
    with pytest.raises(ChangedByHand) as caught:
        releases.roll_back()
    sentence = str(caught.value)
    assert sentence == (
        f"models/fraud/prod was changed by hand in {sha[:12]} (Person, 'Scale up'), in manifests/new.yaml,"
        f" manifests/v7.yaml: look at the difference and take it back with `git revert {sha[:12]}`, then try again."
    )
    assert "+replicas: 9" in caught.value.details
    assert "+++ b/models/fraud/prod/manifests/new.yaml" in caught.value.details
    assert git(remote, "rev-parse", "main") == sha


def test_long_differences_are_cut(releases: Any, person: Callable[[], Any]) -> None:
    releases.promote(6)
    releases.promote(7)
    person().commit({f"{FOLDER}/manifests/{name}.yaml": "x\n" * 50 for name in "abcde"}, "Much")
    with pytest.raises(ChangedByHand, match=r"a.yaml, manifests/b.yaml, manifests/c.yaml and 2 more") as caught:
        releases.roll_back()
    assert len(caught.value.details.splitlines()) == 41
    assert caught.value.details.endswith("more lines")


def test_an_edit_that_was_taken_back_does_not_stop_it(releases: Any, person: Callable[[], Any]) -> None:
    before = releases.promote(6)
    releases.promote(7)
    clone = person()
    clone.commit({f"{FOLDER}/manifests/v7.yaml": "replicas: 9\n"}, "Scale up")
    clone.revert("HEAD")
    assert releases.roll_back().tree == before.tree


def test_an_edit_between_the_steps_of_a_release_stops_it(releases: Any, person: Callable[[], Any]) -> None:
    releases.promote(6)
    releases.promote(7, 5)
    clone = person()
    clone.commit({f"{FOLDER}/note": "x\n"}, "Note")
    clone.commit({f"{FOLDER}/other": "x\n"}, "s\n\nRelease-Id: r\nAction: promote\nVersion: 7")
    undo = [action.id for action in last_release(releases.history())]
    assert len(undo) == 2
    with pytest.raises(ChangedByHand, match="note"):
        releases.roll_back(undo=undo)


def test_nothing_released_or_nothing_before(releases: Any, repository: Repository) -> None:
    with pytest.raises(Refused, match="nothing to roll back"):
        rollback(repository.head(), [], "fraud", "prod", "ann")
    releases.promote(1, model="churn")
    with pytest.raises(Refused, match="nothing to roll back"):
        releases.roll_back()
    first = releases.promote(6)
    with pytest.raises(Refused, match=f"nothing to roll back to: fraud had no release in prod before {first.id[:12]}"):
        releases.roll_back()


def test_a_decision_is_carried_out_once(releases: Any, repository: Repository, author: Identity) -> None:
    before = releases.promote(5)
    releases.promote(6)
    releases.promote(7)
    undo = [action.id for action in last_action(releases.history())]

    def intent(head: Any) -> Any:
        return rollback(head, releases.history(), "fraud", "prod", "ann", undo=undo)

    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda _: repository.commit(intent, author=author), range(3)))
    assert sum(commit is not None for commit in made) == 1
    release = read_release(repository.head(), "fraud", "prod")
    assert release is not None
    assert release.stable.version == 6
    releases.promote(8)
    assert repository.commit(intent, author=author) is None
    assert before.tree != releases.tree("")


def test_a_decision_that_time_passed_by_is_a_conflict(releases: Any) -> None:
    releases.promote(5)
    releases.promote(6)
    undo = [action.id for action in last_action(releases.history())]
    releases.promote(7)
    with pytest.raises(Conflict, match="moved on in prod"):
        releases.roll_back(undo=undo)


@pytest.mark.parametrize("requested_by", ["ann\nHolds: 1", "", "a\0b"])
def test_nobody_smuggles_trailers_in(
    releases: Any, requested_by: str, repository: Repository, author: Identity
) -> None:
    releases.promote(6)
    releases.promote(7)
    with pytest.raises(Exception, match="Requested-By"):
        repository.commit(lambda head: rollback(head, releases.history(), "fraud", "prod", requested_by), author=author)


# the guard of promotions


def test_a_promotion_passes_over_what_sluice_or_git_revert_left(
    releases: Any, person: Callable[[], Any], repository: Repository
) -> None:
    ensure_ours(repository.head(), [], "fraud", "prod")
    for version in (5, 6, 7):
        releases.promote(version)
    releases.roll_back()
    releases.promote(8)
    person().revert("HEAD")
    assert releases.promote(9)


def test_a_promotion_stops_at_an_edit_by_hand(releases: Any, person: Callable[[], Any]) -> None:
    releases.promote(6)
    clone = person()
    sha = clone.commit({f"{FOLDER}/manifests/v6.yaml": "replicas: 9\n"}, "Scale up")
    with pytest.raises(
        ChangedByHand, match=rf"changed by hand in {sha[:12]} \(Person, 'Scale up'\).*git revert"
    ) as caught:
        releases.promote(7)
    assert "+replicas: 9" in caught.value.details
    clone.revert("HEAD")
    assert releases.promote(7)


def test_a_change_of_mode_alone_is_named(releases: Any, person: Callable[[], Any], git: Any) -> None:
    releases.promote(6)
    releases.promote(7)
    clone = person()
    git(clone.folder, "update-index", "--chmod=+x", f"{FOLDER}/release.yaml")
    clone.commit({}, "Executable")
    for action in (lambda: releases.promote(8), releases.roll_back):
        with pytest.raises(ChangedByHand, match=r"'Executable'\), in release\.yaml: look at") as caught:
            action()
        assert "new mode 100755" in caught.value.details


def test_a_folder_that_sluice_never_wrote_is_not_ours(releases: Any, person: Callable[[], Any]) -> None:
    releases.promote(1, model="churn")
    person().commit({f"{FOLDER}/release.yaml": "stable: mine\n"}, "By hand")
    with pytest.raises(ChangedByHand, match=r"release\.yaml"):
        releases.promote(7)


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=st.lists(st.sampled_from(["promote", "step", "back", "other"]), min_size=2, max_size=6))
def test_any_walk_returns_to_trees_it_has_seen(moves: list[str], releases: Any, repository: Repository) -> None:
    model = f"m{uuid.uuid4().hex[:12]}"
    folder = f"models/{model}/prod"
    version = 1
    releases.promote(version, model=model)
    trees = [releases.tree(folder)]
    for move in moves:
        if move == "other":
            releases.promote(len(releases.history("other", "prod")) + 1, model="other")
        elif move == "back":
            if len(trees) > 1:
                releases.roll_back(model)
                trees.pop()
        else:
            release = read_release(repository.head(), model, "prod")
            canary = release.canary if release else None
            version = canary.version if canary else max(version, release.stable.version if release else 0) + 1
            weight = (
                100 if move == "promote" or (canary and canary.weight >= 90) else (canary.weight if canary else 0) + 30
            )
            releases.promote(version, weight, model=model)
            trees.append(releases.tree(folder))
        assert releases.tree(folder) == trees[-1]
