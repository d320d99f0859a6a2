"""What the pure half of gitops knows of git: a tree it reads, and a change it wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from pydantic import BaseModel, ConfigDict


class Tree(Protocol):
    """The files of one commit. Reading never touches a work tree."""

    def read(self, path: str) -> bytes | None:
        """The file's bytes, or None where there is no such file."""

    def paths(self, prefix: str = "") -> Sequence[str]:
        """Every file path at or below the folder `prefix`, sorted."""

    def prefetch(self, paths: Sequence[str]) -> None:
        """Say which files are read next, so that those that are far away come together. Reading works without."""


class Change(BaseModel):
    """One commit to be: what to write, what to remove, and what to say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    writes: Mapping[str, bytes | None]
    """Path to new bytes; None removes the file."""
    subject: str
    body: str = ""
    trailers: Mapping[str, str] = {}


class Files:
    """A tree in memory, for what is not committed yet."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = dict(files)

    def read(self, path: str) -> bytes | None:
        """The file's bytes, or None where there is no such file."""
        return self._files.get(path)

    def paths(self, prefix: str = "") -> Sequence[str]:
        """Every file path at or below the folder `prefix`, sorted."""
        folder = prefix.rstrip("/") + "/" if prefix else ""
        return sorted(path for path in self._files if path.startswith(folder) or path == prefix)

    def prefetch(self, paths: Sequence[str]) -> None:
        """Nothing: all is here."""
