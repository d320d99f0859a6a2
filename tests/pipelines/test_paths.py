"""Paths that are let through, and paths that are one file."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.paths import PathSet, safe_path
from registry.errors import Refused


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a", "a"),
        ("./a", "a"),
        ("a/", "a"),
        ("a//b/./c", "a/b/c"),
        ("..a/b..", "..a/b.."),
        ("...", "..."),
        ("a b/ü.pt", "a b/ü.pt"),
        ("ab:c", "ab:c"),
        ("variables/variables.data-00000-of-00001", "variables/variables.data-00000-of-00001"),
        ("", ""),
        ("./", ""),
        ("a" * 255, "a" * 255),
        ("/".join("a" * 32), "/".join("a" * 32)),
    ],
)
def test_a_path_inside_is_cleaned(name: str, path: str) -> None:
    assert safe_path(name) == path


@pytest.mark.parametrize(
    "name",
    [
        *("..", "../a", "a/..", "a/./../b", "/", "/a", "//a", "C:", "c:a", "./c:a", "a\\b", "a\0b", "a\nb", "a\x7fb"),
        *("a\x85b", "a\u2028b", "a\u202eb", "a\u2066b", "ü" * 128, "a" * 256, "a/" * 33, "bb/" * 400),
    ],
)
def test_any_other_path_is_refused(name: str) -> None:
    with pytest.raises(Refused, match=r"^The archive names .*: \w.*\.$") as caught:
        safe_path(name)
    assert str(caught.value).isprintable()


@given(st.text(st.sampled_from("ab./\\:\0é")))
def test_a_path_that_is_let_through_stays_inside_whatever_joins_it(name: str) -> None:
    try:
        path = safe_path(name)
    except Refused:
        return
    there = posixpath.normpath(posixpath.join("/root/of/model", path))
    assert there == "/root/of/model" or there.startswith("/root/of/model/")
    assert safe_path(path) == path


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a", "a"),
        ("a", "A"),
        ("stra\u00dfe", "STRASSE"),
        ("\u00e9", "e\u0301"),
        ("\u00c9", "e\u0301"),
        ("\u1e9b\u0323", "\u1e9b\u0323"),
        ("\u212b", "\u00e5"),
        ("a", "a/b"),
        ("a/b", "a"),
        ("a/b", "A"),
        ("\u00e9/x", "e\u0301"),
        ("a/b/c", "a/b"),
    ],
)
def test_two_paths_that_some_file_system_takes_for_one_are_refused(first: str, second: str) -> None:
    paths = PathSet()
    paths.add(first)
    with pytest.raises(Refused, match="twice, or as file and folder"):
        paths.add(second)


def test_paths_that_differ_are_kept() -> None:
    paths = PathSet()
    names = ["a", "b/a", "b/c/a", "ab", "e", "\u00e9", "b./a"]
    assert [paths.add(name) for name in names] == names


def test_a_file_needs_a_name() -> None:
    for name in ("", ".", "./"):
        with pytest.raises(Refused, match="no name"):
            PathSet().add(name)


def test_a_folder_may_come_again_but_not_as_a_file() -> None:
    paths = PathSet()
    for name in ("./", "a", "a/", "a/b/c", "a/b", "A"):
        paths.add_folder(name)
    for name in ("a", "a/b", "a/B/c"):
        with pytest.raises(Refused):
            paths.add(name)
    assert paths.add("a/b/d") == "a/b/d"
    for name in ("a/b/d", "a/b/D/e"):
        with pytest.raises(Refused):
            paths.add_folder(name)
    with pytest.raises(Refused):
        paths.add_folder("../a")
