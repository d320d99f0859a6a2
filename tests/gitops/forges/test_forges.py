"""What holds of every forge, asked over HTTP with its real client."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gitops.forges import Draft, ForgeKind, State
from registry.errors import Conflict, InvalidInput, NotFound, Refused, SluiceError, Unavailable
from tests.gitops.forges.conftest import At
from tests.gitops.forges.fakes import TOKEN, Fault

Run = Callable[..., str]


@pytest.fixture(autouse=True)
def _first(remote: Path, git: Run) -> None:
    tree = git(remote, "hash-object", "-t", "tree", "-w", "--stdin", stdin="")
    git(remote, "branch", "main", git(remote, "commit-tree", tree, "-m", "First"))


@pytest.fixture
def branch(remote: Path, git: Run) -> Callable[[str], str]:
    """Make a branch at the newest commit."""

    def make(name: str) -> str:
        git(remote, "branch", name, "main")
        return git(remote, "rev-parse", name)

    return make


def opened(at: At, branch: Callable[[str], str], name: str = "sluice/a/b/c") -> int:
    branch(name)
    return at.forge.open(Draft(branch=name, title="fraud: prod", body="Text")).number


def test_a_request_is_opened_and_found(at: At, branch: Callable[[str], str]) -> None:
    tip = branch("sluice/a/b/c")
    request = at.forge.open(Draft(branch="sluice/a/b/c", title="fraud: prod canary v7 at 10 %", body="Text | `x`"))
    assert (request.number, request.branch, request.title) == (1, "sluice/a/b/c", "fraud: prod canary v7 at 10 %")
    assert (request.state, request.commit, request.merge_commit) == (State.OPEN, tip, None)
    assert (request.by, request.at) == ("octo", datetime(2026, 3, 1, 0, 1, tzinfo=UTC))
    assert request.url.startswith("http")
    assert "/1" in request.url
    assert at.fake.pulls[0].body == "Text | `x`"
    assert at.fake.pulls[0].base == "main"
    assert at.forge.read(1) == request
    assert list(at.forge.find(lambda name: name == "sluice/a/b/c")) == [request]
    assert not at.forge.find(lambda name: name == "sluice/a/b")


def test_what_became_of_a_request(at: At, branch: Callable[[str], str]) -> None:
    for name in ("s/1", "s/2", "s/3"):
        opened(at, branch, name)
    at.fake.merged(1, "a" * 40)
    at.forge.close(2)
    found = {one.number: one for one in at.forge.find(lambda _: True)}
    assert [found[number].state for number in (1, 2, 3)] == [State.MERGED, State.CLOSED, State.OPEN]
    assert [found[number].merge_commit for number in (1, 2, 3)] == ["a" * 40, None, None]
    for state, number in ((State.MERGED, 1), (State.CLOSED, 2), (State.OPEN, 3)):
        assert [one.number for one in at.forge.find(lambda _: True, state)] == [number]
    at.fake.merged(3, "")
    assert at.forge.read(3).merge_commit in (at.fake.pulls[2].sha, "f" * 40)  # a fast-forward


def test_closing_twice_and_commenting(at: At, branch: Callable[[str], str]) -> None:
    number = opened(at, branch)
    at.forge.comment(number, "Superseded by https://example.com/2")
    at.forge.close(number)
    at.forge.close(number)
    assert at.fake.pulls[0].comments == ["Superseded by https://example.com/2"]
    assert at.forge.read(number).state is State.CLOSED


def test_all_pages_are_read_newest_first_and_no_more_than_wanted(at: At, branch: Callable[[str], str]) -> None:
    at.fake.page = 2
    for number in range(5):
        opened(at, branch, f"s/{number}")
    assert [one.branch for one in at.forge.find(lambda _: True, State.OPEN)] == [f"s/{n}" for n in (4, 3, 2, 1, 0)]
    at.fake.seen.clear()
    assert [one.branch for one in at.forge.find(lambda _: True, None, 2)] == ["s/4", "s/3"]
    asked = [seen for seen in at.fake.seen if "GetPullRequest" in seen.headers.get("x-amz-target", "GetPullRequest")]
    assert len(asked) <= 2


def test_requests_of_forks_and_to_other_branches_are_not_ours(at: At, branch: Callable[[str], str]) -> None:
    opened(at, branch, "s/1")
    at.fake.add("s/2", "release")
    if at.kind is not ForgeKind.CODECOMMIT:  # which has no forks
        at.fake.add("s/3", "main").from_fork = True
    assert [one.branch for one in at.forge.find(lambda _: True)] == ["s/1"]


def test_faults_that_pass_are_tried_again(at: At, branch: Callable[[str], str]) -> None:
    number = opened(at, branch)
    at.fake.faults = [Fault(502), Fault(0), Fault(503, b"<html>busy</html>")]
    assert at.forge.read(number).number == number
    at.fake.faults = [Fault(500)] * 9
    with pytest.raises(Unavailable, match=r"trouble|overloaded"):
        at.forge.read(number)
    at.fake.faults = [Fault(0)] * 9
    with pytest.raises(Unavailable, match="cannot be reached"):
        at.forge.read(number)


def test_a_branch_that_is_gone_and_a_request_that_never_was(at: At) -> None:
    with pytest.raises((Conflict, NotFound, InvalidInput)):
        at.forge.open(Draft(branch="sluice/none", title="x", body="x"))
    with pytest.raises(NotFound, match=at.forge.name):
        at.forge.read(77)


def test_no_secret_is_ever_told(at: At, branch: Callable[[str], str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    number = opened(at, branch)
    told = []
    for fault in (
        Fault(401, {"message": f"bad token {TOKEN}"}),
        Fault(403, {"message": f"no {TOKEN}", "__type": "AccessDeniedException"}),
        Fault(400, {"message": f"odd {TOKEN}"}),
        Fault(409, {"message": [f"odd {TOKEN}"]}),
        Fault(200, {"message": TOKEN}),
        Fault(200, b"[[[" + TOKEN.encode()),
        Fault(307, {"message": "Temporary Redirect"}, {"Location": f"http://{TOKEN}@localhost:1/x"}),
    ):
        at.fake.faults = [fault] * 9
        with pytest.raises(SluiceError) as failed:
            at.forge.read(number).state  # noqa: B018  # some clients look only then
        told += [str(failed.value), repr(failed.value), repr(failed.value.__cause__)]
    if at.kind is not ForgeKind.CODECOMMIT:  # which is never sent the secret, only what it signs
        assert not [text for text in told if TOKEN in text]
        logged = [record.getMessage() for record in caplog.records if "message" not in record.getMessage()]
        assert not [text for text in logged if TOKEN in text]
    assert not [seen for seen in at.fake.seen if TOKEN in seen.path]


# those that have tokens


@pytest.fixture(params=[ForgeKind.GITHUB, ForgeKind.GITLAB], ids=lambda kind: kind.value)
def by_token(made: Callable[[ForgeKind], At], request: pytest.FixtureRequest) -> At:
    return made(request.param)


def test_a_second_request_of_a_branch_conflicts(by_token: At, branch: Callable[[str], str]) -> None:
    opened(by_token, branch)
    with pytest.raises(Conflict, match="already exists for"):
        by_token.forge.open(Draft(branch="sluice/a/b/c", title="x", body="x"))


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        (Fault(401, {"message": "Bad credentials"}), Refused, "does not accept the token in GIT(HUB|LAB)_TOKEN: renew"),
        (
            Fault(403, {"message": "Resource not accessible"}),
            Refused,
            r"\(Resource not accessible\): give it .* for acme/",
        ),
        (Fault(404, {"message": "Not Found"}), NotFound, "shows no such thing in acme/models"),
        (Fault(422, {"message": "Validation Failed"}), Conflict, r"\(Validation Failed\): look at the requests"),
        (Fault(409, {"message": "Conflict"}), Conflict, "does not take this"),
        (Fault(400, {"message": "Bad"}), InvalidInput, "does not understand"),
        (Fault(200, b"<html>Sign in</html>"), SluiceError, "is no API of Git"),
        (Fault(200, {"odd": 1}), SluiceError, "is no API of Git"),
        (Fault(301, {}, {"Location": "http://localhost:9/x"}), SluiceError, "elsewhere|is no API of Git"),
    ],
)
def test_refusals_in_a_sentence(
    by_token: At, branch: Callable[[str], str], fault: Fault, kind: type[SluiceError], says: str
) -> None:
    number = opened(by_token, branch)
    by_token.fake.faults = [fault] * 9
    with pytest.raises(kind, match=says):
        by_token.forge.read(number)
    assert len(by_token.fake.faults) >= 7  # it is not asked again


@pytest.mark.parametrize(
    "fault",
    [
        Fault(429, {"message": "Too many"}, {"Retry-After": "120"}),
        Fault(403, {"message": "You have exceeded a secondary rate limit"}, {"Retry-After": "120"}),
        Fault(403, {"message": "API rate limit exceeded"}, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "{at}"}),
        Fault(429, {"message": "Retry later"}, {"RateLimit-Remaining": "0", "RateLimit-Reset": "{at}"}),
        Fault(429, b"", {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}),
        Fault(429, b"", {"Retry-After": "soon"}),
        Fault(429, b"", {}),
    ],
)
def test_being_asked_too_often_says_when_to_come_back(by_token: At, branch: Callable[[str], str], fault: Fault) -> None:
    number = opened(by_token, branch)
    soon = str(int(datetime.now(UTC).timestamp()) + 120)
    headers = {name: value.replace("{at}", soon) for name, value in fault.headers.items()}
    by_token.fake.faults = [fault._replace(headers=headers)] * 9
    with pytest.raises(
        Unavailable, match=r"was asked too often.*: try again after 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC\.$"
    ):
        by_token.forge.read(number)
    assert len(by_token.fake.faults) == 8  # and nobody asks again before


def test_a_token_is_not_in_what_a_debugger_or_a_log_shows(by_token: At) -> None:
    shown = repr(by_token.forge) + repr(vars(by_token.forge))
    assert "acme/models" in shown
    assert TOKEN not in shown


def test_a_token_of_another_forge_is_not_sent(by_token: At) -> None:
    by_token.forge.find(lambda _: True)
    assert by_token.fake.seen[-1].headers["authorization"].endswith(TOKEN)
    assert "private-token" not in by_token.fake.seen[-1].headers
