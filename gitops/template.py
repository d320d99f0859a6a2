"""The files that Sluice writes once and people keep: text with names in it, in gitops/templates."""

from __future__ import annotations

from importlib.resources import files
from string import Template


def template(file: str, **values: str) -> bytes:
    """A file of gitops/templates with each `$name` in it replaced."""
    text = (files("gitops") / "templates" / file).read_text(encoding="utf-8")
    return Template(text).substitute(values).encode()
