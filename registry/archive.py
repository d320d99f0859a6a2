"""A local file or folder as the archive that a training job would have left: model.tar.gz, as a stream.

The bytes are a pure function of what the files hold and how they are called, for one version of zlib.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from registry.errors import InvalidInput, NotFound, Refused
from registry.store import CHUNK
from registry.tarring import tar_gz

_Member = tuple[str, int, Iterable[bytes]]


class _File(NamedTuple):
    name: str
    path: Path


def tar_gz_of(path: Path) -> Iterator[bytes]:
    """The archive of a file or a folder, in pieces; memory is constant in the size of the files.

    What is called .tar.gz or .tgz is given as it is. Any other file becomes an archive of one; of a folder, the files
    lie at the archive's root under their paths, and folders without any are left out. A symbolic link counts as
    what it leads to.

    Raises:
        NotFound: there is nothing at `path`.
        InvalidInput: the folder holds no file, or a name is not UTF-8.
        Refused: a link that leads out of the folder or nowhere, or what is neither a file nor a folder, or unreadable.
        Conflict: a file was changed while it was read.
    """
    with _reading(path):
        root = path.resolve()
        mode = root.stat().st_mode
    if stat.S_ISDIR(mode):
        files = _files(root, root, "", ())
    elif not stat.S_ISREG(mode):
        raise Refused(f"{path} is neither a file nor a folder: give one that is.")
    elif path.name.endswith((".tar.gz", ".tgz")):
        yield from _contents(root)
        return
    else:
        files = iter([_File(path.name, root)])
    first = next(files, None)
    if first is None:
        raise InvalidInput(f"{path} holds no file: give a folder that does.")
    yield from tar_gz(_member(file) for file in chain((first,), files))


def _files(root: Path, folder: Path, prefix: str, above: tuple[Path, ...]) -> Iterator[_File]:
    """The files below a folder, in order of their whole names; `above` are the real folders that it lies in."""
    if folder in above:
        raise Refused(f"{root / prefix} leads into itself: remove the link.")
    with _reading(folder), os.scandir(folder) as there:
        entries = [(entry.name, _target(root, Path(entry.path), entry.is_symlink())) for entry in there]
    found = [(name + "/" if target.is_dir() else name, target) for name, target in entries]
    for name, target in sorted(found, key=lambda each: os.fsencode(each[0])):
        if name.endswith("/"):
            yield from _files(root, target, prefix + name, (*above, folder))
        else:
            yield _File(prefix + name, target)


def _target(root: Path, path: Path, link: bool) -> Path:
    if not link:
        return path
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop, in Python 3.11 and 3.12
        raise Refused(f"{path} is a link that leads nowhere: remove it.") from error
    if not target.is_relative_to(root):
        raise Refused(f"{path} is a link that leads out of the folder: put in its place what it leads to.")
    return target


def _member(file: _File) -> _Member:
    try:
        file.name.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"The name of {os.fsencode(file.path)!r} is not UTF-8: rename the file.") from error
    with _reading(file.path):
        state = file.path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise Refused(f"{file.path} is neither a file nor a folder: remove it.")
    return file.name, state.st_size, _contents(file.path)


def _contents(path: Path) -> Iterator[bytes]:
    with _reading(path), path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            yield chunk


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Tells what the system says no with."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"There is nothing at {path}: check the path.") from error
    except OSError as error:
        raise Refused(f"{path} cannot be read ({error.strerror}): allow it, or leave it out.") from error
