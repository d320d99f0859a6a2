"""What git said, in one sentence of ours: a table from lines of stderr to the errors of `registry.errors`.

git has few exit codes and no error codes, so its words are all there is. They are asked for in the C locale. The first
rule that matches wins, so the order is from what names a cause to what only names a symptom: ssh, for one, says
"Permission denied" and then git adds "Could not read from remote repository". What a server's hook says is shown
shortened and without control characters, and whatever looks like credentials in a URL is taken out first.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from registry.errors import Conflict, NotFound, Refused, SluiceError, Unavailable

_SAID_MAX = 300
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s'\"]*@")
_ESCAPES = re.compile(r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|(?:\x1b\[|\x9b)[0-9;?]*[ -/]*[@-~]")
_CONTROL = re.compile(r"[^\t\n\x20-\x7e\u00a0-\U0010ffff]")
_NOISE = re.compile(
    r"(=+$|resolving deltas|counting objects|compressing objects|enumerating objects|total \d|processed \d)", re.I
)


class Moved(Conflict):
    """The push came second: the branch is no longer where the commit was made on. Worth another attempt."""


class Stalled(Unavailable):
    """The remote took longer than anybody waits. Not worth another attempt of that length."""


class Locked(Moved):
    """Another git process holds the branch's lock on the remote, or held it when it was killed."""


class GitFailed(SluiceError):
    """git ended with an error; `text` is all it said, cleaned of credentials and control characters."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        self.text = clean(text)
        super().__init__(f"git failed: {last_line(self.text)}.")


class _Rule(NamedTuple):
    pattern: str
    kind: type[SluiceError]
    sentence: str


_HINT_SSH = "load a key with access into ssh-agent, or set GIT_SSH_COMMAND"
_HINT_HTTP = "set up a git credential helper that has access, then try again"

_RULES = (
    _Rule(
        r"gave no answer in \d+ seconds",
        Stalled,
        "{remote} stalls{said}: look at its load and its hooks, then try again.",
    ),
    # the person's side, before anything is sent
    _Rule("dubious ownership", Refused, "git does not trust {remote}: another user owns it; run sluice as that user."),
    _Rule(
        "refusing to update checked out branch|branch is currently checked out|working (?:directory|tree) has "
        "(?:un)?staged changes|denycurrentbranch",
        Refused,
        "{remote} is a work tree with {branch} checked out, and git does not push under it: give a bare repository,"
        " or the remote that this work tree came from.",
    ),
    # authentication
    _Rule(
        "host key verification failed|no .* host key is known",
        Refused,
        "The host key of {remote} is not known here: connect once with ssh and accept it, or add it to known_hosts.",
    ),
    _Rule(
        r"permission denied \(|public key authentication failed|too many authentication failures|no such identity",
        Refused,
        "{remote} did not accept an ssh key: " + _HINT_SSH + ".",
    ),
    _Rule(
        "could not read (?:username|password)|terminal prompts disabled|authentication failed|invalid username or"
        "|http basic: access denied|returned error: 401",
        Refused,
        "{remote} asks for credentials that git does not have: " + _HINT_HTTP + ".",
    ),
    # a server's hook that failed rather than declined (gitlab-shell, gitaly, Gitea)
    _Rule(
        r"internal api (?:unreachable|error)|api is not accessible|gitea: internal server error"
        "|temporarily read-only|rate exceeded",
        Unavailable,
        "{remote} is in trouble{said}: try again, and if it stays, ask its owner.",
    ),
    # the server understood, and says no
    _Rule(
        "hook declined|pushes to this branch are not permitted|refusing to allow"
        "|repository rule violations|protected branch|prohibited by gerrit|deny updating a hidden ref"
        "|not allowed to push|declined",
        Refused,
        "{remote} declined the commit{said}: ask whoever owns its hooks and branch rules.",
    ),
    _Rule(
        "returned error: 403|access denied|permission to .* denied|not permitted|read.?only|permission denied"
        "|insufficient permission|service not enabled",
        Refused,
        "{remote} does not let you in{said}: ask its owner for read and write access.",
    ),
    _Rule(
        "exists; cannot create|is not a valid ref|invalid refspec|funny refname|bad ref",
        Refused,
        "{branch} cannot be a branch of {remote}{said}: give another branch.",
    ),
    # not there
    _Rule(
        "does not appear to be a git repository|repository not found|repository '.*' not found|returned error: 404"
        "|not a git repository|does not exist|project you were looking for could not be found",
        NotFound,
        "There is no git repository at {remote}, or you may not see it: check the address.",
    ),
    _Rule(
        r"unable to create '[^']*\.lock': file exists",
        Locked,
        "{branch} of {remote} is locked by another git process.",
    ),
    # another writer was first (send-pack's and receive-pack's words)
    _Rule(
        r"non-fast-forward|fetch first|cannot lock ref|failed to lock|incorrect old value|failed to update ref"
        r"|stale info|reference already exists|\(already exists\)|but expected|needs force",
        Moved,
        "Another commit reached {branch} of {remote} first.",
    ),
    # a fault that no second attempt mends
    _Rule(
        "certificate|ssl_error_bad|unable to get local issuer",
        Refused,
        "The TLS certificate of {remote} is not trusted here: add its authority, for instance with http.sslCAInfo.",
    ),
    _Rule(
        "transport '.*' not allowed|remote helper|unable to find remote helper|is not a git command",
        Refused,
        "git cannot speak to {remote}{said}: give a path, or an https, ssh or file address.",
    ),
    _Rule(
        "no space left|disk quota|unpacker error|unpack failed|pack exceeds|returned error: 413",
        Refused,
        "{remote} could not store the commit{said}: its disk or its limits need a look.",
    ),
    # the network, or a server in trouble
    _Rule(
        "could not resolve host|name or service not known|temporary failure in name resolution|couldn't connect"
        "|failed to connect|connection (?:refused|reset|timed out|closed)|timed out|network is unreachable"
        "|no route to host|broken pipe|kex_exchange_identification|ssh_exchange_identification|early eof"
        r"|hung up|rpc failed|unexpected disconnect|returned error: (?:408|429|5\d\d)|empty reply|ssl_|gnutls"
        r"|internal server error|commit_refs|\(failure\)|remote failure|failed to report status|lost connection"
        "|operation too slow|bad line length character|transfer closed|could not read from remote repository",
        Unavailable,
        "{remote} cannot be reached{said}: check the network and its address, then try again.",
    ),
)
_COMPILED = tuple((re.compile(rule.pattern, re.IGNORECASE), rule) for rule in _RULES)


def clean(text: str) -> str:
    """Take out what must not reach a person or a log: credentials in URLs, escape sequences, control characters."""
    text = _ESCAPES.sub("", text.replace("\r", "\n"))
    return _CONTROL.sub("", _CREDENTIALS.sub("", text))


def last_line(text: str) -> str:
    """The line of git's that says most: the last one that starts with fatal or error, or else the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if line.lower().startswith(("fatal:", "error:", "ssh:"))]
    return _shorten((telling or lines or ["it gave no reason"])[-1])


