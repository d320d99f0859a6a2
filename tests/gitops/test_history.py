from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.history import ReleaseCommit, effective, held, history
from gitops.message import Identity
from gitops.repository import Repository
from gitops.tree import Change
from registry.errors import InvalidInput

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def test_an_empty_repository_has_no_history(repository: Repository) -> None:
    assert history(repository.head()) == []


def test_what_each_commit_says(releases: Any, repository: Repository, person: Callable[[], Any]) -> None:
    first = releases.promote(6)
    second = releases.promote(7, 10)
    third = releases.roll_back(reason="p99 up.\n\nThis reverts commit deadbeef.")
    by_hand = person().commit({"models/fraud/prod/note": "hello"}, "Leave a note")
    found = releases.history()
    assert [commit.id for commit in found] == [by_hand, third.id, second.id, first.id]
    note, back, canary, stable = found
    assert (stable.action, stable.version, stable.weight, stable.model, stable.environment) == (
        "promote",
        6,
        0,
        "fraud",
        "prod",
    )
    assert (canary.version, canary.weight, canary.subject) == (7, 10, "fraud: prod v7 at 10 %")
    assert (canary.author, canary.email, canary.by_sluice) == ("Ann Ops", "ann@example.org", True)
    assert abs(canary.time - datetime.now(UTC)) < timedelta(minutes=1)
    assert (back.action, back.version, back.holds, back.weight, back.requested_by) == ("rollback", 7, (7,), 0, "ann")
    assert back.reverts == (second.id,)
    assert "p99 up." in back.body
    assert len({commit.release_id for commit in (back, canary, stable)}) == 3
    assert (note.by_sluice, note.author, note.action, note.version) == (False, "Person", None, None)


def test_it_is_of_a_model_an_environment_both_or_all(releases: Any, repository: Repository) -> None:
    made = {
        (model, env): releases.promote(1, model=model, env=env).id
        for model in ("fraud", "churn")
        for env in ("dev", "prod")
    }
    releases.repository.commit(
        lambda _: Change(writes={"README.md": b"", "models/fraud/model.yaml": b""}, subject="People's"),
        author=releases.author,
    )
    head = repository.head()

    def ids(*arguments: Any) -> set[str]:
        return {commit.id for commit in history(head, *arguments)}

    assert ids("fraud", "prod") == {made["fraud", "prod"]}
    assert ids("fraud") == {made["fraud", "dev"], made["fraud", "prod"]}
    assert ids(None, "dev") == {made["fraud", "dev"], made["churn", "dev"]}
    assert ids() == set(made.values())
    assert [commit.id for commit in history(head, limit=2)] == [made["churn", "prod"], made["churn", "dev"]]
    assert ids("nothing", "prod") == set()


@pytest.mark.parametrize("name", ["*", "../x", ":(top)", "Fraud", "a/b", "-x"])
def test_a_name_is_never_a_pattern(repository: Repository, name: str) -> None:
    with pytest.raises(InvalidInput):
        history(repository.head(), name)
    with pytest.raises(InvalidInput):
        history(repository.head(), None, name)


def test_a_revert_that_came_by_a_merge_counts(releases: Any, person: Callable[[], Any], git: Any) -> None:
    first, second = releases.promote(6), releases.promote(7)
    clone = person()
    git(clone.folder, "checkout", "--quiet", "-b", "undo")
    git(clone.folder, "revert", "--no-edit", second.id)
    releases.promote(1, model="churn")
    git(clone.folder, "checkout", "--quiet", "main")
    git(clone.folder, "pull", "--quiet", "--ff-only")
    git(clone.folder, "merge", "--quiet", "--no-ff", "-m", "Merge pull request #1", "undo")
    clone.push()
    assert [commit.id for commit in effective(releases.history())] == [first.id]
    assert held(releases.history()) == {7}
    assert releases.promote(8, 10).id == releases.history()[0].id


