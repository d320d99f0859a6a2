"""Small servers that answer as GitHub, GitLab and CodeCommit do, about requests of one real git repository."""

from __future__ import annotations

import json
import re
import subprocess
from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

PROJECT = "acme/models"
TOKEN = "tok-5ecret-Value"
_BEGUN = datetime(2026, 3, 1, tzinfo=UTC)


class Fault(NamedTuple):
    """What is answered in place of an answer; status 0 drops the connection."""

    status: int
    body: Any = {}
    headers: dict[str, str] = {}


class Seen(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: Any


class Pull:
    """A request as the fakes keep it."""

    def __init__(self, number: int, branch: str, base: str, title: str, body: str, sha: str) -> None:
        self.number, self.branch, self.base, self.title, self.body, self.sha = number, branch, base, title, body, sha
        self.state = "open"
        self.merge_commit: str | None = None
        self.comments: list[str] = []
        self.from_fork = False

    @property
    def time(self) -> datetime:
        return _BEGUN + timedelta(minutes=self.number)


class Fake(ThreadingHTTPServer, ABC):
    """What the three have in common: requests, and ways to misbehave."""

    daemon_threads = True
    closes_with_branch = True

    def __init__(self, bare: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bare = bare
        self.pulls: list[Pull] = []
        self.faults: list[Fault] = []
        """One a request, before anything is done."""
        self.drop: list[str] = []
        """Methods whose next request is done and not answered."""
        self.seen: list[Seen] = []
        self.page = 100
        self.looks: Any = lambda method, path: None
        """Called before each request is done."""

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def tip(self, branch: str) -> str | None:
        command = ["git", "-C", str(self.bare), "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None

    def add(self, branch: str, base: str, title: str = "", body: str = "") -> Pull:
        pull = Pull(len(self.pulls) + 1, branch, base, title, body, self.tip(branch) or "0" * 40)
        self.pulls.append(pull)
        return pull

    def open(self) -> list[Pull]:
        return [pull for pull in self.refreshed() if pull.state == "open"]

    def refreshed(self) -> list[Pull]:
        for pull in self.pulls:
            if pull.state == "open" and not pull.from_fork:
                tip = self.tip(pull.branch)
                pull.sha = tip or pull.sha
                if tip is None and self.closes_with_branch:
                    pull.state = "closed"
        return self.pulls

    def merged(self, number: int, commit: str) -> None:
        pull = self.pulls[number - 1]
        pull.state, pull.merge_commit = "merged", commit

    @abstractmethod
    def answer(self, method: str, path: str, query: dict[str, str], body: Any, headers: dict[str, str]) -> Fault:
        """What the forge says to one request."""


class FakeGitHub(Fake):
    """GitHub's REST API, version 3, under /api/v3 as at GitHub Enterprise."""

    def answer(self, method: str, path: str, query: dict[str, str], body: Any, headers: dict[str, str]) -> Fault:
        if headers.get("authorization") not in (f"token {TOKEN}", f"Bearer {TOKEN}"):
            return Fault(401, {"message": "Bad credentials"})
        root = f"/api/v3/repos/{PROJECT}"
        if (method, path) == ("POST", f"{root}/pulls"):
            return self._create(body)
        if (method, path) == ("GET", f"{root}/pulls"):
            return self._list(query)
        match = re.fullmatch(rf"{root}/(pulls|issues)/(\d+)(/comments)?", path)
        if not match or not 0 < int(match[2]) <= len(self.pulls):
            return Fault(404, {"message": "Not Found"})
        pull = self.refreshed()[int(match[2]) - 1]
        if match[3]:
            pull.comments.append(body["body"])
            return Fault(201, {"id": 1, "body": body["body"]})
        if method == "PATCH" and pull.state == "open":
            pull.state = body["state"]
        return Fault(200, self._shown(pull))

    def _create(self, body: Any) -> Fault:
        if self.tip(body["head"]) is None:
            return Fault(422, {"message": "Validation Failed", "errors": [{"field": "head", "code": "invalid"}]})
        if any(pull.branch == body["head"] for pull in self.open()):
            told = f"A pull request already exists for acme:{body['head']}."
            return Fault(422, {"message": "Validation Failed", "errors": [{"message": told}]})
        return Fault(201, self._shown(self.add(body["head"], body["base"], body["title"], body["body"])))

    def _list(self, query: dict[str, str]) -> Fault:
        wanted = {"open": ("open",), "closed": ("closed", "merged"), "all": ("open", "closed", "merged")}
        pulls = [pull for pull in reversed(self.refreshed()) if pull.state in wanted[query["state"]]]
        assert (query["sort"], query["direction"]) == ("created", "desc")
        size, page = min(self.page, int(query["per_page"])), int(query.get("page", 1))
        more = {"Link": f'<{self.origin}/api/v3/repos/{PROJECT}/pulls?{_encoded(query, page + 1)}>; rel="next"'}
        shown = [self._shown(pull) for pull in pulls[(page - 1) * size : page * size]]
        return Fault(200, shown, more if page * size < len(pulls) else {})

    def _shown(self, pull: Pull) -> dict[str, Any]:
        root = f"{self.origin}/api/v3/repos/{PROJECT}"
        return {
            "url": f"{root}/pulls/{pull.number}",
            "issue_url": f"{root}/issues/{pull.number}",
            "html_url": f"{self.origin}/{PROJECT}/pull/{pull.number}",
            "number": pull.number,
            "state": "open" if pull.state == "open" else "closed",
            "title": pull.title,
            "body": pull.body,
            "created_at": f"{pull.time:%Y-%m-%dT%H:%M:%SZ}",
            "merged_at": "2026-03-02T00:00:00Z" if pull.state == "merged" else None,
            "merge_commit_sha": pull.merge_commit or "f" * 40,
            "user": {"login": "octo", "url": f"{self.origin}/api/v3/users/octo"},
            "head": {
                "ref": pull.branch,
                "sha": pull.sha,
                "repo": {"full_name": "eve/models" if pull.from_fork else PROJECT, "url": root},
            },
            "base": {"ref": pull.base, "sha": "0" * 40, "repo": {"full_name": PROJECT, "url": root}},
        }


class FakeGitLab(Fake):
    """GitLab's REST API, version 4."""

    closes_with_branch = False

    def answer(self, method: str, path: str, query: dict[str, str], body: Any, headers: dict[str, str]) -> Fault:
        if headers.get("authorization") != f"Bearer {TOKEN}":
            return Fault(401, {"message": "401 Unauthorized"})
        root = f"/api/v4/projects/{PROJECT}/merge_requests"
        if path == root:
            return self._create(body) if method == "POST" else self._list(query)
        match = re.fullmatch(rf"{root}/(\d+)(/notes)?", path)
        if not match or not 0 < int(match[1]) <= len(self.pulls):
            return Fault(404, {"message": "404 Not found"})
        pull = self.refreshed()[int(match[1]) - 1]
        if match[2]:
            pull.comments.append(body["body"])
            return Fault(201, {"id": 1, "body": body["body"]})
        if method == "PUT":
            if pull.state != "open":
                return Fault(422, {"message": "Cannot transition state via :close"})
            pull.state = {"close": "closed"}[body["state_event"]]
        return Fault(200, self._shown(pull))

    def _create(self, body: Any) -> Fault:
        if self.tip(body["source_branch"]) is None:
            return Fault(400, {"message": {"source_branch": ["does not exist"]}})
        same = next((pull for pull in self.open() if pull.branch == body["source_branch"]), None)
        if same:
            told = f"Another open merge request already exists for this source branch: !{same.number}"
            return Fault(409, {"message": [told]})
        pull = self.add(body["source_branch"], body["target_branch"], body["title"], body["description"])
        return Fault(201, self._shown(pull))

    def _list(self, query: dict[str, str]) -> Fault:
        wanted = {
            "opened": ("open",),
            "closed": ("closed",),
            "merged": ("merged",),
            "all": ("open", "closed", "merged"),
        }
        pulls = [pull for pull in reversed(self.refreshed()) if pull.state in wanted[query["state"]]]
        assert (query["order_by"], query["sort"]) == ("created_at", "desc")
        size, page = min(self.page, int(query["per_page"])), int(query.get("page", 1))
        # as behind a proxy, GitLab may know itself by another name
        url = f"https://gitlab.internal/api/v4/projects/acme%2Fmodels/merge_requests?{_encoded(query, page + 1)}"
        shown = [self._shown(pull) for pull in pulls[(page - 1) * size : page * size]]
        return Fault(200, shown, {"Link": f'<{url}>; rel="next"'} if page * size < len(pulls) else {})

    def _shown(self, pull: Pull) -> dict[str, Any]:
        return {
            "id": 1000 + pull.number,
            "iid": pull.number,
            "project_id": 7,
            "source_project_id": 8 if pull.from_fork else 7,
            "target_project_id": 7,
            "source_branch": pull.branch,
            "target_branch": pull.base,
            "state": "opened" if pull.state == "open" else pull.state,
            "title": pull.title,
            "description": pull.body,
            "sha": pull.sha,
            "merge_commit_sha": pull.merge_commit,
            "squash_commit_sha": None,
            "created_at": f"{pull.time:%Y-%m-%dT%H:%M:%S.000Z}",
            "author": {"username": "octo"},
            "web_url": f"{self.origin}/{PROJECT}/-/merge_requests/{pull.number}",
        }


class FakeCodeCommit(Fake):
    """CodeCommit's API: JSON 1.1 of AWS, an operation for each target."""

    def answer(self, method: str, path: str, query: dict[str, str], body: Any, headers: dict[str, str]) -> Fault:
        operation = headers["x-amz-target"].removeprefix("CodeCommit_20150413.")
        assert (method, path) == ("POST", "/")
        if "pullRequestId" in body and not 0 < int(body["pullRequestId"]) <= len(self.pulls):
            return _aws("PullRequestDoesNotExistException", "The pull request does not exist.")
        answer: Fault = getattr(self, operation)(body)
        return answer

    def CreatePullRequest(self, body: Any) -> Fault:  # noqa: N802  # the API's name
        target = body["targets"][0]
        if self.tip(target["sourceReference"]) is None:
            return _aws("ReferenceDoesNotExistException", "The specified reference does not exist.")
        assert len(body["description"]) <= 10240
        pull = self.add(target["sourceReference"], target["destinationReference"], body["title"], body["description"])
        return Fault(200, {"pullRequest": self._shown(pull)})

    def ListPullRequests(self, body: Any) -> Fault:  # noqa: N802
        assert body["repositoryName"] == "models"
        is_open = body["pullRequestStatus"] == "OPEN"
        ids = [str(pull.number) for pull in self.refreshed() if (pull.state == "open") == is_open]
        at = int(body.get("nextToken", 0))
        rest = {"nextToken": str(at + self.page)} if at + self.page < len(ids) else {}
        return Fault(200, {"pullRequestIds": ids[at : at + self.page], **rest})

    def GetPullRequest(self, body: Any) -> Fault:  # noqa: N802
        return Fault(200, {"pullRequest": self._shown(self.refreshed()[int(body["pullRequestId"]) - 1])})

    def PostCommentForPullRequest(self, body: Any) -> Fault:  # noqa: N802
        pull = self.refreshed()[int(body["pullRequestId"]) - 1]
        assert body["afterCommitId"] == pull.sha
        pull.comments.append(body["content"])
        return Fault(200, {"comment": {"commentId": "1"}})

    def UpdatePullRequestStatus(self, body: Any) -> Fault:  # noqa: N802
        pull = self.refreshed()[int(body["pullRequestId"]) - 1]
        if pull.state != "open":
            return _aws("PullRequestAlreadyClosedException", "The pull request is closed already.")
        pull.state = "closed"
        return Fault(200, {"pullRequest": self._shown(pull)})

    def _shown(self, pull: Pull) -> dict[str, Any]:
        merged = {"isMerged": pull.state == "merged", "mergedBy": "arn:aws:iam::123456789012:user/octo"}
        if pull.merge_commit:
            merged["mergeCommitId"] = pull.merge_commit
        return {
            "pullRequestId": str(pull.number),
            "title": pull.title,
            "creationDate": pull.time.timestamp(),
            "pullRequestStatus": "OPEN" if pull.state == "open" else "CLOSED",
            "authorArn": "arn:aws:iam::123456789012:user/octo",
            "pullRequestTargets": [
                {
                    "repositoryName": "models",
                    "sourceReference": f"refs/heads/{pull.branch}",
                    "destinationReference": f"refs/heads/{pull.base}",
                    "sourceCommit": pull.sha,
                    "destinationCommit": "0" * 40,
                    "mergeMetadata": merged,
                }
            ],
        }


def _aws(code: str, message: str) -> Fault:
    return Fault(400, {"__type": code, "message": message})


def _encoded(query: dict[str, str], page: int) -> str:
    return "&".join(f"{name}={value}" for name, value in {**query, "page": str(page)}.items())


class _Handler(BaseHTTPRequestHandler):
    server: Fake

    def _do(self) -> None:
        self.close_connection = True
        path, _, query = self.path.partition("?")
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(raw) if raw else None
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = unquote(path)
        fake = self.server
        fake.seen.append(Seen(self.command, self.path, headers, body))
        fake.looks(self.command, path)
        if fake.faults:
            fault = fake.faults.pop(0)
        else:
            asked = {name: values[-1] for name, values in parse_qs(query).items()}
            fault = fake.answer(self.command, path, asked, body, headers)
        kind = headers.get("x-amz-target", "").rpartition(".")[2] or self.command
        if kind in fake.drop:
            fake.drop.remove(kind)
            return
        if not fault.status:
            return
        content = fault.body if isinstance(fault.body, bytes) else json.dumps(fault.body).encode()
        self.send_response(fault.status)
        for name, value in {"Content-Type": "application/json", **fault.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_PUT = _do  # noqa: N815  # http.server's names

    def log_message(self, *_: object) -> None:
        pass
