"""The registry over HTTP: `RegistryClient`, with the methods of `registry.registry.Registry`."""

from __future__ import annotations

from registry.client.client import RegistryClient, SweptJob

__all__ = ["RegistryClient", "SweptJob"]
