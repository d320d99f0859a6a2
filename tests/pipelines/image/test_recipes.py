"""What is remembered of layers: derived, safe to lose, and nobody else's business in the bucket."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from pipelines.image.oci import Layer
from pipelines.image.recipes import StoredRecipes
from registry import keys
from registry.audit import audit
from registry.errors import Conflict
from registry.facts import Source, SourceKind
from registry.memory import MemoryStore, etag_of
from registry.moving import move_model
from registry.progress import Silent
from registry.registry import Registry
from registry.storage import Storage

RECIPE = "1" * 64
LAYER = Layer(concern="weights", digest="sha256:" + "2" * 64, size=7, diff_id="sha256:" + "3" * 64)


@pytest.mark.parametrize(
    "other", [{"digest": LAYER.diff_id}, {"diff_id": LAYER.digest}, {"size": 8}, {"media_type": "application/x"}]
)
def test_what_is_kept_is_known_and_stays_what_it_was(other: dict[str, Any]) -> None:
    store = MemoryStore()
    recipes = StoredRecipes(store)
    assert recipes.known(RECIPE) is None
    recipes.keep(RECIPE, LAYER)
    recipes.keep(RECIPE, LAYER.model_copy(update={"concern": "code"}))
    with pytest.raises(
        Conflict, match=rf"^Of the same files .* delete layers/{RECIPE}\.json from the registry's bucket"
    ):
        recipes.keep(RECIPE, LAYER.model_copy(update=other))
    assert StoredRecipes(store).known(RECIPE) == LAYER
    assert list(store.list("")) == [keys.layer(RECIPE)] == [f"layers/{RECIPE}.json"]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"concern": "weights"}', LAYER.model_dump_json().encode()[:-1] + b',"x":1}']
)
def test_what_cannot_be_read_is_missing_and_is_mended(data: bytes) -> None:
    store = MemoryStore()
    store.create(keys.layer(RECIPE), data)
    recipes = StoredRecipes(store)
    assert recipes.known(RECIPE) is None
    recipes.keep(RECIPE, LAYER)
    assert recipes.known(RECIPE) == LAYER


def test_a_build_goes_on_where_recipes_were_lost(kit: Any, model: Any, base: Any, tmp_path: Any) -> None:
    one, store = model(), MemoryStore()
    images = kit.LayoutDestination(tmp_path / "images")
    first = one.build(base, images, StoredRecipes(store))
    told = {key: store.get(key) for key in store.list("layers/")}
    assert len(told) == 3
    again = MemoryStore()
    assert one.build(base, images, StoredRecipes(again)) == first
    assert {key: again.get(key) for key in again.list("layers/")} == told


def test_a_layer_that_comes_out_otherwise_than_before_is_told_and_no_image_named(
    kit: Any, model: Any, base: Any, tmp_path: Any
) -> None:
    one, store = model(), MemoryStore()
    one.build(base, kit.LayoutDestination(tmp_path / "images"), StoredRecipes(store))
    key = next(iter(store.list("layers/")))
    there = store.get(key)
    assert there is not None
    wrong = Layer.model_validate_json(there.data).model_copy(update={"digest": LAYER.digest, "diff_id": LAYER.digest})
    store.replace(key, wrong.model_dump_json().encode(), there.etag)
    elsewhere = kit.LayoutDestination(tmp_path / "elsewhere")
    with pytest.raises(Conflict, match=f"and {LAYER.digest} before: build with the release"):
        one.build(base, elsewhere, StoredRecipes(store))
    assert not (elsewhere.folder("fraud") / "index.json").exists()


def test_they_are_no_part_of_any_model() -> None:
    storage, there = Storage.memory(), Storage.memory()
    registry = Registry(storage)
    source = Source(kind=SourceKind.S3, uri="s3://training/model.tar.gz", etag=etag_of(bytes(12)), size=12)
    registry.register("fraud", source, actor="tests")
    StoredRecipes(storage.store).keep(RECIPE, LAYER)
    Registry(storage).rebuild()
    assert audit(storage, progress=Silent()).findings == ()
    registry.collect(actor="tests", grace=timedelta(hours=1), progress=Silent())
    assert StoredRecipes(storage.store).known(RECIPE) == LAYER
    move_model("fraud", storage, there, actor="tests", progress=Silent())
    assert list(there.store.list("layers/")) == []
