"""Aborting a canary on real git: a step forward, after which the version is held."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gitops.check import check
from gitops.history import effective
from gitops.rollback import ChangedByHand
from registry.errors import Conflict, NotFound, Refused

FOLDER = "models/fraud/prod"


def test_the_canary_is_gone_and_held(office: Any, git: Any, remote: Any) -> None:
    office.promote(6)
    before = office.tree()
    office.promote(7, 10)
    office.promote(7, 50)
    made = office.abort(reason="p99 doubled", workflow="rollout-a1")
    assert (made.subject, made.release.canary) == ("fraud: prod canary v7 aborted", None)
    assert office.tree() == before
    message = git(remote, "log", "-1", "--format=%b", "main")
    assert message.startswith("p99 doubled\n\nRelease-Id: ")
    assert message.endswith(
        "Model: fraud\nVersion: 7\nEnvironment: prod\nAction: abort\nCanary-Weight: 0\nRequested-By: ann\nHolds: 7\n"
        "Workflow: rollout-a1"
    )
    assert office.held() == {7}
    assert len(effective(office.history())) == 4, "nothing is reverted, it is a step forward"
    with pytest.raises(Refused, match="is held"):
        office.promote(7, 10)
    assert office.abort().commit is None


def test_it_renders_with_the_settings_of_now(office: Any, person: Callable[[], Any]) -> None:
    office.promote(6)
    before = office.tree()
    office.promote(7, 10)
    person().commit({"models/fraud/model.yaml": "name: fraud\nresources: {cpu: 500m}\n"}, "Smaller")
    office.abort()
    assert office.tree() != before
    assert check(office.repository.head()) == []
    office.promote(8)
    office.roll_back()
    assert check(office.repository.head()) == []


def test_it_is_of_the_canary_that_was_named(office: Any) -> None:
    with pytest.raises(NotFound, match="prod runs no version of fraud"):
        office.abort()
    office.promote(6)
    assert office.abort().commit is None
    office.promote(7, 10)
    with pytest.raises(Conflict, match="canary of fraud in prod is version 7, not 8"):
        office.abort(version=8)
    with pytest.raises(NotFound, match="no environment moon"):
        office.abort(environment="moon")
    assert office.abort(version=7).commit


def test_a_rollback_after_it_goes_to_the_release_before(office: Any) -> None:
    office.promote(5)
    before = office.tree()
    office.promote(6)
    office.promote(7, 10)
    office.abort()
    made = office.roll_back()
    assert office.tree() == before
    assert made.release.stable.version == 5
    assert office.held() == {6, 7}, "the abort is reverted with the rest, and what it held stays held"
    assert len(office.history()[0].reverts) == 3


def test_what_was_let_go_after_it_is_not_held_by_that_rollback(office: Any) -> None:
    office.promote(5)
    office.promote(6)
    office.promote(7, 10)
    office.abort()
    office.unhold(7)
    office.roll_back()
    assert office.held() == {6}


def test_a_rollback_does_not_bring_the_aborted_version_back(office: Any) -> None:
    office.promote(6)
    office.promote(7, 10)
    canary = office.tree()
    office.abort()
    with pytest.raises(Refused, match=r"bring back fraud@7, which is held since .*sluice unhold fraud@7 --env prod"):
        office.roll_back(steps=1)
    office.unhold(7)
    assert office.roll_back(steps=1).release.canary.version == 7
    assert office.tree() == canary
    assert office.held() == set()


def test_an_abort_that_a_person_reverts_holds_nothing(office: Any, person: Callable[[], Any]) -> None:
    office.promote(6)
    office.promote(7, 10)
    canary = office.tree()
    person().revert(office.abort().commit)
    assert office.tree() == canary
    assert office.held() == set()
    assert office.promote(7, 50).commit


# what a person changed by hand is never written over, by no operation


def edit(text: str) -> dict[str, str | None]:
    return {f"{FOLDER}/manifests/service-stable.yaml": text}


@pytest.mark.parametrize(
    ("files", "shown"),
    [
        (edit("kind: Mine\n"), "+kind: Mine"),
        ({f"{FOLDER}/release.yaml": None}, "deleted file"),
        ({f"{FOLDER}/release.yaml": "stable: [\n"}, "+stable: ["),
        ({f"{FOLDER}/manifests/extra.yaml": "x: 1\n"}, "+x: 1"),
    ],
)
def test_every_operation_stops_at_an_edit_by_hand(
    office: Any, person: Callable[[], Any], files: dict[str, str | None], shown: str
) -> None:
    office.promote(6)
    office.promote(7, 10)
    clone = person()
    sha = clone.commit(files, "By hand")
    operations = (
        office.abort,
        office.render,
        lambda: office.promote(7, 20),
        office.roll_back,
        lambda: office.roll_back(steps=1),
        lambda: office.roll_back(to_version=6),
        lambda: office.roll_back(to_commit=office.history()[1].id),
    )
    for operation in operations:
        with pytest.raises(ChangedByHand, match=rf"changed by hand in {sha[:12]} \(Person, 'By hand'\)") as caught:
            operation()
        assert shown in caught.value.details
    assert office.repository.head().id == sha


def test_a_hold_after_an_edit_does_not_hide_it(office: Any, person: Callable[[], Any]) -> None:
    office.promote(6)
    sha = person().commit(edit("kind: Mine\n"), "By hand")
    office.hold(9)
    for operation in (office.render, lambda: office.promote(7, 20)):
        with pytest.raises(ChangedByHand, match=f"in {sha[:12]}"):
            operation()
