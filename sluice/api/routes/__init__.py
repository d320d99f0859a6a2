"""The registry's routes. Each checks a role, calls the registry once, and answers."""

from __future__ import annotations

from sluice.api.routes import aliases, decisions, events, facts, lineage, models, moving, upkeep, uploads, versions

ROUTERS = tuple(
    module.router for module in (models, versions, facts, decisions, aliases, lineage, uploads, events, upkeep, moving)
)
