"""People's own Dockerfile instructions, looked at before they go between ours (Dockerfile reference).

Where builders differ in how they read a text, it is refused: what is let through has one reading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from registry.errors import InvalidInput

_ALLOWED = ("ADD", "ARG", "COPY", "ENV", "LABEL", "RUN", "SHELL", "USER", "WORKDIR")
_CONTINUED = re.compile(r"\\[ \t]*$")
_TWICE = re.compile(r"\\\\[ \t]*$")
_HERE_DOCUMENTS = frozenset({"ADD", "COPY", "RUN"})
_SET_BY_SLUICE = frozenset({"CMD", "ENTRYPOINT", "HEALTHCHECK", "STOPSIGNAL", "EXPOSE"})


class Instruction(NamedTuple):
    """One instruction, on one line."""

    name: str
    """In capitals."""
    rest: str

    def __str__(self) -> str:
        return f"{self.name} {self.rest}"


def parse_instructions(text: str) -> tuple[Instruction, ...]:
    """The instructions in `image.dockerfile` of a model.yaml, each on one line, without comments.

    Raises:
        InvalidInput: there is one that has no place here, or a text that not every builder reads the same way.
    """
    return tuple(_instruction(line) for line in _logical_lines(text))


def _logical_lines(text: str) -> Iterator[str]:
    begun: str | None = None
    for number, raw in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        if not raw.replace("\t", " ").isprintable():
            raise InvalidInput(f"Line {number} of image.dockerfile holds a character that cannot be seen: remove it.")
        if _TWICE.search(raw):
            raise InvalidInput(
                f"Line {number} of image.dockerfile ends with two backslashes, which builders read differently: leave"
                " one, or none."
            )
        line = raw.lstrip(" \t")
        if not line or line.startswith("#"):
            continue
        whole = line if begun is None else begun + raw
        begun = _CONTINUED.sub("", whole) if _CONTINUED.search(raw) else None
        if begun is None:
            yield whole.strip(" \t")
    if begun is not None:
        raise InvalidInput("image.dockerfile ends in the middle of an instruction: take its last backslash away.")


def _instruction(line: str) -> Instruction:
    name, *rest = re.split(r"[ \t]+", line, maxsplit=1)
    found = Instruction(name.upper(), "".join(rest))
    if found.name == "FROM":
        raise InvalidInput(
            "image.dockerfile has a FROM, but the base is set under [bases] in sluice.toml: leave it out, and take"
            " files from other images by COPY --from=."
        )
    if found.name in _SET_BY_SLUICE:
        raise InvalidInput(f"image.dockerfile has {found.name}, which Sluice sets for the server: leave it out.")
    if found.name not in _ALLOWED or not found.rest:
        raise InvalidInput(
            f"image.dockerfile has {found.name[:40]!r} where an instruction has to be: use {', '.join(_ALLOWED)}."
        )
    if found.name in _HERE_DOCUMENTS:
        _check_words(found)
    return found


def _check_words(found: Instruction) -> None:
    if "<<" in found.rest:
        raise InvalidInput(
            f"image.dockerfile has << in {found.name}, which not every builder reads: write one RUN, with && between"
            " commands."
        )
    words = found.rest.split()
    flags = [word for word in words if word.startswith("--")]
    sources = [word for word in words if word not in flags][:-1]
    if found.name == "COPY" and not any(re.match(r"--from=[^$]", flag) for flag in flags):
        raise InvalidInput(
            "image.dockerfile copies a file, but there are none beside it: use COPY --from=<image>, ADD of an https"
            " address, or put the file into the training output."
        )
    if found.name == "ADD" and not (sources and all(word.startswith("https://") for word in sources)):
        raise InvalidInput(
            "image.dockerfile adds a file, but there are none beside it: use ADD https://… and a place, or COPY"
            " --from=<image>."
        )
