"""Paths inside archives and images: which are let through, and that no two of them are one file."""

from __future__ import annotations

import re
from unicodedata import normalize

from registry.errors import Refused

_LENGTH_MAX = 1024
_PART_MAX = 255
_DEPTH_MAX = 32
"""Every folder above a file is remembered, so deep paths cost memory."""
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\\]")
"""Control characters, those that break lines or turn the direction of writing, and backslashes."""


def safe_path(name: str) -> str:
    """`name` without `./` and a final `/`, where it stays inside the folder it is unpacked in; "" is that folder.

    Raises:
        Refused: it is absolute, goes up, is too long or too deep, or has control characters or backslashes.
    """
    if _FORBIDDEN.search(name):
        raise Refused(f"The archive names a file {name[:200]!r}, with characters no path should have: rename the file.")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or (parts and re.match(r"[A-Za-z]:", parts[0])):
        raise Refused(f"The archive names an absolute path, {name[:200]!r}: pack it relative to the model's folder.")
    if ".." in parts:
        raise Refused(f"The archive names a path that leaves its folder, {name[:200]!r}: pack it without `..`.")
    too_long = len(name.encode()) > _LENGTH_MAX or any(len(part.encode()) > _PART_MAX for part in parts)
    if too_long or len(parts) > _DEPTH_MAX:
        raise Refused(f"The archive names a path that is too long, {name[:80]!r}…: shorten it.")
    return "/".join(parts)


class PathSet:
    """The files of one archive, each with a path of its own even where case and composition of letters do not count."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def add(self, name: str) -> str:
        """Remember a file and return its clean path.

        Raises:
            Refused: the path is not safe, names no file, is there already, or is both a file and a folder.
        """
        path = safe_path(name)
        if not path:
            raise Refused(f"The archive names a file {name[:200]!r}, which is no name: rename the file.")
        folded = _folded(path)
        parents = _parents(folded)
        if folded in self._files or folded in self._folders or not self._files.isdisjoint(parents):
            raise _clash(path)
        self._files.add(folded)
        self._folders |= parents
        return path

    def add_folder(self, name: str) -> None:
        """Remember a folder, which may be there already.

        Raises:
            Refused: the path is not safe, or is a file too.
        """
        path = safe_path(name)
        folders = {_folded(path), *_parents(_folded(path))} if path else set()
        if not self._files.isdisjoint(folders):
            raise _clash(path)
        self._folders |= folders


def _folded(path: str) -> str:
    """The same for every path that some file system takes for the same (Unicode standard, 3.13, D145)."""
    return normalize("NFD", normalize("NFD", path).casefold())


def _parents(path: str) -> set[str]:
    return {path[:at] for at, letter in enumerate(path) if letter == "/"}


def _clash(path: str) -> Refused:
    return Refused(f"The archive holds {path[:200]!r} twice, or as file and folder: pack each file once.")
