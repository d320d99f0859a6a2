"""Reading a requirements.txt, which came with a training output, before pip sees it.

Only what pip can take from an index or an https address is let through (pip user guide, "Requirements File Format").
What comes out is what pip is given: a line for each requirement, without comments and continuations, so that pip cannot
read anything else in it than was looked at here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from registry.errors import InvalidInput

REQUIREMENTS_MAX = 256 << 10
"""Bytes that a requirements.txt may have."""
_COMMENT = re.compile(r"(?:^|\s)#.*$")  # by one space: a run of them would be looked through from each of its spaces
_PASSWORD = re.compile(r"://[^/?#\s]*@")
_FLAGS = frozenset({"--pre", "--prefer-binary", "--require-hashes"})
_NAMING = frozenset({"--only-binary", "--no-binary"})
_ADDRESSED = frozenset({"-i", "--index-url", "--extra-index-url", "-f", "--find-links"})
_HASH = re.compile(r"--hash=(?:sha256|sha384|sha512):[0-9a-fA-F]{64,128}")
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(?:\[[A-Za-z0-9._,\s-]*\])?"
_MARKER = r"(?:\s*;[^/]*)?"
_FROM_INDEX = re.compile(rf"{_NAME}\s*(?:\(?[<>=!~][^;/@]*)?{_MARKER}")
_FROM_ADDRESS = re.compile(rf"(?:{_NAME}\s*@\s*)?(?:git\+)?https://\S+(?:\s+;[^/]*)?")
_ARCHIVES = (".whl", ".zip", ".gz", ".tgz", ".bz2", ".xz", ".tar")


def parse_requirements(data: bytes, what: str) -> tuple[str, ...]:
    """The requirements and options in a file, a line each; `what` is what errors call the file.

    Raises:
        InvalidInput: it asks for files that are not there, holds a password, or pip could not read it.
    """
    if len(data) > REQUIREMENTS_MAX:
        raise InvalidInput(f"{what} has {len(data)} bytes: name only what the handler imports, in at most 256 KiB.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{what} is not UTF-8: save it as that.") from error
    found = []
    for number, line in _logical_lines(text):
        bare = _COMMENT.sub("", line).strip()
        if bare:
            _check(bare, f"Line {number} of {what}")
            found.append(bare)
    return tuple(found)


def hashed(requirements: tuple[str, ...]) -> bool:
    """Whether any has a hash, so that pip wants one for everything it installs at once."""
    return any("--hash=" in line or line == "--require-hashes" for line in requirements)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with the continued ones joined, as pip does it, and the number of each one's first line."""
    begun, start = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        start = start or number
        comment = line.lstrip().startswith("#")
        if line.endswith("\\") and not comment:
            begun += line.rstrip("\\")
            continue
        yield start, begun + (" " + line if comment else line)
        begun, start = "", 0
    if begun:
        yield start, begun


def _check(line: str, where: str) -> None:
    if "\\" in line or not line.replace("\t", " ").isprintable():
        raise InvalidInput(f"{where} holds a backslash or a character that cannot be seen: write it anew.")
    if _PASSWORD.search(line):
        raise InvalidInput(
            f"{where} has a name or password in an address, which would end up in the image: leave it out, and let the"
            " index or a mirror in your network be read without one."
        )
    if line.startswith("-"):
        _check_option(line, where)
    else:
        _check_requirement(line, where)


def _check_option(line: str, where: str) -> None:
    name, *values = line.replace("=", " ", 1).split()
    fits = (
        (name in _FLAGS and not values)
        or (name in _NAMING and len(values) == 1)
        or (name in _ADDRESSED and len(values) == 1 and values[0].startswith("https://"))
    )
    if not fits:
        raise InvalidInput(
            f"{where} has the option {name[:40]!r} in a way that is not taken here: write each requirement into the"
            " file itself, and name other indexes by --index-url or --extra-index-url and an https address."
        )


def _check_requirement(line: str, where: str) -> None:
    words = line.split()
    wanted = " ".join(word for word in words if not word.startswith("--hash="))
    hashes = [word for word in words if word.startswith("--hash=")]
    if not all(_HASH.fullmatch(word) for word in hashes) or re.search(r"(?:^|\s)-", wanted):
        raise InvalidInput(f"{where} has an option behind a requirement: only --hash=sha256:… can stand there.")
    if _FROM_ADDRESS.fullmatch(wanted):
        return
    if not _FROM_INDEX.fullmatch(wanted) or wanted.lower().endswith(_ARCHIVES):
        raise InvalidInput(
            f"{where} is not a package from an index or an https address: what lies in a folder, or behind another"
            " protocol, has to be put into the base image, with requirements: in-base in model.yaml."
        )
