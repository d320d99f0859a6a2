from __future__ import annotations

import re
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gitops.message import Identity, message, parse
from gitops.tree import Change
from registry.errors import InvalidInput

_TEXT = st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"), exclude_characters="\x85")
_LINES = (
    st.text(_TEXT, min_size=1, max_size=40)
    .map(lambda text: text.strip(" \t"))
    .filter(lambda text: text and not re.match(r"---(\s|$)", text))
)
_BODIES = st.lists(st.lists(_LINES, min_size=1, max_size=3).map("\n".join), max_size=3).map("\n\n".join)
_KEYS = st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,8}(-[A-Za-z0-9]{1,8}){0,2}", fullmatch=True)
_TRAILERS = st.dictionaries(_KEYS, _LINES, min_size=1, max_size=5)


@given(_LINES, _BODIES, _TRAILERS)
def test_what_is_written_is_read_back(subject: str, body: str, trailers: dict[str, str]) -> None:
    text = message(Change(writes={}, subject=subject, body=body, trailers=trailers))
    assert parse(text) == (subject, body, trailers)


@given(_LINES, _BODIES)
def test_without_trailers_too_unless_the_body_reads_like_them(subject: str, body: str) -> None:
    try:
        text = message(Change(writes={}, subject=subject, body=body))
    except InvalidInput:
        assert parse(f"subject\n\n{body}")[2]
    else:
        assert parse(text) == (subject, body, {})


@settings(max_examples=40)
@given(_LINES, _BODIES, _TRAILERS)
def test_git_reads_the_same_trailers(subject: str, body: str, trailers: dict[str, str]) -> None:
    text = message(Change(writes={}, subject=subject, body=body, trailers=trailers))
    assert _interpret(text) == list(trailers.items())


def _interpret(text: str) -> list[tuple[str, str]]:
    command = ["git", "interpret-trailers", "--parse"]
    out = subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout.decode()
    return [(key, value.strip(" ")) for key, _, value in (line.partition(":") for line in out.split("\n") if line)]


def test_the_form() -> None:
    change = Change(writes={}, subject="fraud: prod canary v7 at 10 %", body="Why.\n", trailers={"Version": "7"})
    assert message(change, "r-1") == ("fraud: prod canary v7 at 10 %\n\nWhy.\n\nRelease-Id: r-1\nVersion: 7\n")


@pytest.mark.parametrize("value", ["7\nAction: promote", "7\r\nHolds: 6", "a\0b", "a\x1b[2J", "", " \n", "a\u2028b"])
def test_no_value_brings_a_line_of_its_own(value: str) -> None:
    with pytest.raises(InvalidInput, match="Requested-By"):
        message(Change(writes={}, subject="s", trailers={"Requested-By": value}))


@pytest.mark.parametrize("key", ["", "a b", "Key:", "Key\nOther", "-x", "Schlüssel", "#c"])
def test_no_key_that_git_would_not_read(key: str) -> None:
    with pytest.raises(InvalidInput, match="key"):
        message(Change(writes={}, subject="s", trailers={key: "v"}))


@pytest.mark.parametrize("subject", ["", "  ", "one\ntwo", "a\0", "--- a/file", "---"])
def test_a_subject_is_one_line(subject: str) -> None:
    with pytest.raises(InvalidInput, match="subject"):
        message(Change(writes={}, subject=subject))


@pytest.mark.parametrize("body", ["before\n---\nafter", "--- x", "nul\0", "\x1b[31m", "\ud800"])
def test_a_body_is_text(body: str) -> None:
    with pytest.raises(InvalidInput, match="text"):
        message(Change(writes={}, subject="s", body=body, trailers={"A": "b"}))


def test_trailers_in_a_body_are_no_trailers() -> None:
    change = Change(writes={}, subject="s", body="Action: promote\nHolds: 3", trailers={"Action": "rollback"})
    assert parse(message(change))[2] == {"Action": "rollback"} == dict(_interpret(message(change)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("", "", {})),
        ("Version: 7\n", ("Version: 7", "", {})),
        ("two\nlines\n\nbody\n", ("two lines", "body", {})),
        ("s\n\nSigned-off-by: A <a@b>\nnot one\n", ("s", "Signed-off-by: A <a@b>\nnot one", {})),
        ("s\r\n\r\nA: b\r\n", ("s", "", {"A": "b"})),
        ("s\n \t\nKey: long\n  value\n", ("s", "", {"Key": "long value"})),
    ],
)
def test_messages_of_people_are_read_too(text: str, expected: tuple[str, str, dict[str, str]]) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize("field", ["name", "email"])
@pytest.mark.parametrize("value", ["", " ", "a\nb", "A <x", "A> 0 +0000\nparent", "\0"])
def test_an_identity_is_one_plain_line(field: str, value: str) -> None:
    with pytest.raises(ValidationError):
        Identity(**{"name": "Ann", "email": "ann@example.org", field: value})
