"""Remembering layers and bases that were made, so that none is made again only to find out its digest."""

from __future__ import annotations

from contextlib import suppress

from pydantic import BaseModel, ValidationError

from pipelines.image.canonical import canonical
from pipelines.image.oci import Layer
from registry import keys
from registry.errors import Conflict
from registry.names import Digest, check_digest
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
        """Remember what a plan made; one request.

        Raises:
            Conflict: another layer is remembered.
        """
        key, data = keys.layer(recipe), canonical(layer.model_dump(mode="json"))
        try:
            self._store.create(key, data)
        except AlreadyExists as there:
            before = _read(there.stored)
            if before is None:
                with suppress(Changed):
                    self._store.replace(key, data, there.stored.etag)
            elif before.model_copy(update={"concern": layer.concern}) != layer:
                raise Conflict(
                    f"Of the same files a layer {layer.digest} was made, and {before.digest} before: build with the"
                    f" release of Sluice that built before, or delete {key} from the registry's bucket if it is wrong."
                ) from None


class StoredBases:
    """Extended bases in the registry's bucket, the digest of each by its recipe.

    Not looked for by their tag: whoever may push to the registry of images could name one of theirs so.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def known(self, recipe: str) -> str | None:
        """The digest of the base that was made of a recipe, or None; one request."""
        stored = self._store.get(keys.base(recipe))
        return None if stored is None else _digest(stored)

    def keep(self, recipe: str, digest: str, *, instead: str | None) -> str:
        """Remember a base in place of `instead`, which was found to be gone, and give the one that counts.

        Of two builders that were at it at once the first one's counts.
        """
        key, data = keys.base(recipe), canonical({"digest": check_digest(digest)})
        try:
            self._store.create(key, data)
        except AlreadyExists as there:
            before = _digest(there.stored)
            if before is not None and before != instead:
                return before
            with suppress(Changed):
                self._store.replace(key, data, there.stored.etag)
        return digest


class _Base(BaseModel):
    digest: Digest


def _digest(stored: Stored) -> str | None:
    with suppress(ValidationError):
        return _Base.model_validate_json(stored.data).digest
    return None


def _read(stored: Stored) -> Layer | None:
    with suppress(ValidationError):
        return Layer.model_validate_json(stored.data)
    return None
