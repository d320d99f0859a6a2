"""Looking at a training output while it streams by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import version

from pipelines.scanning.findings import Budget, Findings
from pipelines.scanning.formats import Found, Paths, ZipKind
from pipelines.scanning.host import NoHost
from pipelines.scanning.opening import Opening, Scene
from pipelines.scanning.zipped import Contents
from registry.facts import Finding


@cache
def scanner_name() -> str:
    """What looks for findings, with its versions. The number is raised whenever the same bytes may be judged anew."""
    return f"sluice-allowlist 2, picklescan {version('picklescan')}"


class Scanner:
    """Watches the files of one archive, and says in the end what they are together and what was found in them.

    Memory is constant in the size of the files: of each one at a time, at most the 32 MiB that may be a pickle.
    """

    def __init__(self) -> None:
        self._paths, self._findings = Paths(), Findings()
        self._scene = Scene(self._findings, Budget(), NoHost(self._findings), 0, self._zip)

    def watch(self, path: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Pass a file's bytes on, and learn from them."""
        opening, size = Opening(path, self._scene), 0
        for chunk in chunks:
            opening.feed(chunk)
            size += len(chunk)
            yield chunk
        opening.close()
        self._paths.add(path, size)

    def verdict(self) -> Found:
        """The one model there is.

        Raises:
            InvalidInput: there is none that can be served, or more than one.
        """
        return self._paths.verdict()

    def findings(self) -> tuple[Finding, ...]:
        """What was found, in the order of the archive."""
        return self._findings.all()

    def _zip(self, path: str, contents: Contents) -> None:
        if contents.torchscript or contents.mar:
            self._paths.zips[path] = ZipKind.TORCHSCRIPT if contents.torchscript else ZipKind.MAR
