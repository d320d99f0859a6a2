from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from registry import keys
from registry.errors import InvalidInput, Refused
from registry.names import VersionRef

NUMBERS = st.integers(1, 9_999_999_999)
DIGEST = "sha256:" + "0f" * 32


def ref(number: int, model: str = "fraud") -> VersionRef:
    return VersionRef(model=model, number=number)


@given(NUMBERS, st.sampled_from(["scan", "artifact", "image"]))
@example(1, "scan")
@example(9_999_999_999, "image")
def test_a_versions_keys_say_its_number(number: int, kind: str) -> None:
    folder = keys.version_folder(ref(number))
    assert folder.startswith(keys.versions("fraud"))
    for key in (keys.version(ref(number)), keys.fact(ref(number), kind)):
        assert key.startswith(folder)
        assert keys.number_of(key) == number


@given(st.sets(NUMBERS, min_size=2))
@example({1, 2, 9, 10, 99, 100, 9_999_999_998, 9_999_999_999})
def test_a_plain_listing_is_newest_first(numbers: set[int]) -> None:
    listed = sorted((keys.version(ref(number)) for number in numbers), key=str.encode)
    assert [keys.number_of(key) for key in listed] == sorted(numbers, reverse=True)
    facts = sorted((keys.fact(ref(n), kind) for n in numbers for kind in ("scan", "version")), key=str.encode)
    assert [keys.number_of(key) for key in facts] == [n for n in sorted(numbers, reverse=True) for _ in range(2)]


@given(st.sets(NUMBERS, min_size=2, max_size=20))
def test_no_versions_folder_begins_with_anothers_name(numbers: set[int]) -> None:
    """A store that keeps folders orders those otherwise than bytes do."""
    names = [keys.version_folder(ref(number)).rstrip("/") for number in numbers]
    assert not [1 for one in names for other in names if one != other and other.startswith(one)]


def test_the_keys_are_those_of_the_documentation() -> None:
    assert keys.model("fraud") == "models/fraud/model.json"
    assert keys.version(ref(7)) == "models/fraud/versions/9999999992-7/version.json"
    assert keys.fact(ref(7), "scan") == "models/fraud/versions/9999999992-7/scan.json"
    assert keys.blob(DIGEST) == "blobs/sha256/" + "0f" * 32
    assert keys.source("fraud", "a").startswith("models/fraud/sources/ca978112ca1bbdcafac231b39a23dc4d")


@pytest.mark.parametrize(
    "key",
    [
        "models/fraud/versions/9999999998-2/version.json",
        "models/fraud/versions/9999999998-1",
        "models/fraud/versions/9999999998-1/",
        "models/fraud/versions/9999999998-01/version.json",
        "models/fraud/versions/9999999999-0/version.json",
        "models/fraud/versions/999999998-1/version.json",
        "models/fraud/versions/latest/version.json",
        "models/fraud/versions/.DS_Store",
        "models/fraud/model.json",
        "x/models/fraud/versions/9999999998-1/version.json",
        "",
    ],
)
def test_a_foreign_key_is_named(key: str) -> None:
    with pytest.raises(Refused, match="was not written by Sluice: remove it") as caught:
        keys.number_of(key)
    assert key in str(caught.value)


@given(st.text())
def test_no_other_exception_comes_of_a_key(key: str) -> None:
    with pytest.raises(Refused):
        keys.number_of(key)
    with pytest.raises(Refused):
        keys.number_of(f"models/fraud/versions/{key}")


@given(st.text("./abAB%\0", min_size=1, max_size=8).filter(lambda name: set(name) - set("ab")))
def test_no_hostile_name_gets_into_a_key(name: str) -> None:
    for make in (keys.model, keys.versions, lambda model: keys.source(model, "x")):
        with pytest.raises(InvalidInput):
            make(name)
    with pytest.raises(InvalidInput):
        keys.blob(name)


@given(st.lists(st.text(), min_size=2, max_size=2, unique=True))
def test_two_sources_have_two_keys(identities: list[str]) -> None:
    assert len({keys.source("fraud", identity) for identity in identities}) == 2
