"""Who asks, and what they may do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from registry.errors import Refused
from registry.roles import Role
from sluice.api.config import Grant

EVERY_MODEL = "*"


class Forbidden(Refused):
    """Whoever asks has no role that allows it; another one might."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, with the grants that are theirs."""

    actor: str
    """As records name them: a person's name or address, `token:ci`, or the settings' actor."""
    grants: tuple[Grant, ...] = ()

    def role(self, model: str) -> Role | None:
        """The highest role on `model`; on `*`, the one on every model there is or will be."""
        if model == EVERY_MODEL:
            roles = [grant.role for grant in self.grants if grant.models == EVERY_MODEL]
        else:
            roles = [grant.role for grant in self.grants if fnmatchcase(model, grant.models)]
        return max(roles, key=list(Role).index, default=None)

    def may(self, needed: Role, model: str) -> bool:
        """Whether they may do on `model` what takes this role."""
        role = self.role(model)
        return role is not None and role.allows(needed)

    def may_somewhere(self, needed: Role) -> bool:
        """Whether they may do on some model what takes this role."""
        return any(grant.role.allows(needed) for grant in self.grants)

    def check(self, needed: Role, model: str) -> None:
        """Let them do on `model` what takes this role.

        Raises:
            Forbidden: they may not.
        """
        if not self.may(needed, model):
            where = "every model" if model == EVERY_MODEL else model
            raise Forbidden(
                f"{self.actor} is no {needed.value} of {where}: ask for a grant in the server's settings, serve.grants."
            )

    def check_somewhere(self, needed: Role) -> None:
        """Let them do what takes this role on one model at least.

        Raises:
            Forbidden: they have it on none.
        """
        if not self.may_somewhere(needed):
            raise Forbidden(
                f"{self.actor} is no {needed.value} of any model: ask for a grant in the server's settings,"
                " serve.grants."
            )


def everything(actor: str) -> Principal:
    """Someone who may do everything: whoever reaches a server on loopback that asks nobody who they are."""
    return Principal(actor, (Grant(who="*", role=Role.ADMIN),))


def principal(actor: str, names: frozenset[str], grants: Sequence[Grant]) -> Principal:
    """Whoever goes by `names` (`user:…`, `group:…`, `token:…`), with those of `grants` that are theirs."""
    return Principal(actor, tuple(grant for grant in grants if grant.who == "*" or grant.who in names))
