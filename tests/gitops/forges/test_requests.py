"""Promotions by pull request, on a real repository and forges that answer over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gitops.forges import Forge, ForgeKind, State
from gitops.gates import GatesRefuse
from gitops.message import Identity
from gitops.promote import Promotion
from gitops.release import Deployed, Runtime
from gitops.repository import Repository
from gitops.requests import Proposed, propose_in, requests_in
from registry.errors import Conflict, Unavailable
from registry.progress import Silent
from tests.gitops.forges.conftest import At
from tests.gitops.forges.fakes import Fault

Run = Callable[..., str]
METRICS = {6: {"auc": 0.91, "loss": 0.5}, 7: {"auc": 0.93, "f1": 0.8}}


def wanted(version: int = 7, weight: int = 10, env: str = "prod", **more: Any) -> Promotion:
    image = f"registry.example/fraud@sha256:{version:064x}"
    to = Deployed(version=version, image=image, runtime=Runtime.TORCHSERVE)
    about = {"model": "fraud", "environment": env, "requested_by": "Ann <ann@example.org>"}
    return Promotion(**{**about, **more}, to=to, weight=weight)


def creates(at: At, method: str, path: str) -> bool:
    """Whether the request that is looked at opens a pull request."""
    operation = at.fake.seen[-1].headers.get("x-amz-target", "").rpartition(".")[2]
    return operation == "CreatePullRequest" or (method == "POST" and path.endswith(("/pulls", "/merge_requests")))


@pytest.fixture
def ask(repository: Repository, author: Identity) -> Callable[..., Proposed]:
    """Propose something at a forge."""

    def run(at: At, version: int = 7, weight: int = 10, **more: Any) -> Proposed:
        asked = wanted(version, weight, **more)
        return propose_in(repository, at.forge, asked, author, Silent(), lambda number: METRICS.get(number, {}))

    return run


@pytest.fixture
def branches(remote: Path, git: Run) -> Callable[[], dict[str, str]]:
    def read() -> dict[str, str]:
        lines = git(remote, "for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/heads").splitlines()
        return dict(line.split() for line in lines)

    return read


@pytest.fixture
def stable(office: Any) -> Any:
    """Version 6 is stable in prod."""
    office.promote(6)
    return office


def test_a_request_asks_for_just_the_commit_that_a_promotion_would_make(
    at: At, stable: Any, ask: Callable[..., Proposed], branches: Callable[[], dict[str, str]], git: Run, remote: Path
) -> None:
    main = branches()["main"]
    found = ask(at, reason="looks good")
    assert found.request is not None
    (name,) = branches().keys() - {"main"}
    assert name == found.request.branch
    assert name.startswith("sluice/fraud/prod/v7-10-")
    assert branches()["main"] == main
    assert git(remote, "rev-parse", f"{name}^") == main
    message = git(remote, "log", "-1", "--format=%B", name)
    assert message.startswith("fraud: prod canary v7 at 10 %\n\nlooks good\n\nRelease-Id: ")
    assert f"Release-Id: {name[-12:]}" in message
    (pull,) = at.fake.open()
    assert (pull.title, pull.base) == ("fraud: prod canary v7 at 10 %", "main")
    assert "`fraud in prod: canary v7 starts at 10 %; stable stays v6; changes " in pull.body
    assert "Asked for by `Ann <ann@example.org>`." in pull.body
    assert "Reason: `looks good`" in pull.body
    assert "| Metric | v6, stable | v7 | Difference |" in pull.body
    assert "| `auc` | 0.91 | 0.93 | +0.02 |\n| `f1` | - | 0.8 | - |\n| `loss` | 0.5 | - | - |" in pull.body
    assert "| `models/fraud/prod/release.yaml` | +" in pull.body
    assert ("```diff\n" in pull.body) == at.forge.folds
    direct = stable.promote(7, 10)
    assert git(remote, "rev-parse", f"{direct.commit}^{{tree}}") == git(remote, "rev-parse", f"{name}^{{tree}}")


def test_asking_twice_is_one_request(at: At, stable: Any, ask: Callable[..., Proposed]) -> None:
    first, again = ask(at), ask(at)
    assert again.request == first.request
    assert len(at.fake.pulls) == 1
    assert again.superseded == ()


def test_nothing_to_change_is_no_request(at: At, stable: Any, ask: Callable[..., Proposed]) -> None:
    found = ask(at, 6, 100)
    assert (found.request, found.subject) == (None, "")
    assert at.fake.seen == []


def test_a_newer_request_supersedes_the_older_ones_of_the_same_release(
    at: At, stable: Any, ask: Callable[..., Proposed], branches: Callable[[], dict[str, str]]
) -> None:
    first, other = ask(at), ask(at, env="staging", weight=100)
    assert first.request
    assert other.request
    old, at_opening = first.request.branch, []

    def look(method: str, path: str) -> None:
        if creates(at, method, path):
            at_opening.append((old in branches(), [pull.number for pull in at.fake.open()]))

    at.fake.looks = look
    second = ask(at, weight=25)
    assert at_opening == [(True, [1, 2])]  # nothing is taken away before there is something new
    assert second.request
    assert second.superseded == (first.request.number,)
    assert {pull.number for pull in at.fake.open()} == {second.request.number, other.request.number}
    assert branches().keys() == {"main", second.request.branch, other.request.branch}
    assert at.fake.pulls[0].comments == [f"Superseded by {second.request.url}"]
    third = ask(at)  # the first again
    assert third.request
    assert third.request.branch == first.request.branch
    assert third.request.number == 4
    assert third.superseded == (second.request.number,)


def test_a_request_that_is_merged_meanwhile_is_not_superseded(
    at: At, stable: Any, ask: Callable[..., Proposed], branches: Callable[[], dict[str, str]]
) -> None:
    first = ask(at)
    assert first.request
    real = at.forge.open

    def merged_meanwhile(draft: Any) -> Any:
        at.fake.merged(1, "a" * 40)
        return real(draft)

    at.forge.open = merged_meanwhile
    assert ask(at, weight=25).superseded == ()
    assert at.fake.pulls[0].comments == []
    assert first.request.branch in branches()


def test_a_request_that_fails_to_open_closes_no_other(at: At, stable: Any, ask: Callable[..., Proposed]) -> None:
    ask(at)

    def look(method: str, path: str) -> None:
        if creates(at, method, path):
            at.fake.faults = [Fault(503)] * 9

    at.fake.looks = look
    with pytest.raises(Unavailable):
        ask(at, weight=25)
    at.fake.looks, at.fake.faults = lambda *_: None, []
    (pull,) = at.fake.open()
    assert (pull.number, pull.comments) == (1, [])


def test_a_branch_that_somebody_added_to_stays(
    at: At, stable: Any, ask: Callable[..., Proposed], branches: Callable[[], dict[str, str]], git: Run, remote: Path
) -> None:
    first = ask(at)
    assert first.request
    tree = git(remote, "rev-parse", "main^{tree}")
    added = git(remote, "commit-tree", tree, "-p", first.request.commit, "-m", "Mine")

    real = at.forge.comment

    def comment(number: int, text: str) -> None:
        real(number, text)
        git(remote, "update-ref", f"refs/heads/{first.request.branch}", added)

    at.forge.comment = comment
    second = ask(at, weight=25)
    assert second.request
    assert second.left == (first.request.branch,)
    assert branches()[first.request.branch] == added
    assert [pull.number for pull in at.fake.open()] == [second.request.number]


def test_a_branch_without_an_open_request_is_made_anew(
    at: At, stable: Any, ask: Callable[..., Proposed], branches: Callable[[], dict[str, str]], git: Run, remote: Path
) -> None:
    first = ask(at)
    assert first.request
    at.forge.close(1)
    other = git(remote, "commit-tree", git(remote, "rev-parse", "main^{tree}"), "-p", "main", "-m", "Something else")
    git(remote, "update-ref", f"refs/heads/{first.request.branch}", other)
    again = ask(at)
    assert again.request
    assert (again.request.number, again.request.branch) == (2, first.request.branch)
    assert again.superseded == ()
    tip = branches()[first.request.branch]
    assert git(remote, "rev-parse", f"{tip}^{{tree}}") == git(remote, "rev-parse", f"{first.request.commit}^{{tree}}")
    assert at.fake.pulls[1].sha == tip


def test_the_same_after_a_rollback_is_another_request(
    made: Callable[[ForgeKind], At], stable: Any, ask: Callable[..., Proposed], git: Run, remote: Path
) -> None:
    at = made(ForgeKind.GITHUB)
    first = ask(at)
    assert first.request
    git(remote, "update-ref", "refs/heads/main", first.request.commit)
    at.fake.merged(1, first.request.commit)
    stable.roll_back()
    stable.unhold(7)
    again = ask(at)
    assert again.request
    assert again.request.branch != first.request.branch
    assert (again.request.number, again.superseded) == (2, ())


def test_gates_are_asked_and_the_one_for_requests_is_passed(
    at: At, stable: Any, ask: Callable[..., Proposed], person: Callable[[], Any]
) -> None:
    somebody = person()
    path = "environments/prod.yaml"
    text = (somebody.folder / path).read_text()
    somebody.commit({path: text + "\ngates: {pullRequest: required, approved: true}\n"}, "Gates")
    with pytest.raises(GatesRefuse, match="approved") as refused:
        ask(at)
    assert "pullRequest" not in str(refused.value)
    assert at.fake.seen == []
    somebody.commit({path: text + "\ngates: {pullRequest: required}\n"}, "Gates")
    with pytest.raises(GatesRefuse, match="give --pull-request"):
        stable.promote(7, 10)
    ask(at)
    assert "- [x] `pullRequest`: `it is a pull request`" in at.fake.pulls[0].body


def test_what_became_of_requests_is_listed(
    at: At, stable: Any, ask: Callable[..., Proposed], remote: Path, git: Run
) -> None:
    ask(at)
    ask(at, weight=25)
    staging = ask(at, env="staging", weight=100)
    assert staging.request
    at.fake.merged(2, "a" * 40)
    git(remote, "branch", "feature", "main")
    at.fake.add("feature", "main")
    found = requests_in(at.forge)
    assert [(one.environment, one.version, one.weight, one.request.state) for one in found] == [
        ("staging", 7, 100, State.OPEN),
        ("prod", 7, 25, State.MERGED),
        ("prod", 7, 10, State.CLOSED),
    ]
    assert [one.request.number for one in requests_in(at.forge, "fraud", "prod")] == [2, 1]
    assert [one.request.number for one in requests_in(at.forge, limit=1)] == [staging.request.number]
    assert not requests_in(at.forge, "other")


class Killed(BaseException):
    """The process is gone."""


class Killing:
    """Lets so many calls through, and then is killed, right after the last one."""

    def __init__(self, real: Any, left: list[int]) -> None:
        self._real = real
        self._left = left

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._real, name)
        if name not in ("open", "find", "read", "comment", "close", "propose", "delete_branch"):
            return value

        def call(*arguments: Any, **options: Any) -> Any:
            done = value(*arguments, **options)
            self._left[0] -= 1
            if self._left[0] == 0:
                raise Killed
            return done

        return call


@pytest.mark.parametrize("kind", [ForgeKind.GITHUB, ForgeKind.GITLAB, ForgeKind.CODECOMMIT], ids=lambda one: one.value)
def test_killed_anywhere_and_run_again_it_ends_in_one_open_request(
    kind: ForgeKind,
    made: Callable[[ForgeKind], At],
    stable: Any,
    repository: Repository,
    author: Identity,
    branches: Callable[[], dict[str, str]],
    tmp_path: Path,
    remote: Path,
) -> None:
    at = made(kind)
    propose_in(repository, at.forge, wanted(weight=1), author, Silent())
    for step in range(1, 20):
        left = [step]
        forge: Any = Killing(at.forge, left)
        dying: Any = Killing(repository, left)
        asked = wanted(weight=1 + step)
        try:
            propose_in(dying, forge, asked, author, Silent())
        except Killed:
            with Repository.open(str(remote), cache=tmp_path / "another-pod") as other:
                again = propose_in(other, at.forge, asked, author, Silent())
            assert again.request
            (pull,) = at.fake.open()
            assert pull.number == again.request.number
            assert pull.branch.startswith(f"sluice/fraud/prod/v7-{1 + step}-")
            assert branches().keys() == {"main", pull.branch}
        else:
            break
    assert 7 <= step < 19


def test_an_answer_that_was_lost_is_looked_up(at: At, stable: Any, ask: Callable[..., Proposed]) -> None:
    at.fake.drop = ["CreatePullRequest" if at.kind is ForgeKind.CODECOMMIT else "POST"]
    found = ask(at)
    assert at.fake.drop == []
    assert found.request
    if at.kind is ForgeKind.CODECOMMIT:  # the service tells by the token of the request that it is the same
        first, second = (
            seen.body["clientRequestToken"]
            for seen in at.fake.seen
            if seen.headers["x-amz-target"].endswith("CreatePullRequest")
        )
        assert first == second
    else:
        assert [pull.number for pull in at.fake.open()] == [found.request.number]


def test_two_who_ask_for_the_same_get_the_same(
    made: Callable[[ForgeKind], At], stable: Any, repository: Repository, author: Identity, tmp_path: Path, remote: Path
) -> None:
    at = made(ForgeKind.GITHUB)
    theirs: list[Proposed] = []

    class Slow:
        """Somebody else is done, just before this one pushes."""

        def __getattr__(self, name: str) -> Any:
            return getattr(repository, name)

        def propose(self, *arguments: Any, **options: Any) -> Any:
            if not theirs:
                with Repository.open(str(remote), cache=tmp_path / "other") as other:
                    theirs.append(propose_in(other, at.forge, wanted(), author, Silent()))
            return repository.propose(*arguments, **options)

    slow: Any = Slow()
    mine = propose_in(slow, at.forge, wanted(), author, Silent())
    assert mine.request == theirs[0].request
    assert len(at.fake.pulls) == 1


def test_who_asks_later_is_not_superseded_by_who_asked_before(
    made: Callable[[ForgeKind], At], stable: Any, repository: Repository, author: Identity, ask: Callable[..., Proposed]
) -> None:
    at = made(ForgeKind.GITLAB)
    real, done = at.forge.open, []

    def slow(draft: Any) -> Any:
        request = real(draft)
        if not done:
            done.append(True)
            ask(at, weight=25)
        return request

    at.forge.open = slow
    ask(at, weight=10)
    (pull,) = at.fake.open()
    assert pull.branch.startswith("sluice/fraud/prod/v7-25-")


def test_a_release_that_moves_on_meanwhile_is_a_conflict(
    made: Callable[[ForgeKind], At], stable: Any, repository: Repository, author: Identity
) -> None:
    at = made(ForgeKind.GITHUB)
    forge: Forge = at.forge
    real = forge.find

    def find(*arguments: Any) -> Any:
        stable.promote(8)
        return real(*arguments)

    forge.find = find
    with pytest.raises(Conflict, match="moved on in prod while this was proposed"):
        propose_in(repository, forge, wanted(), author, Silent())
    assert at.fake.pulls == []