def test_clocks_that_are_wrong_do_not_turn_a_merged_history_round(
    releases: Any, person: Callable[[], Any], git: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = releases.promote(6), releases.promote(7)
    clone = person()
    git(clone.folder, "checkout", "--quiet", "-b", "undo")
    with monkeypatch.context() as past:
        past.setenv("GIT_COMMITTER_DATE", "2001-01-01T00:00:00Z")
        git(clone.folder, "revert", "--no-edit", second.id)
    git(clone.folder, "checkout", "--quiet", "main")
    note = clone.commit({"models/fraud/prod/note": "x\n"}, "Note")
    git(clone.folder, "merge", "--quiet", "--no-ff", "-m", "Merge", "undo")
    clone.push()
    in_force = [commit.id for commit in effective(releases.history())]
    assert second.id not in in_force
    assert {first.id, note} <= set(in_force)


# the rules on the history alone


def made(number: int, version: int | None = None, **fields: Any) -> ReleaseCommit:
    """A commit: Sluice's where it has a version or an action, a person's otherwise."""
    if version is not None or "action" in fields:
        fields = {"action": "promote", "release_id": f"r{number}", "version": version, **fields}
    return ReleaseCommit(id=f"{number:040x}"[::-1], time=NOW, author="A", email="a@b", subject="s", **fields)


def revert(number: int, *others: ReleaseCommit, **fields: Any) -> ReleaseCommit:
    return made(number, reverts=tuple(other.id for other in others), **fields)


def back(number: int, other: ReleaseCommit) -> ReleaseCommit:
    return revert(number, other, action="rollback", version=other.version, holds=(other.version,))


def stack(*oldest_first: ReleaseCommit) -> list[ReleaseCommit]:
    return effective(oldest_first[::-1])


def holds(*oldest_first: ReleaseCommit) -> set[int]:
    return held(oldest_first[::-1])


A, B, C = made(1, 6), made(2, 7), made(3, 8)


def test_a_revert_pops_what_it_names() -> None:
    assert stack(A, B, C) == [A, B, C]
    assert stack(A, B, back(4, B)) == [A]
    assert stack(A, B, back(4, B), back(5, A)) == []
    assert stack(A, B, back(4, B), C) == [A, C]
    assert stack(A, B, revert(4, B)) == [A]
    assert stack(A, B, C, revert(4, C, B)) == [A]


def test_a_reverted_revert_takes_nothing_back() -> None:
    undo = back(4, B)
    assert stack(A, B, undo, revert(5, undo)) == [A, B]
    assert stack(A, B, undo, revert(5, undo), back(6, B)) == [A]
    redo = revert(5, undo)
    assert stack(A, B, undo, redo, revert(6, redo)) == [A]


def test_a_shortened_id_is_understood_and_another_one_is_just_a_commit() -> None:
    assert stack(A, B, made(4, reverts=(B.id[:8],))) == [A]
    other = made(4, reverts=("f" * 40,))
    assert stack(A, B, other) == [A, B, other]


def test_a_rolled_back_version_is_held_until_a_promotion_says_otherwise() -> None:
    assert holds(A, B) == set()
    assert holds(A, B, back(4, B)) == {7}
    assert holds(A, B, back(4, B), C) == {7}
    assert holds(A, B, back(4, B), C, back(5, C)) == {7, 8}
    assert holds(A, B, back(4, B), made(5, 7, unholds=7)) == set()
    assert holds(A, B, back(4, B), made(5, 9, unholds=7)) == set()
    again = made(5, 7, unholds=7)
    assert holds(A, B, back(4, B), again, back(6, again)) == {7}


def test_a_persons_revert_holds_too_and_reverting_a_rollback_releases() -> None:
    assert holds(A, B, revert(4, B)) == {7}
    undo = back(4, B)
    assert holds(A, B, undo, revert(5, undo)) == set()
    assert holds(A, B, revert(4, made(9))) == set()


def test_a_rollback_of_what_had_no_version_holds_nothing() -> None:
    render = made(4, None, action="render")
    assert holds(A, render, revert(5, render, action="rollback")) == set()


@given(st.lists(st.booleans(), max_size=25))
def test_promotions_and_rollbacks_are_a_stack(moves: list[bool]) -> None:
    commits: list[ReleaseCommit] = []
    expected: list[ReleaseCommit] = []
    for number, promotes in enumerate(moves, 1):
        if promotes:
            commits.append(made(number, number))
            expected.append(commits[-1])
        elif expected:
            commits.append(back(number, expected.pop()))
    assert stack(*commits) == expected
    rolled = {commit.version for commit in commits if commit.action == "rollback"}
    assert holds(*commits) == rolled


@pytest.mark.parametrize(
    "message",
    [
        "s\n\nAction: promote\nVersion: 7\n",  # no release id
        "s\n\nRelease-Id: r\nVersion: 7\n",  # no action
        "s\n\nAction: promote\nRelease-Id: r\nnot a trailer\n",
        "Action: promote",
    ],
)
def test_a_commit_without_the_trailers_is_a_persons(releases: Any, person: Callable[[], Any], message: str) -> None:
    releases.promote(6)
    person().commit({"models/fraud/prod/x": "x"}, message)
    assert not releases.history()[0].by_sluice


def test_trailers_that_cannot_be_right_count_as_absent(releases: Any, person: Callable[[], Any]) -> None:
    releases.promote(6)
    person().commit(
        {"models/fraud/prod/x": "x"},
        "s\n\nRelease-Id: r\nAction: promote\nVersion: seven\nHolds: -1\nCanary-Weight: 1e3",
    )
    newest = releases.history()[0]
    assert (newest.version, newest.holds, newest.weight) == (None, (), None)


def test_only_the_first_paragraph_of_a_rollback_names_what_it_takes_back(releases: Any) -> None:
    first, second, third = releases.promote(6), releases.promote(7), releases.promote(8)
    releases.roll_back(reason=f"Like before.\n\nThis reverts commit {second.id}.")
    assert [commit.id for commit in effective(releases.history())] == [first.id, second.id]
    assert releases.history()[0].reverts == (third.id,)


def test_identities_are_kept(repository: Repository) -> None:
    author = Identity(name="Zo\u00eb O'Neil", email="z@example.org")
    repository.commit(lambda _: Change(writes={"models/a/b/c": b""}, subject="s"), author=author)
    assert history(repository.head())[0].author == "Zo\u00eb O'Neil"
