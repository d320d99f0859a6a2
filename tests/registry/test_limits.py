from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from registry import limits
from registry.limits import (
    Actor,
    Description,
    Line,
    Link,
    Links,
    Metrics,
    Parameters,
    Tags,
    Token,
    no_controls,
    one_line,
)


def fits(kind: Any, value: object) -> bool:
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


CONTROLS = ["\n", "\r", "\0", "\x1b[31m", "\x7f", "\x85", "\u2028", "\u2029", "\ud800"]


@pytest.mark.parametrize("control", CONTROLS, ids=ascii)
def test_one_line_is_one_line(control: str) -> None:
    for kind in (Line, Actor):
        assert not fits(kind, f"a{control}b")
    assert not fits(Tags, {f"a{control}b": ""})
    assert not fits(Tags, {"a": f"b{control}"})
    assert not fits(Metrics, {f"a{control}b": 1.0})
    assert not fits(Links, {"a": f"https://x/{control}"})
    assert fits(Description, f"a{control}b") == (control == "\n")
    assert fits(Parameters, {"a": f"b{control}"}) == (control == "\n")


@given(st.text())
def test_what_is_one_line_has_no_controls(text: str) -> None:
    try:
        assert one_line(text) == text
    except ValueError:
        assert any(unicodedata.category(c)[0] in "CZ" for c in text)
        return
    assert len(text.splitlines()) <= 1
    assert no_controls(text) == text
    assert no_controls(f"{text}\n\t{text}") == f"{text}\n\t{text}"


@pytest.mark.parametrize(
    ("kind", "longest", "too_long"),
    [
        (Tags, {f"{n:128}": "v" * 256 for n in range(50)}, {str(n): "" for n in range(51)}),
        (Tags, {"k" * 128: ""}, {"k" * 129: ""}),
        (Tags, {"k": "v" * 256}, {"k": "v" * 257}),
        (Metrics, {str(n): 0.0 for n in range(500)}, {str(n): 0.0 for n in range(501)}),
        (Metrics, {"m" * 255: 0.0}, {"m" * 256: 0.0}),
        (Parameters, {"p": "v" * 6_000}, {"p": "v" * 6_001}),
        (Parameters, {str(n): "" for n in range(500)}, {str(n): "" for n in range(501)}),
        (Links, {str(n): "https://x" for n in range(20)}, {str(n): "https://x" for n in range(21)}),
        (Link, "https://" + "x" * 1_992, "https://" + "x" * 1_993),
        (Description, "d" * 5_000, "d" * 5_001),
        (Actor, "a" * 200, "a" * 201),
        (Line, "l" * 2_048, "l" * 2_049),
        (Token, "t" * 64, "t" * 65),
    ],
)
def test_the_longest_fits_and_a_longer_one_does_not(kind: Any, longest: object, too_long: object) -> None:
    assert fits(kind, longest)
    assert not fits(kind, too_long)


@pytest.mark.parametrize("link", ["javascript:alert(1)", "ftp://x/y", "//x/y", "https://", "http://a b", "data:,x", ""])
def test_a_link_is_a_web_address(link: str) -> None:
    assert fits(Link, "http://x") == fits(Link, "https://x/y?z#ä") is True
    assert not fits(Link, link)


@pytest.mark.parametrize("token", ["", "a.b", "a/b", "a b", "ä", "a\n"])
def test_a_token_can_stand_in_a_key(token: str) -> None:
    assert fits(Token, "aZ0_-")
    assert not fits(Token, token)


def test_nobody_is_nobody() -> None:
    assert not fits(Actor, "")
    assert not fits(Tags, {"": ""})
    assert not fits(Metrics, {"": 1.0})


def test_a_training_jobs_own_tags_always_fit() -> None:
    """SageMaker API reference, "Tag"."""
    assert (limits.TAGS_MAX, limits.TAG_KEY_MAX, limits.TAG_VALUE_MAX) == (50, 128, 256)


@given(st.dictionaries(st.text(max_size=130), st.text(max_size=258), max_size=5))
def test_tags_are_kept_as_they_are_or_refused(tags: dict[str, str]) -> None:
    if fits(Tags, tags):
        assert TypeAdapter(Tags).validate_json(TypeAdapter(Tags).dump_json(tags)) == tags
        assert all(0 < len(key) <= 128 and len(value) <= 256 for key, value in tags.items())
