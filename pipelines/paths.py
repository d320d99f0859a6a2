"""Paths inside archives and images: which are let through, and that no two of them are one file."""

from __future__ import annotations

import re

from registry.errors import Refused

_LENGTH_MAX = 1024
_PART_MAX = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


def safe_path(name: str) -> str:
    """`name` without `./` and a final `/`, where it stays inside the folder it is unpacked in.

    Raises:
        Refused: it is absolute, goes up, is too long, or has control characters or backslashes.
    """
    if _CONTROL.search(name):
        raise Refused(f"The archive names a file {name[:200]!r}, with characters no path should have.")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        raise Refused(f"The archive names an absolute path, {name[:200]!r}: pack it relative to the model's folder.")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Refused(f"The archive names a path that leaves its folder, {name[:200]!r}: pack it without `..`.")
    if len(name) > _LENGTH_MAX or any(len(part.encode()) > _PART_MAX for part in parts):
        raise Refused(f"The archive names a path that is too long, {name[:80]!r}…: shorten it.")
    return "/".join(parts)


class PathSet:
    """The files of one archive, each with a path of its own even where case does not count."""

    def __init__(self) -> None:
        self._files: dict[str, str] = {}
        self._folders: set[str] = set()

    def add(self, name: str) -> str:
        """Remember a file and return its clean path.

        Raises:
            Refused: the path is not safe, is there already, or is both a file and a folder.
        """
        path = safe_path(name)
        folded = path.casefold()
        parents = {folded[:at] for at, letter in enumerate(folded) if letter == "/"}
        clash = self._files.get(folded) or next((self._files[p] for p in parents if p in self._files), None)
        if clash is not None or folded in self._folders:
            raise Refused(f"The archive holds {path[:200]!r} twice, or as file and folder: pack each file once.")
        if path:
            self._files[folded] = path
            self._folders |= parents
        return path
