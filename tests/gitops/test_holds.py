"""Holding versions and letting them go, on real git: trailers decide, and a file for people tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from gitops.check import ProblemKind, check, check_holds
from gitops.history import held, history, holds
from gitops.message import Identity
from gitops.repository import Repository
from gitops.rollback import ChangedByHand
from registry.errors import InvalidInput, NotFound, Refused

FILE = "models/fraud/holds-prod.yaml"


def said(office: Any) -> list[tuple[str, int]]:
    data = office.repository.head().read(FILE)
    return [(one["action"], one["version"]) for one in yaml.safe_load(data)["said"]] if data else []


def test_a_held_version_is_refused_until_it_is_let_go(office: Any, git: Any, remote: Any) -> None:
    office.promote(6)
    folder = office.tree()
    made = office.hold(7, "trained on the\n wrong week", workflow="release-x7k2p")
    assert (made.subject, made.release.stable.version) == ("fraud: prod holds v7", 6)
    assert git(remote, "diff-tree", "-r", "--name-only", "--no-commit-id", "main") == FILE
    message = git(remote, "log", "-1", "--format=%b", "main")
    assert message.startswith("trained on the wrong week\n\nRelease-Id: ")
    assert message.endswith(
        "Model: fraud\nVersion: 7\nEnvironment: prod\nAction: hold\nRequested-By: ann\nHolds: 7\n"
        "Workflow: release-x7k2p"
    )
    assert office.history()[0].workflow == "release-x7k2p"
    with pytest.raises(Refused, match="is held"):
        office.promote(7, 10)
    assert office.hold(7, "again").commit is None

    assert office.unhold(7).subject == "fraud: prod lets go v7"
    assert office.held() == set()
    assert office.unhold(7).commit is None
    assert office.tree() == folder
    assert office.promote(7, 10).commit
    assert said(office) == [("hold", 7), ("unhold", 7)]


def test_what_holds_each_version_and_why(office: Any, person: Callable[[], Any]) -> None:
    office.promote(5)
    office.promote(6)
    office.roll_back(reason="p99 doubled.\n\nSee the page.")
    office.promote(7, 10)
    office.abort(reason="drift")
    eighth = office.promote(8)
    reverted = person().revert(eighth.commit)
    office.hold(9, "too bold")
    found = holds(office.history())
    assert {version: (one.action, one.reason, one.by) for version, one in found.items()} == {
        6: ("rollback", "p99 doubled.\n\nSee the page.", "ann"),
        7: ("abort", "drift", "ann"),
        8: ("revert", 'Revert "fraud: prod stable v8"', "Person <person@example.org>"),
        9: ("hold", "too bold", "ann"),
    }
    assert found[8].commit == reverted
    for version in found:
        office.unhold(version)
    assert office.held() == set()


def test_what_runs_may_be_held_and_gets_no_more(office: Any) -> None:
    office.promote(6)
    office.promote(7, 10)
    office.hold(7)
    with pytest.raises(Refused, match="is held"):
        office.promote(7, 50)
    assert office.repository.head().read("models/fraud/prod/release.yaml").endswith(b"weight: 10\n")
    office.unhold(7)
    assert office.promote(7, 50).commit


def test_rendering_what_runs_again_lets_nothing_go(office: Any, person: Callable[[], Any]) -> None:
    office.promote(6)
    office.hold(6)
    person().commit({"models/fraud/model.yaml": "name: fraud\nresources: {cpu: 500m}\n"}, "Smaller")
    assert office.promote(6).commit, "the settings are new"
    assert office.held() == {6}
    office.promote(7)
    with pytest.raises(Refused, match="is held"):
        office.promote(6)


def test_a_hold_that_a_person_reverts_holds_no_more(office: Any, person: Callable[[], Any]) -> None:
    office.promote(6)
    made = office.hold(7)
    clone = person()
    clone.revert(made.commit)
    assert office.held() == set()
    assert office.repository.head().read(FILE) is None
    assert check_holds(office.repository.head()) == []
    office.hold(7)
    lifted = office.unhold(7)
    clone.revert(lifted.commit)
    assert office.held() == {7}
    assert said(office) == [("hold", 7)]
    assert check_holds(office.repository.head()) == []
    office.hold(8)
    assert office.held() == {7, 8}


def test_holds_are_of_one_environment(office: Any) -> None:
    office.promote(6)
    office.hold(7)
    head = office.repository.head()
    assert held(history(head, "fraud", "staging")) == set()
    assert [one.action for one in history(head, "fraud")] == ["hold", "promote"]
    assert [one.action for one in history(head, environment="prod", limit=1)] == ["hold"]
    assert [one.action for one in history(head, "fraud", "prod", limit=1)] == ["hold"]


def test_only_what_can_be_meant_is_held(office: Any) -> None:
    office.promote(6)
    head = office.repository.head().id
    for verb in (office.hold, office.unhold):
        with pytest.raises(NotFound, match="no environment moon"):
            verb(6, environment="moon")
        with pytest.raises(NotFound, match="no model churn"):
            verb(6, model="churn")
    with pytest.raises(InvalidInput, match="reason is empty"):
        office.hold(6, " \n")
    assert office.repository.head().id == head


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda text: text.replace("version: 7", "version: 8"), ProblemKind.DIFFERS),
        (lambda text: text.replace("too bold", "fine"), ProblemKind.DIFFERS),
        (lambda text: "# mine\n" + text, ProblemKind.DIFFERS),
        (lambda _: "model: fraud\nenvironment: prod\nsaid: []\n", ProblemKind.DIFFERS),
        (lambda _: "{", ProblemKind.INVALID),
        (lambda _: None, None),
    ],
)
def test_an_edit_of_the_file_changes_nothing_and_is_noticed(
    office: Any, person: Callable[[], Any], change: Any, kind: ProblemKind | None
) -> None:
    office.promote(6)
    office.hold(7)
    text = office.repository.head().read(FILE).decode()
    clone = person()
    sha = clone.commit({FILE: change(text)}, "Let it through")
    head = office.repository.head()
    assert office.held() == {7}
    problems = [*check(head), *check_holds(head)]
    assert {problem.path for problem in problems} == ({FILE} if kind else set())
    assert kind in [problem.kind for problem in problems] or kind is None
    for verb, version in ((office.hold, 9), (office.unhold, 7)):
        with pytest.raises(ChangedByHand, match=rf"^{FILE} was changed by hand in {sha[:12]} .*git revert") as caught:
            verb(version)
        assert "\n-" in caught.value.details or "\n+" in caught.value.details
    assert office.repository.head().id == sha
    assert office.promote(8, 10).commit, "people's edit of that file stops nothing else"

    clone.revert(sha)
    assert office.unhold(7).commit
    head = office.repository.head()
    assert [*check(head), *check_holds(head)] == []


def test_check_knows_the_file_by_its_name(office: Any, person: Callable[[], Any]) -> None:
    office.promote(6)
    office.hold(7)
    text = office.repository.head().read(FILE).decode()
    person().commit(
        {
            "models/fraud/holds-staging.yaml": text,
            "models/fraud/holds-moon.yaml": text.replace("prod", "moon"),
            "models/fraud/holds-No.yaml": text,
        },
        "Copies",
    )
    messages = " ".join(problem.message for problem in check(office.repository.head()))
    assert "holds-staging.yaml: it is of fraud in prod, move it to models/fraud/holds-prod.yaml" in messages
    assert "there is no environments/moon.yaml, remove it" in messages
    assert "holds-No.yaml" in messages
    assert {problem.path for problem in check_holds(office.repository.head())} == {
        "models/fraud/holds-staging.yaml",
        "models/fraud/holds-moon.yaml",
        "models/fraud/holds-No.yaml",
    }


def test_the_file_keeps_the_newest_lines(office: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gitops.holds.KEPT", 3)
    office.promote(6)
    for version in range(7, 12):
        office.hold(version)
    assert said(office) == [("hold", 9), ("hold", 10), ("hold", 11)]
    assert office.held() == {7, 8, 9, 10, 11}
    assert check_holds(office.repository.head()) == []


def test_a_hold_and_a_promotion_at_once_end_in_order(office: Any, remote: Any, tmp_path: Any, author: Identity) -> None:
    """The promotion was computed before the hold arrived, so it is computed again and refused."""
    office.promote(6)
    with Repository.open(str(remote), cache=tmp_path / "other") as elsewhere:
        other = type(office)(elsewhere, author)
        push = office.repository.commit

        def late(intent: Any, **options: Any) -> Any:
            def slow(head: Any) -> Any:
                change = intent(head)
                if not other.held():
                    other.hold(7)
                return change

            return push(slow, **options)

        office.repository.commit = late
        with pytest.raises(Refused, match="is held"):
            office.promote(7, 10)
    assert [one.action for one in office.history()] == ["hold", "promote"]


def test_a_release_file_that_cannot_be_read_stops_a_hold_before_it_is_made(
    office: Any, person: Callable[[], Any]
) -> None:
    office.promote(6)
    sha = person().commit({"models/fraud/prod/release.yaml": "stable: ["}, "Oops")
    with pytest.raises(InvalidInput, match=r"release\.yaml"):
        office.hold(7)
    assert office.repository.head().id == sha
