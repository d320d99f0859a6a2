"""Whether commits are signed, and by whom: what `git log` says of each ("%G?" in git-log, "PRETTY FORMATS")."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from gitops.git_errors import GitFailed
from registry.errors import InvalidInput, SluiceError

if TYPE_CHECKING:
    from gitops.git import Runner

_SETTINGS = ("log.showSignature=false", "log.mailmap=false", "color.ui=false")
_SIGNERS = "gpg.ssh.allowedSignersFile"
_FORMAT = "--format=tformat:%H%x09%G?%x09%GK%x09%GS"


class Verdict(StrEnum):
    """What a signature is worth here."""

    GOOD = "good"
    """Made by a key that is trusted."""
    BAD = "bad"
    """The commit is not what was signed, or the key was revoked."""
    UNKNOWN = "unknown"
    """Made by a key that is not known or not trusted here, or that has expired."""
    UNSIGNED = "unsigned"


class Signature(BaseModel):
    """What is known of one commit's signature."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Verdict
    key: str = ""
    signer: str = ""


_VERDICTS = {"G": Verdict.GOOD, "B": Verdict.BAD, "R": Verdict.BAD, "N": Verdict.UNSIGNED}


def verify(git: Runner, ids: Sequence[str], allowed_signers: Path | None = None) -> Mapping[str, Signature]:
    """Look at the signatures of some commits, by id.

    `allowed_signers` says whose ssh keys are trusted (ssh-keygen, "ALLOWED SIGNERS"); by default git's own setting
    `gpg.ssh.allowedSignersFile` does. The keys of OpenPGP that count are those that gpg trusts here.

    Raises:
        InvalidInput: the file is not there.
        SluiceError: git cannot say.
    """
    if allowed_signers is not None and not allowed_signers.is_file():
        raise InvalidInput(f"There is no file {allowed_signers} of allowed signers: correct --allowed-signers.")
    if not ids:
        return {}
    options = [part for setting in (*_SETTINGS, *_signers(git, allowed_signers)) for part in ("-c", setting)]
    asked = "".join(f"{one}\n" for one in ids).encode()
    out = git.detached(
        *options, "log", "--no-walk=unsorted", "--encoding=UTF-8", "--stdin", _FORMAT, stdin=asked, env={}
    )
    found = {}
    for line in out.decode("utf-8", "replace").splitlines():
        commit_id, letter, key, signer = line.split("\t", 3)
        found[commit_id] = Signature(verdict=_VERDICTS.get(letter, Verdict.UNKNOWN), key=key, signer=signer)
    if missing := set(ids) - set(found):
        raise SluiceError(f"git says nothing of the signature of {min(missing)}: try `git verify-commit` by hand.")
    return found


def _signers(git: Runner, allowed: Path | None) -> tuple[str, ...]:
    """Whose ssh keys count. Without any such file git calls what ssh signed unsigned, and with an empty one unknown."""
    try:
        git.plainly("config", "--get", _SIGNERS)
    except GitFailed:
        return (f"{_SIGNERS}={(allowed or Path(os.devnull)).absolute()}",)
    return (f"{_SIGNERS}={allowed.absolute()}",) if allowed else ()
