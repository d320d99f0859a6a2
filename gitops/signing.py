"""Signing commits with a person's or a pipeline's key, as git does it: gitformat-signature, and `gpg.format` in
git-config.

`git fast-import` signs nothing, so that the same commit is made once more by `git commit-tree -S`, of the
same tree, parent, times and words. Whatever git starts to sign is without a terminal: a key with a passphrase has to be
in ssh-agent or gpg-agent, or the commit is refused before anything is pushed.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, field_validator

from gitops.git_errors import GitFailed
from registry.errors import InvalidInput, Refused

if TYPE_CHECKING:
    from gitops.git import Runner
    from gitops.snapshot import Commit

_LITERAL = ("key::", "ssh-", "ecdsa-", "sk-")  # public keys themselves, whose other half an agent has
# ssh-keygen asks this program in place of a terminal, and it gives no answer (ssh(1), "ENVIRONMENT")
_NOBODY = {"SSH_ASKPASS": "false", "SSH_ASKPASS_REQUIRE": "force", "GPG_TTY": ""}


class SignatureFormat(StrEnum):
    """What makes the signature."""

    SSH = "ssh"
    OPENPGP = "openpgp"


class CommitSigning(BaseModel):
    """Which key signs commits; none where `key` is empty."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: SignatureFormat = SignatureFormat.SSH
    key: str = Field(default="", description="ssh: a key's file; openpgp: a key's id or address")

    @field_validator("key")
    @classmethod
    def _one_value(cls, key: str) -> str:
        if key.startswith("-") or not (key.isprintable() or not key):
            raise ValueError("a file, or a key's id, in one line is needed")
        return key

    @property
    def file(self) -> Path | None:
        """The key's file, where that is what it is."""
        if not self.key or self.format is SignatureFormat.OPENPGP or self.key.startswith(_LITERAL):
            return None
        return Path(self.key).expanduser()

    def sign(self, git: Runner, commit: Commit) -> str:
        """Give the id of the same commit with a signature; its own where no key is set.

        Raises:
            InvalidInput: the key's file is not there.
            Refused: git cannot sign with the key.
        """
        if not self.key:
            return commit.id
        if self.file is not None and not self.file.is_file():
            raise InvalidInput(f"There is no key {self.file} to sign commits with: correct `commit_signing.key`.")
        key = str(self.file or self.key)
        settings = (f"gpg.format={self.format}", f"user.signingKey={key}", "i18n.commitEncoding=UTF-8")
        options = [part for setting in settings for part in ("-c", setting)]
        parents = [part for parent in commit.parents for part in ("-p", parent)]
        when = f"@{int(commit.time.timestamp())} +0000"
        who = {
            f"GIT_{role}_{what}": value
            for role in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", commit.author), ("EMAIL", commit.email), ("DATE", when))
        }
        command = ("commit-tree", "-S", commit.tree, *parents)
        try:
            out = git.detached(*options, *command, stdin=commit.message.encode(), env=who | _NOBODY)
        except GitFailed as failed:
            raise Refused(
                f"The commit cannot be signed with the {self.format} key {self.key[:80]} ({_reason(failed)}): put it"
                " into the agent if it has a passphrase, or correct `commit_signing`."
            ) from None
        return out.decode().strip()


UNSIGNED = CommitSigning()


def _reason(failed: GitFailed) -> str:
    said = " / ".join(line.strip().removeprefix("error: ") for line in failed.text.splitlines() if line.strip())
    return said[:200].rstrip(" .:?") or "it gives no reason"
