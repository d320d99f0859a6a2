"""AWS CodeCommit, by boto3 (AWS CodeCommit API Reference, "CreatePullRequest" and what is beside it)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from gitops.forges.base import LOOKED_AT, Draft, Matches, Request, State
from registry.aws import call, error_code
from registry.errors import Conflict, InvalidInput, NotFound, SluiceError
from registry.text import plain

if TYPE_CHECKING:
    from mypy_boto3_codecommit import CodeCommitClient
    from mypy_boto3_codecommit.literals import PullRequestStatusEnumType
    from mypy_boto3_codecommit.type_defs import PullRequestTypeDef

P = ParamSpec("P")
T = TypeVar("T")
_CLOSED_ALREADY = "PullRequestAlreadyClosedException"
_TITLE_MAX = 150


class CodeCommit:
    """A repository at CodeCommit; a `gitops.forges.base.Forge`.

    It does not mind several open requests of one branch, and shows each request's difference by itself.
    """

    name = "CodeCommit"
    body_max = 10_000
    folds = False

    def __init__(self, client: CodeCommitClient, region: str, repository: str, base: str) -> None:
        """Requests are those to merge to the branch `base`."""
        self._client = client
        self._region = region
        self._repository = repository
        self._base = base

    def open(self, draft: Draft) -> Request:
        """See `Forge.open`."""
        answer = self._ask(
            self._client.create_pull_request,
            title=draft.title[:_TITLE_MAX],
            description=draft.body,
            targets=[
                {
                    "repositoryName": self._repository,
                    "sourceReference": draft.branch,
                    "destinationReference": self._base,
                }
            ],
            clientRequestToken=uuid.uuid4().hex,  # tried again, it is the same request
        )
        return self._sound(lambda: self._found(answer["pullRequest"]))

    def find(self, matches: Matches, state: State | None = None, limit: int | None = None) -> Sequence[Request]:
        """See `Forge.find`."""
        return self._sound(lambda: list(islice(self._matching(matches, state), limit)))

    def read(self, number: int) -> Request:
        """See `Forge.read`."""
        return self._sound(lambda: self._found(self._get(number)))

    def comment(self, number: int, text: str) -> None:
        """See `Forge.comment`."""
        target = self._sound(lambda: self._get(number)["pullRequestTargets"][0])
        self._ask(
            self._client.post_comment_for_pull_request,
            pullRequestId=str(number),
            repositoryName=self._repository,
            beforeCommitId=target["destinationCommit"],
            afterCommitId=target["sourceCommit"],
            content=text,
            clientRequestToken=uuid.uuid4().hex,
        )

    def close(self, number: int) -> None:
        """See `Forge.close`."""
        try:
            self._ask(self._client.update_pull_request_status, pullRequestId=str(number), pullRequestStatus="CLOSED")
        except _ClosedAlready:
            return

    def _matching(self, matches: Matches, state: State | None) -> Iterator[Request]:
        for number in sorted(self._numbers(state), reverse=True)[:LOOKED_AT]:
            found = self._get(number)
            target = found["pullRequestTargets"][0]
            branch, base = _branch(target["sourceReference"]), _branch(target["destinationReference"])
            if base == self._base and matches(branch):
                request = self._found(found)
                if state in (None, request.state):
                    yield request

    def _numbers(self, state: State | None) -> Iterator[int]:
        statuses: list[PullRequestStatusEnumType] = (
            ["OPEN", "CLOSED"] if state is None else ["OPEN"] if state is State.OPEN else ["CLOSED"]
        )
        for status in statuses:
            token = ""
            while True:
                more: Any = {"nextToken": token} if token else {}
                answer = self._ask(
                    self._client.list_pull_requests,
                    repositoryName=self._repository,
                    pullRequestStatus=status,
                    **more,
                )
                yield from (int(each) for each in answer["pullRequestIds"])
                token = answer.get("nextToken", "")
                if not token:
                    break

    def _get(self, number: int) -> PullRequestTypeDef:
        return self._ask(self._client.get_pull_request, pullRequestId=str(number))["pullRequest"]

    def _found(self, said: PullRequestTypeDef) -> Request:
        target = said["pullRequestTargets"][0]
        merge = target.get("mergeMetadata", {})
        merged = merge.get("isMerged", False)
        state = State.MERGED if merged else State.OPEN if said["pullRequestStatus"] == "OPEN" else State.CLOSED
        number = int(said["pullRequestId"])
        return Request(
            number=number,
            url=self._page(number),
            branch=_branch(target["sourceReference"]),
            title=said["title"],
            state=state,
            commit=target["sourceCommit"],
            # a fast-forward makes no commit of its own
            merge_commit=(merge.get("mergeCommitId") or target["sourceCommit"]) if merged else None,
            by=said.get("authorArn", "").rpartition("/")[2],
            at=said["creationDate"],
        )

    def _page(self, number: int) -> str:
        """The request in the AWS console, of the partition that the region is in."""
        domain = "console.amazonaws.cn" if self._region.startswith("cn-") else "console.aws.amazon.com"
        path = f"codesuite/codecommit/repositories/{self._repository}/pull-requests/{number}/details"
        return f"https://{self._region}.{domain}/{path}?region={self._region}"

    def _sound(self, function: Callable[[], T]) -> T:
        try:
            return function()
        except (IndexError, KeyError, TypeError, ValueError):
            raise SluiceError(
                "What answers as CodeCommit is no API of it: check AWS_ENDPOINT_URL_CODECOMMIT."
            ) from None

    def _ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        from botocore.exceptions import ClientError

        try:
            return call("CodeCommit", function, *args, **kwargs)
        except ClientError as error:
            raise self._explain(error) from error

    def _explain(self, error: Exception) -> SluiceError:
        code = error_code(error)
        told = getattr(error, "response", {}).get("Error", {}).get("Message", "")
        said = " ".join(plain(str(told)).split())[:300].rstrip(".")
        shown = f" ({code}{f': {said}' if said else ''})"
        if code == _CLOSED_ALREADY:
            return _ClosedAlready(f"CodeCommit has closed this request already{shown}: open another.")
        if code.endswith("DoesNotExistException"):
            return NotFound(
                f"CodeCommit has no such thing in {self._repository}{shown}: check the remote's address and its region."
            )
        if code.startswith("Invalid") or code.endswith(("RequiredException", "ValidationException")):
            return InvalidInput(f"CodeCommit does not understand the request{shown}: check the remote's address.")
        return Conflict(f"CodeCommit does not take this as things are{shown}: look at the requests that are there.")


class _ClosedAlready(Conflict):
    """The request was closed before."""


def _branch(reference: str) -> str:
    return reference.removeprefix("refs/heads/")
