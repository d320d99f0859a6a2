"""What a person or a machine may do: four roles, each allowed all that the one before it is."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """A viewer reads, a releaser registers and moves aliases, an approver decides, an admin deletes and protects."""

    VIEWER = "viewer"
    RELEASER = "releaser"
    APPROVER = "approver"
    ADMIN = "admin"

    def allows(self, needed: Role) -> bool:
        """Whether whoever has this role may do what `needed` may."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(needed)
