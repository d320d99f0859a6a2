"""Remembering layers that were made, so that none is made again only to find out its digest."""

from __future__ import annotations

from contextlib import suppress

from pydantic import ValidationError

from pipelines.image.canonical import canonical
from pipelines.image.oci import Layer
from registry import keys
from registry.store import AlreadyExists, Changed, Store, Stored


class StoredRecipes:
    """Recipes in the registry's bucket, an object each, written once; one that cannot be read counts as missing."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def known(self, recipe: str) -> Layer | None:
        """The layer that a plan made, or None; one request."""
        stored = self._store.get(keys.layer(recipe))
        return None if stored is None else _read(stored)

    def keep(self, recipe: str, layer: Layer) -> None:
        """Remember what a plan made; one request."""
        key, data = keys.layer(recipe), canonical(layer.model_dump(mode="json"))
        try:
            self._store.create(key, data)
        except AlreadyExists as there:
            if _read(there.stored) is None:
                with suppress(Changed):
                    self._store.replace(key, data, there.stored.etag)


def _read(stored: Stored) -> Layer | None:
    with suppress(ValidationError):
        return Layer.model_validate_json(stored.data)
    return None
