"""Forges: hosts of git repositories that take pull requests, behind one small protocol.

What a forge makes of the commit when it merges decides whether Sluice knows its own commit again, for it reads the
trailers in the last paragraph of the commit's message (`gitops.history`). What to set:

- GitHub: merge commits, or rebase merging, which keep the message as it is. Where squash merging is allowed, let its
  default message be "Default message" (`COMMIT_OR_PR_TITLE`, `COMMIT_MESSAGES`), never "pull request title and
  description"; and know that GitHub adds a paragraph `Co-authored-by` below the trailers where somebody else opened
  the request than wrote the commit (GitHub Docs, "Configuring commit squashing for pull requests").
- GitLab: a merge commit, a semi-linear history or fast-forward merges. Where requests are squashed, set the template
  for squash commit messages to `%{first_multiline_commit}`: by default only the request's title is left (GitLab Docs,
  "Commit message templates").
- CodeCommit: fast-forward, or a three-way merge. A squash merge has the message that whoever merges types, and so has
  to get the one of the commit (AWS CodeCommit User Guide, "Merge a pull request").

A merged request's branch is of no more use: GitLab deletes it, GitHub where "Automatically delete head branches" is on.
A signed commit keeps its signature only in a merge commit and a fast-forward.

Whatever the forge: let nobody push to the branch that Argo CD follows where each release is to have a request.
"""

from gitops.forges.base import LOOKED_AT, Draft, Forge, Matches, Request, State
from gitops.forges.opening import open_forge
from gitops.forges.place import ForgeKind, ForgeSettings, Place, locate

__all__ = [
    "LOOKED_AT",
    "Draft",
    "Forge",
    "ForgeKind",
    "ForgeSettings",
    "Matches",
    "Place",
    "Request",
    "State",
    "locate",
    "open_forge",
]
