"""GitHub, and GitHub Enterprise, by PyGithub (GitHub Docs, "REST API endpoints for pull requests")."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from gitops.forges.answers import Answer, Asked, again, explain, odd, unreachable
from gitops.forges.base import LOOKED_AT, Draft, Matches, Request, State

if TYPE_CHECKING:
    from github.GithubException import GithubException
    from github.NamedUser import NamedUser
    from github.PullRequest import PullRequest
    from github.Repository import Repository

T = TypeVar("T")
_TIMEOUT = 30
_PAGE = 100
PERMISSION = "read and write access to pull requests"
# what PyGithub raises where an answer is a success and no pull request
_ODD = (AssertionError, AttributeError, KeyError, RuntimeError, TypeError, ValueError)


class GitHub:
    """A repository at GitHub; a `gitops.forges.base.Forge`."""

    name = "GitHub"
    body_max = 65_000
    folds = True

    def __init__(self, api: str, asked: Asked, base: str, sleep: Callable[[float], None] = time.sleep) -> None:
        """`asked` has the repository and the token, and requests are those to merge to the branch `base`."""
        self._api = api
        self._asked = asked
        self._base = base
        self._sleep = sleep
        self._repository = _connect(api, asked)

    def open(self, draft: Draft) -> Request:
        """See `Forge.open`; GitHub has one open request of a branch at most."""
        return self._ask(
            lambda: _request(self._repository.create_pull(self._base, draft.branch, title=draft.title, body=draft.body))
        )

    def find(self, matches: Matches, state: State | None = None, limit: int | None = None) -> Sequence[Request]:
        """See `Forge.find`."""
        return self._ask(lambda: list(islice(self._matching(matches, state), limit)))

    def read(self, number: int) -> Request:
        """See `Forge.read`."""
        return self._ask(lambda: _request(self._repository.get_pull(number)))

    def comment(self, number: int, text: str) -> None:
        """See `Forge.comment`."""
        self._ask(lambda: self._repository.get_pull(number).create_issue_comment(text))

    def close(self, number: int) -> None:
        """See `Forge.close`."""
        self._ask(lambda: self._repository.get_pull(number).edit(state="closed"))

    def _matching(self, matches: Matches, state: State | None) -> Iterator[Request]:
        status = {State.OPEN: "open", None: "all"}.get(state, "closed")
        pulls = self._repository.get_pulls(state=status, sort="created", direction="desc", base=self._base)
        for pull in islice(pulls, LOOKED_AT):
            head: Repository | None = pull.head.repo  # None of a fork that is gone
            ours = head is not None and head.full_name.lower() == self._asked.project.lower()
            if ours and pull.base.ref == self._base and matches(pull.head.ref):
                request = _request(pull)
                if state in (None, request.state):
                    yield request

    def _ask(self, function: Callable[[], T]) -> T:
        from github.GithubException import BadAttributeException, GithubException
        from requests import RequestException

        def once() -> T:
            try:
                return function()
            except GithubException as error:
                raise explain(self._asked, _answer(error)) from None  # whatever else the error holds is not shown
            except RequestException as error:
                raise unreachable(self._asked, self._api, error) from None
            except (BadAttributeException, *_ODD):
                raise odd(self._asked, self._api) from None

        return again(once, self._sleep)


def _connect(api: str, asked: Asked) -> Repository:
    from github import Auth, Github

    # no retries and no waiting of its own: registry/retry.py is the one that tries again
    client = Github(
        auth=Auth.Token(asked.token),
        base_url=api,
        timeout=_TIMEOUT,
        per_page=_PAGE,
        retry=None,
        seconds_between_requests=None,
        seconds_between_writes=None,
        lazy=True,
    )
    return client.get_repo(asked.project)


def _request(pull: PullRequest) -> Request:
    who: NamedUser | None = pull.user  # None of an account that is gone
    # what is not merged has a merge commit too, for trying
    merged = pull.merged_at is not None
    state = State.MERGED if merged else State.OPEN if pull.state == "open" else State.CLOSED
    return Request(
        number=pull.number,
        url=pull.html_url,
        branch=pull.head.ref,
        title=pull.title,
        state=state,
        commit=pull.head.sha,
        merge_commit=pull.merge_commit_sha if merged else None,
        by=who.login if who is not None else "",
        at=pull.created_at,
    )


def _answer(error: GithubException) -> Answer:
    data = error.data if isinstance(error.data, dict) else {}
    details = data.get("errors")
    said = [data.get("message"), *(details if isinstance(details, list) else [])]
    told = (str(each.get("message") or "") if isinstance(each, dict) else str(each or "") for each in said)
    return Answer(error.status, ": ".join(filter(None, told)), dict(error.headers or {}))
