from __future__ import annotations

from datetime import UTC, datetime, timedelta

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
    assert keys.entry(ref(number)).startswith(keys.log("fraud"))
    assert keys.number_of(keys.entry(ref(number))) == number
    for key in (keys.fact(ref(number), kind), keys.decision(ref(number), 1)):
        assert key.startswith(folder)
        assert keys.number_of(key) == number


@given(st.sets(NUMBERS, min_size=2))
@example({1, 2, 9, 10, 99, 100, 9_999_999_998, 9_999_999_999})
def test_a_plain_listing_is_newest_first(numbers: set[int]) -> None:
    listed = sorted((keys.entry(ref(number)) for number in numbers), key=str.encode)
    assert [keys.number_of(key) for key in listed] == sorted(numbers, reverse=True)
    facts = sorted((keys.fact(ref(n), kind) for n in numbers for kind in ("scan", "image")), key=str.encode)
    assert [keys.number_of(key) for key in facts] == [n for n in sorted(numbers, reverse=True) for _ in range(2)]


@given(st.sets(st.integers(1, 999_998), min_size=2))
@example({1, 2, 9, 10, 99, 100, 999_998, 999_999})
def test_the_last_decision_is_listed_first(sequences: set[int]) -> None:
    listed = sorted((keys.decision(ref(7), sequence) for sequence in sequences), key=str.encode)
    assert listed == [keys.decision(ref(7), sequence) for sequence in sorted(sequences, reverse=True)]
    assert all(key.startswith(keys.decisions(ref(7))) for key in listed)


def test_there_is_an_end_to_decisions() -> None:
    assert keys.decision(ref(7), 999_999) == "models/fraud/versions/9999999992-7/decisions/000000-999999.json"
    with pytest.raises(Refused, match="register a new version"):
        keys.decision(ref(7), 1_000_000)


MOMENTS = st.builds(
    lambda micros, zone: (datetime.fromtimestamp(0, UTC) + timedelta(microseconds=micros)).astimezone(zone),
    st.integers(0, 250_000_000_000_000_000),
    st.timezones() | st.just(UTC),
)
EVENT_KEYS = st.builds(
    keys.EventKey,
    time=MOMENTS.map(keys.event_time),
    token=st.text("abcXYZ019_-", min_size=1, max_size=64),
    model=st.from_regex(r"[a-z](-?[a-z0-9]){0,19}", fullmatch=True),
    first=NUMBERS,
    last=st.just(0),
    kind=st.sampled_from(["registered", "scan", "sign-off", "deleted", "aliased"]),
)


@given(EVENT_KEYS, st.integers(0, 63))
def test_an_events_key_reads_as_it_is_written(key: keys.EventKey, more: int) -> None:
    key = key._replace(last=min(key.first + more, 9_999_999_999))
    assert keys.EventKey.parse(str(key)) == key
    of_none = key._replace(first=0, last=0)
    assert keys.EventKey.parse(str(of_none)) == of_none


@given(MOMENTS, MOMENTS)
def test_events_are_listed_in_order_of_time(one: datetime, other: datetime) -> None:
    assert (keys.event_time(one) < keys.event_time(other)) == (one.astimezone(UTC) < other.astimezone(UTC))


EVENT = "events/20261125T093012.123456Z.0f.fraud.7-9.scan.json"


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        ("7-9", "9-7"),  # backwards
        ("7-9", "7-71"),  # more than an entry holds
        ("7-9", "1-9999999999"),
        ("7-9", "1-" + "9" * 400),
        ("7-9", "07-9"),
        ("7-9", "7"),
        ("fraud", "-fraud"),
        ("fraud", "a--b"),
        ("fraud", "x" * 41),
        ("fraud", "Fraud"),
        ("fraud", "a/b"),
        ("0f", ""),
        ("0f", "x" * 65),
        ("123456Z", "123Z"),
        ("scan", "Scan"),
        (".json", ".json.bak"),
        (".json", ".json\n"),
        ("events/", "event/"),
        ("events/", "x/events/"),
    ],
)
def test_what_is_no_events_key_is_passed_by(there: str, instead: str) -> None:
    assert keys.EventKey.parse(EVENT)
    assert keys.EventKey.parse(EVENT.replace(there, instead, 1)) is None


