"""The messages that are written down as text, and the sieve that reads them out of streams of any size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.packagers.protos.define import define
from pipelines.packagers.protos.model_config import model_config
from pipelines.packagers.protos.onnx import onnx
from pipelines.packagers.protos.sieve import Sieve
from pipelines.packagers.protos.tensorflow import bundle, prediction_log, saved_model
from registry.errors import InvalidInput
from tests.pipelines.memory import traced

MIB = 1 << 20
WHOLE = define(
    "t",
    """
    enum Kind
      0 NONE
      1 SOME
    message Inner
      1 name string
      2 bulk bytes
      3 more Inner*
      4 number int64
    message Outer
      1 first Inner
      2 list Inner*
      3 skipped Inner
      4 map map string Inner
      5 kind Kind
      6 fixed fixed32
      7 real double
      8 numbers int32*
      9 bulk bytes*
      10 one string in choice
      11 other string in choice
    """,
)
PART = define(
    "t",
    """
    message Inner
      1 name string
      3 more Inner*
    message Outer
      1 first Inner
      2 list Inner*
      4 map map string Inner
      6 fixed fixed32
      7 real double
      8 numbers int32*
      10 one string in choice
    """,
)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)


@st.composite
def inners(draw: st.DrawFn, depth: int = 2) -> Any:
    inner = WHOLE["Inner"](name=draw(TEXTS), bulk=draw(st.binary(max_size=300)), number=draw(st.integers(-5, 5)))
    if depth:
        inner.more.extend(draw(st.lists(inners(depth - 1), max_size=2)))
    return inner


@st.composite
def outers(draw: st.DrawFn) -> Any:
    outer = WHOLE["Outer"](
        list=draw(st.lists(inners(), max_size=3)),
        kind=draw(st.sampled_from([0, 1])),
        fixed=draw(st.integers(0, 2**32 - 1)),
        real=draw(st.floats(allow_nan=False)),
        numbers=draw(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5)),
        bulk=draw(st.lists(st.binary(max_size=5000), max_size=2)),
    )
    for field in draw(st.sets(st.sampled_from(["first", "skipped"]))):
        getattr(outer, field).CopyFrom(draw(inners()))
    for key in draw(st.sets(TEXTS, max_size=3)):
        outer.map[key].CopyFrom(draw(inners(0)))
    choice = draw(st.sampled_from(["", "one", "other"]))
    if choice:
        setattr(outer, choice, draw(TEXTS))
    return outer


def sifted(data: bytes, kind: Any, step: int = MIB) -> Any:
    sieve = Sieve(kind, "a.pb")
    assert b"".join(sieve.watch(data[at : at + step] for at in range(0, len(data), step))) == data
    return sieve.message()


@given(outer=outers(), step=st.integers(1, 5000))
@settings(max_examples=200)
def test_a_sieve_keeps_just_what_the_class_knows(outer: Any, step: int) -> None:
    data = outer.SerializeToString()
    wanted = PART["Outer"].FromString(data)
    wanted.DiscardUnknownFields()
    found = sifted(data, PART["Outer"], step)
    assert found == wanted
    assert len(found.SerializeToString()) == len(wanted.SerializeToString())


@given(outer=outers(), data=st.data(), step=st.integers(1, 5000))
@settings(max_examples=300)
def test_whatever_comes_is_a_message_or_a_plain_error(outer: Any, data: st.DataObject, step: int) -> None:
    raw = bytearray(outer.SerializeToString())
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=8))
    try:
        sifted(bytes(raw), PART["Outer"], step)
    except InvalidInput as error:
        assert str(error).startswith("a.pb ")  # noqa: PT017  # either is right
        assert str(error).endswith(".")  # noqa: PT017


@pytest.mark.parametrize(
    "data",
    [
        b"\x00",  # field 0
        b"\x0b\x0c",  # a group
        b"\x0f",  # wire type 7
        b"\xff" * 30,  # no varint
        b"\x0a\x05\x0a\x09abc",  # a field that is longer than the message it is in
        b"\x0a\x02\x0a\x80\x01",  # a length that ends after the message it is in
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # a length of more than 64 bits
        b"\x0a\x03\x0a\x01\xff",  # a name that is no UTF-8
    ],
)
@pytest.mark.parametrize("step", [1, MIB])
def test_what_is_no_message_is_refused(data: bytes, step: int) -> None:
    with pytest.raises(InvalidInput, match=r"^a\.pb is (damaged, or is no Outer|cut short)"):
        sifted(data, PART["Outer"], step)


@pytest.mark.parametrize("data", [b"\x0a", b"\x0a\x03\x0a\x01", b"\x4a\x05abc", b"\x30", b"\x35\x01"])
def test_what_is_cut_short_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="cut short: copy it again"):
        sifted(data, PART["Outer"])


def test_a_message_that_nests_for_ever_is_refused() -> None:
    data = b""
    for _ in range(80):
        data = bytes([0x1A]) + varint(len(data)) + data
    with pytest.raises(InvalidInput, match="more parts than any model"):
        sifted(b"\x0a" + varint(len(data)) + data, PART["Outer"])


def test_a_description_that_is_too_large_is_refused_before_it_is_held() -> None:
    sieve = Sieve(PART["Outer"], "a.pb")
    with pytest.raises(InvalidInput, match="describes itself in more than"):
        sieve.feed(b"\x0a" + varint(1 << 31) + b"\x0a" + varint(1 << 30))


def test_many_small_fields_are_refused_before_they_take_the_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.packagers.protos.sieve._FIELDS_MAX", 1000)
    with pytest.raises(InvalidInput, match="more parts than any model"):
        sifted(b"\x78\x01" * 1001, PART["Outer"])


def test_bulk_passes_in_constant_memory() -> None:
    size = 256 * MIB

    def chunks() -> Iterator[bytes]:
        yield b"\x0a\x03\x0a\x01a" + b"\x4a" + varint(size)
        piece = bytes(MIB)
        for _ in range(size // MIB):
            yield piece
        yield b"\x12\x03\x0a\x01b"

    sieve = Sieve(PART["Outer"], "a.pb")
    with traced() as peak:
        passed = sum(map(len, sieve.watch(chunks())))
    message = sieve.message()
    assert passed > size
    assert (message.first.name, message.list[0].name) == ("a", "b")
    assert peak.size < 8 * MIB


def test_only_one_of_a_group_can_be_set() -> None:
    outer = WHOLE["Outer"](one="a")
    outer.other = "b"
    assert outer.WhichOneof("choice") == "other"


@pytest.mark.parametrize("classes", [saved_model, bundle, prediction_log, onnx, model_config])
def test_classes_are_made_once(classes: Any) -> None:
    assert classes() is classes()
    assert all(kind().SerializeToString() == b"" for kind in classes().values())


def test_a_config_is_read_as_text_and_written_as_text() -> None:
    told = 'name: "a"\nparameters { key: "k" value: { string_value: "v" } }\ninstance_group [ { kind: KIND_CPU } ]'
    config = text_format.Parse(told, model_config()["ModelConfig"]())
    assert (config.parameters["k"].string_value, config.instance_group[0].kind) == ("v", 2)
    assert text_format.Parse(text_format.MessageToString(config), model_config()["ModelConfig"]()) == config


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))