def explain(failed: GitFailed, remote: str, branch: str) -> SluiceError:
    """Turn a failure into the error that says in one sentence what is wrong with `remote` and what to do.

    Gives `Moved` where another writer was first, and `Unavailable` where another attempt may do.
    """
    for pattern, rule in _COMPILED:
        if pattern.search(failed.text):
            said = _said(failed.text, pattern)
            where = {"remote": remote, "branch": branch, "said": f" ({said})" if said else ""}
            return rule.kind(rule.sentence.format(**where))
    return SluiceError(f"git failed on {remote} ({last_line(failed.text)}): try the same with git by hand.")


def _said(text: str, pattern: re.Pattern[str]) -> str:
    """The server's own words, or else the line that the rule went by."""
    lines = [line.strip() for line in text.splitlines()]
    told = [line.removeprefix("remote:").strip() for line in lines if line.startswith("remote:")]
    told = [line.removeprefix("GL-HOOK-ERR:").strip() for line in told]  # which GitLab takes off in its own pages
    told = [line for line in told if line and not _NOISE.match(line)]
    if told:
        return _shorten(" / ".join(told[:4]))
    return _shorten(next((line for line in lines if pattern.search(line)), ""))


def _shorten(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return text if len(text) <= _SAID_MAX else text[: _SAID_MAX - 1] + "…"
