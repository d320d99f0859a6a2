"""Who may release to an environment."""

from __future__ import annotations

from gitops.config import Environment
from gitops.config.policy import ROLE
from registry.errors import Refused
from registry.roles import Role


def ensure_releaser(environment: Environment, requested_by: str, role: Role) -> None:
    """Let pass who may release to the environment, before anything is built for it.

    Raises:
        Refused: they may not.
    """
    if not may_release(environment, requested_by, role):
        raise Refused(f"{not_allowed(environment, requested_by, role)}: {ask_one(environment)}.")


def may_release(environment: Environment, actor: str, role: Role) -> bool:
    """Whether the environment's file lets the actor release, by name or by the role that they act in."""
    who = address(actor)
    return not environment.releasers or any(_is(releaser, who, role) for releaser in environment.releasers)


def not_allowed(environment: Environment, actor: str, role: Role) -> str:
    """That they may not, in words."""
    return f"{address(actor)}, who acts as {role.value}, may not release to {environment.name}"


def ask_one(environment: Environment) -> str:
    """Whom to ask instead."""
    more = " …" if len(environment.releasers) > 5 else ""
    return f"ask one of {', '.join(environment.releasers[:5])}{more}"


def address(actor: str) -> str:
    """The address in `Name <address>`, for a name can be anything; else all of it."""
    _, opened, rest = actor.strip().rpartition("<")
    inside = rest.removesuffix(">").strip()
    return inside if opened and rest.endswith(">") and inside else actor.strip()


def _is(releaser: str, who: str, role: Role) -> bool:
    if releaser.startswith(ROLE):
        return role.allows(Role(releaser.removeprefix(ROLE)))
    return _fits(releaser.lower(), who.lower())


def _fits(pattern: str, text: str) -> bool:
    """Whether `text` is `pattern` with any text in place of each `*`; no other sign is special, as in `ci[bot]`."""
    first, *rest = pattern.split("*")
    if not rest:
        return text == first
    *middle, last = rest
    at, end = len(first), len(text) - len(last)
    if at > end or not text.startswith(first) or not text.endswith(last):
        return False
    for part in middle:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
