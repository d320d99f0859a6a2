"""A forge for a git remote: its client, with the token that the environment has for it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from gitops.forges.answers import Asked
from gitops.forges.base import Forge
from gitops.forges.place import ForgeKind, Place
from registry.errors import InvalidInput, Refused

if TYPE_CHECKING:
    from registry.aws import Clients

_TOKENS = {ForgeKind.GITHUB: ("GITHUB_TOKEN", "GH_TOKEN"), ForgeKind.GITLAB: ("GITLAB_TOKEN",)}


def open_forge(
    place: Place,
    base: str,
    *,
    environ: Mapping[str, str] = os.environ,
    clients: Callable[[str | None], Clients] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Forge:
    """The forge at `place`, for requests to merge to the branch `base`. Nothing is asked of it yet.

    Tokens come from GITHUB_TOKEN or GH_TOKEN, and GITLAB_TOKEN; at CodeCommit the AWS environment has credentials, and
    `clients` makes clients for a region.

    Raises:
        Refused: there is no token.
        InvalidInput: the library for the forge is not installed, the token cannot be one, or the profile in a
            CodeCommit address is not the one that AWS_PROFILE names.
    """
    if place.kind is ForgeKind.CODECOMMIT:
        return _codecommit(place, base, environ, clients)
    variable = next((name for name in _TOKENS[place.kind] if environ.get(name)), None)
    if variable is None:
        names = " or ".join(_TOKENS[place.kind])
        raise Refused(f"There is no token for {place.project} at its forge: set {names}.")
    token = environ[variable].strip()
    if not token.isascii() or not token.isprintable() or not token or " " in token:
        raise InvalidInput(f"{variable} holds no token: set it to the token alone, in one line.")
    try:
        if place.kind is ForgeKind.GITLAB:
            from gitops.forges import gitlab

            asked = Asked(gitlab.GitLab.name, place.project, variable, token, gitlab.PERMISSION)
            return gitlab.GitLab(place.api, asked, base, sleep)
        from gitops.forges import github

        asked = Asked(github.GitHub.name, place.project, variable, token, github.PERMISSION)
        return github.GitHub(place.api, asked, base, sleep)
    except ImportError as error:
        raise InvalidInput(
            f"Pull requests need a library that is not installed ({error.name}): pip install 'sluicegate[forges]'."
        ) from error


def _codecommit(
    place: Place, base: str, environ: Mapping[str, str], clients: Callable[[str | None], Clients] | None
) -> Forge:
    from gitops.forges.codecommit import CodeCommit

    if place.profile and environ.get("AWS_PROFILE") != place.profile:
        raise InvalidInput(
            f"The remote's address names the AWS profile {place.profile[:80]}: set AWS_PROFILE to it as well."
        )
    if clients is None:
        from registry.aws import Clients

        clients = Clients
    made = clients(place.region or None)
    return CodeCommit(made.codecommit(), made.region, place.project, base)
