"""GitLab, at gitlab.com or on a host of one's own, by python-gitlab (GitLab Docs, "Merge requests API")."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from gitops.forges.answers import Answer, Asked, again, explain, moved, odd, unreachable
from gitops.forges.base import LOOKED_AT, Draft, Matches, Request, State

if TYPE_CHECKING:
    from gitlab.v4.objects import Project
    from requests import Response

T = TypeVar("T")
_TIMEOUT = 30
_PAGE = 100
PERMISSION = "the scope api and the role Developer"
_STATES = {"opened": State.OPEN, "locked": State.OPEN, "merged": State.MERGED, "closed": State.CLOSED}
_ASKED = {State.OPEN: "opened", State.MERGED: "merged", State.CLOSED: "closed", None: "all"}
# python-gitlab would wait by itself, and for as long as the server says
_AT_ONCE: dict[str, Any] = {"obey_rate_limit": False, "retry_transient_errors": False}
_ODD = (AttributeError, KeyError, TypeError, ValueError)


class GitLab:
    """A project at GitLab; a `gitops.forges.base.Forge`."""

    name = "GitLab"
    body_max = 100_000  # of a million, which nobody reads
    folds = True

    def __init__(self, api: str, asked: Asked, base: str, sleep: Callable[[float], None] = time.sleep) -> None:
        """`asked` has the project and the token, and requests are those to merge to the branch `base`."""
        self._api = api
        self._asked = asked
        self._base = base
        self._sleep = sleep
        self._heard: Mapping[str, str] = {}
        self._project = self._connect()

    def open(self, draft: Draft) -> Request:
        """See `Forge.open`; GitLab has one open request of a branch at most, and deletes what is merged."""
        wanted = {
            "source_branch": draft.branch,
            "target_branch": self._base,
            "title": draft.title,
            "description": draft.body,
            "remove_source_branch": True,
            "squash": False,  # so that the commit keeps its message, unless the project squashes all
        }
        return self._ask(lambda: _request(self._project.mergerequests.create(wanted, **_AT_ONCE).attributes))

    def find(self, matches: Matches, state: State | None = None, limit: int | None = None) -> Sequence[Request]:
        """See `Forge.find`."""
        return self._ask(lambda: list(islice(self._matching(matches, state), limit)))

    def read(self, number: int) -> Request:
        """See `Forge.read`."""
        return self._ask(lambda: _request(self._project.mergerequests.get(number, **_AT_ONCE).attributes))

    def comment(self, number: int, text: str) -> None:
        """See `Forge.comment`."""
        found = self._project.mergerequests.get(number, lazy=True)
        self._ask(lambda: found.notes.create({"body": text}, **_AT_ONCE))

    def close(self, number: int) -> None:
        """See `Forge.close`."""
        if self.read(number).state is State.OPEN:
            self._ask(lambda: self._project.mergerequests.update(number, {"state_event": "close"}, **_AT_ONCE))

    def _matching(self, matches: Matches, state: State | None) -> Iterator[Request]:
        found = self._project.mergerequests.list(
            iterator=True,
            per_page=_PAGE,
            state=_ASKED[state],
            target_branch=self._base,
            order_by="created_at",
            sort="desc",
            **_AT_ONCE,
        )
        for each in islice(found, LOOKED_AT):
            said = each.attributes
            ours = said["source_project_id"] == said["target_project_id"]
            if ours and said["target_branch"] == self._base and matches(said["source_branch"]):
                request = _request(said)
                if state in (None, request.state):
                    yield request

    def _connect(self) -> Project:
        from gitlab import Gitlab
        from requests import Session

        session = Session()
        session.max_redirects = 0  # the token goes to this host and to no other
        session.hooks["response"].append(self._hear)
        client = Gitlab(
            self._api,
            oauth_token=self._asked.token,  # personal, group and project tokens may be sent so too
            timeout=_TIMEOUT,
            session=session,
            keep_base_url=True,
        )
        return client.projects.get(self._asked.project, lazy=True)

    def _hear(self, response: Response, *_: object, **__: object) -> None:
        """Keep the headers, which python-gitlab leaves out of its errors."""
        self._heard = response.headers

    def _ask(self, function: Callable[[], T]) -> T:
        from gitlab.exceptions import GitlabError, GitlabParsingError, RedirectError
        from requests import RequestException, TooManyRedirects

        def once() -> T:
            try:
                return function()
            except (RedirectError, TooManyRedirects):
                raise moved(self._asked) from None
            except GitlabParsingError:
                raise odd(self._asked, self._api) from None
            except GitlabError as error:
                answer = Answer(error.response_code or 0, str(error.error_message), self._heard)
                raise explain(self._asked, answer) from None  # whatever else the error holds is not shown
            except RequestException as error:
                raise unreachable(self._asked, self._api, error) from None
            except _ODD:
                raise odd(self._asked, self._api) from None

        return again(once, self._sleep)


def _request(said: Mapping[str, Any]) -> Request:
    state = _STATES.get(said["state"], State.OPEN)
    # a fast-forward leaves neither a merge commit nor, without squashing, a new one
    became = said.get("merge_commit_sha") or said.get("squash_commit_sha") or said["sha"]
    return Request(
        number=said["iid"],
        url=said["web_url"],
        branch=said["source_branch"],
        title=said["title"],
        state=state,
        commit=said["sha"],
        merge_commit=became if state is State.MERGED else None,
        by=(said.get("author") or {}).get("username", ""),
        at=said["created_at"],
    )