@given(st.text().map("events/".__add__) | st.text("0123456789TZ.-abz/", max_size=80).map("events/".__add__))
def test_whatever_is_listed_among_events_is_read_or_passed_by(key: str) -> None:
    assert keys.EventKey.parse(key) is None or str(keys.EventKey.parse(key)) == key


@pytest.mark.parametrize(
    "folder", ["models/Not A Model/", "models//", "models/a--b/", "models/../", "models/" + "x" * 41]
)
def test_others_folders_are_no_models(folder: str) -> None:
    assert keys.model_of("models/fraud-v2/") == "fraud-v2"
    assert keys.model_of(folder) is None


@given(st.sets(NUMBERS, min_size=2, max_size=20))
def test_no_versions_folder_begins_with_anothers_name(numbers: set[int]) -> None:
    """A store that keeps folders orders those otherwise than bytes do."""
    names = [keys.version_folder(ref(number)).rstrip("/") for number in numbers]
    assert not [1 for one in names for other in names if one != other and other.startswith(one)]


def test_the_keys_are_those_of_the_documentation() -> None:
    assert keys.model("fraud") == "models/fraud/model.json"
    assert keys.entry(ref(7)) == "models/fraud/log/9999999992-7.json"
    assert keys.decision(ref(7), 2) == "models/fraud/versions/9999999992-7/decisions/999997-2.json"
    assert keys.alias("fraud", "champion") == "models/fraud/aliases/champion.json"
    assert keys.archive("fraud", "champion", 100) == "models/fraud/moves/champion/0000000100.json"
    assert keys.segment("fraud", 3) == "models/fraud/index/0000003.jsonl"
    assert (keys.CATALOG, keys.SWEEP, keys.MARKER) == ("index/models.jsonl", "sweep.json", "sluice.json")
    assert (keys.output("0f"), keys.upload("0f")) == ("outputs/0f", "uploads/0f")
    assert keys.fact(ref(7), "scan") == "models/fraud/versions/9999999992-7/scan.json"
    assert keys.blob(DIGEST) == "blobs/sha256/" + "0f" * 32
    assert keys.source("fraud", "a").startswith("models/fraud/sources/ca978112ca1bbdcafac231b39a23dc4d")


@pytest.mark.parametrize(
    "key",
    [
        "models/fraud/versions/9999999998-2/scan.json",
        "models/fraud/log/9999999998-2.json",
        "models/fraud/log/9999999998-1",
        "models/fraud/log/9999999998-1.json.bak",
        "models/fraud/log/9999999998-01.json",
        "models/fraud/index/9999999998-1.json",
        "models/fraud/versions/9999999998-1",
        "models/fraud/versions/9999999998-1/",
        "models/fraud/versions/9999999998-01/scan.json",
        "models/fraud/versions/9999999999-0/scan.json",
        "models/fraud/versions/999999998-1/scan.json",
        "models/fraud/versions/latest/scan.json",
        "models/fraud/versions/.DS_Store",
        "models/fraud/model.json",
        "x/models/fraud/versions/9999999998-1/scan.json",
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
    with pytest.raises(Refused):
        keys.number_of(f"models/fraud/log/{key}")


@given(st.text("./abAB%\0", min_size=1, max_size=8).filter(lambda name: set(name) - set("ab")))
def test_no_hostile_name_gets_into_a_key(name: str) -> None:
    for make in (keys.model, keys.versions, keys.log, keys.aliases, lambda model: keys.source(model, "x")):
        with pytest.raises(InvalidInput):
            make(name)
    for make in (lambda alias: keys.alias("fraud", alias), lambda alias: keys.archive("fraud", alias, 0)):
        with pytest.raises(InvalidInput):
            make(name)
    with pytest.raises(InvalidInput):
        keys.blob(name)


@given(st.lists(st.text(), min_size=2, max_size=2, unique=True))
def test_two_sources_have_two_keys(identities: list[str]) -> None:
    assert len({keys.source("fraud", identity) for identity in identities}) == 2
