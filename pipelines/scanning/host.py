"""What lies around a file decides what is usual in it: a training output, or an archive inside one."""

from __future__ import annotations

from typing import Protocol

from pipelines.scanning.findings import Findings
from registry.facts import Severity


class Host(Protocol):
    """The archive around a file, which knows what is usual in it."""

    def script(self, path: str, name: str) -> None:
        """A pickle names a class of TorchScript's."""

    def harmless(self, path: str) -> None:
        """A pickle holds nothing that was found fault with."""

    def code(self, path: str, sha256: str) -> None:
        """A file is Python code."""

    def opens(self, path: str, names: str) -> None:
        """Code calls operations that open files, were it TorchScript's."""


class NoHost:
    """There is no archive but the training output itself."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings

    def script(self, path: str, name: str) -> None:
        """Only TorchScript's own archives hold such classes."""
        self._findings.add(path, "pickle-global", Severity.DANGER, f"names {name} outside of a TorchScript archive")

    def harmless(self, path: str) -> None:
        """It is news all the same."""
        self._findings.once(path, "pickle", Severity.NOTE, "weights in a pickle: safetensors cannot hold code")

    def code(self, path: str, sha256: str) -> None:
        """A handler, most often, which somebody should have read."""
        self._findings.add(path, "code", Severity.NOTE, f"Python code, sha256:{sha256}")

    def opens(self, path: str, names: str) -> None:
        """Python may do anything anyway."""
