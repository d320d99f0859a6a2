from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.compare import compare
from registry.errors import InvalidInput, NotFound
from registry.facts import Facts, Source, Version
from registry.memory import MemoryBytes, MemoryStore
from registry.names import VersionRef
from registry.registry import Registry

Makes = Callable[..., Registry]


def ref(number: int) -> VersionRef:
    return VersionRef(model="fraud", number=number)


@pytest.fixture
def registry(on: Makes, source: Callable[..., Source], place: MemoryBytes) -> Registry:
    registry = on(MemoryStore())
    said = [
        ({"auc": 0.9, "loss": 0.5}, {"lr": "0.1", "depth": "3"}),
        ({"auc": 0.95, "loss": 0.75, "f1": 0.5}, {"lr": "0.2", "depth": "3"}),
        ({"loss": 0.25}, {"depth": "3", "seed": "7"}),
    ]
    for n, (metrics, parameters) in enumerate(said, start=1):
        made = source(f"j{n}", metrics=metrics, hyperparameters=parameters)
        registry.register("fraud", made, actor="ann", git_commit=f"c{n}")
    return registry


def test_versions_are_measured_against_the_first(registry: Registry) -> None:
    found = registry.compare([ref(1), ref(2), ref(3)])
    assert [one.ref for one in found.versions] == [ref(1), ref(2), ref(3)]
    assert [one.git_commit for one in found.versions] == ["c1", "c2", "c3"]
    assert [(one.state, one.source_size, one.artifact_size) for one in found.versions] == [("registered", 12, None)] * 3
    assert list(found.metrics) == ["auc", "f1", "loss"]
    assert found.metrics["loss"].values == (0.5, 0.75, 0.25)
    assert found.metrics["loss"].deltas == (0.0, 0.25, -0.25)
    assert found.metrics["auc"].deltas == (0.0, pytest.approx(0.05), None)
    assert found.metrics["f1"].deltas == (None, None, None)
    assert found.hyperparameters == {"lr": ("0.1", "0.2", None), "seed": (None, None, "7")}
    assert found.same == 1
    back = registry.compare([ref(2), ref(1)])
    assert back.metrics["loss"].deltas == (0.0, -0.25)


def test_two_to_twenty_can_be_compared(registry: Registry) -> None:
    for refs in ([], [ref(1)], [ref(1)] * 21):
        with pytest.raises(InvalidInput, match=rf"^2 to 20 versions can be compared, not {len(refs)}: name"):
            registry.compare(refs)
    assert len(registry.compare([ref(1)] * 20).versions) == 20
    with pytest.raises(NotFound):
        registry.compare([ref(1), ref(9)])


FLOATS = st.dictionaries(st.sampled_from("abc"), st.floats(), max_size=3)


@given(st.lists(FLOATS, min_size=2, max_size=4))
def test_any_numbers_can_be_compared_and_written_down(given: list[dict[str, float]]) -> None:
    version = Version.model_validate(
        {"model": "m", "number": 1, "source": {"uri": "u", "size": 1}, "created_at": 0, "created_by": "a"}
    )
    found = compare([(version.model_copy(update={"metrics": one}), Facts()) for one in given])
    assert found.to_bytes()
    for name, metric in found.metrics.items():
        assert len(metric.values) == len(metric.deltas) == len(given)
        for one, delta in zip(given, metric.deltas, strict=True):
            if name in one and name in given[0] and not math.isnan(one[name] - given[0][name]):
                assert delta == one[name] - given[0][name]
            else:
                assert delta is None
