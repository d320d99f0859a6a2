"""The files of an MLflow model version, wherever MLflow says they are: behind its proxy, in S3, or in a local folder.

What a tracking server says is not trusted. Each name it lists is one path component without control characters; only
its own host and S3 are asked; and a path of this machine is only followed for a store of this machine, to MLflow's own
folders or to a folder that is an MLflow model.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from pydantic import NonNegativeInt

from registry.aws import Clients
from registry.errors import Conflict, InvalidInput, NotFound, Refused
from registry.mlflow.rest import PROXY, Rest, Wire
from registry.names import check_bucket
from registry.s3read import ask_s3, get_chunks, head
from registry.store import CHUNK
from registry.tarring import tar_gz

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FILES_MAX, DEPTH_MAX, NAME_MAX = 100_000, 32, 255
_MLMODEL = "MLmodel"
_FOLDERS = ("mlruns", "mlartifacts")


class Entry(NamedTuple):
    """One name in a folder: a file with its size, or a folder, which has none."""

    name: str
    size: int | None
    folder: bool = False


class Tree(Protocol):
    """A folder of files; paths are relative to it, and "" is the folder itself."""

    where: str
    """For messages."""

    def entries(self, folder: str) -> list[Entry]:
        """What lies directly in `folder`, in any order."""

    def size(self, path: str) -> int | None:
        """The bytes of the file at `path`, or None where there is none."""

    def chunks(self, path: str, size: int) -> Iterator[bytes]:
        """The file's bytes."""


class Places(NamedTuple):
    """Where artifacts may be read from."""

    rest: Rest
    clients: Clients | None
    """None: made when the first source in S3 is met."""
    folder: Path | None
    """The folder of a store of this machine; None: no path of this machine is followed."""
    barred: str = ""
    """A bucket that no source may lie in."""


def archive(tree: Tree) -> Iterator[bytes]:
    """All files of `tree` as a .tar.gz, by path in order of their bytes; or the one file that it is.

    Raises:
        NotFound: nothing is there.
        Refused: a name that no honest store has, or more files or deeper folders than a model has.
        Conflict: a file was replaced meanwhile.
    """
    first = tree.entries("")
    return tar_gz(_members(tree, first) if first else [_single(tree)])


def _single(tree: Tree) -> tuple[str, int, Iterator[bytes]]:
    size = tree.size("")
    if size is None:
        raise NotFound(f"MLflow says the model is at {tree.where}, but nothing is there: restore it, or leave it out.")
    return _checked(tree, tree.where.rstrip("/").rpartition("/")[2]), size, tree.chunks("", size)


def _members(tree: Tree, first: list[Entry]) -> Iterator[tuple[str, int, Iterator[bytes]]]:
    files = 0
    waiting = _ordered(tree, "", first)
    while waiting:
        path, entry = waiting.pop()
        if entry.folder:
            if path.count("/") >= DEPTH_MAX:
                raise Refused(f"{tree.where} has folders more than {DEPTH_MAX} deep: it is not a model, leave it out.")
            waiting += _ordered(tree, f"{path}/", tree.entries(path))
        else:
            files += 1
            size = entry.size if entry.size is not None else tree.size(path)
            if size is None:
                raise Conflict(f"{path!r} in {tree.where} is gone, or has no size: start again.")
            yield path, size, tree.chunks(path, size)
        if files + len(waiting) > FILES_MAX:
            raise Refused(f"{tree.where} has more than {FILES_MAX} files: it is not a model, leave it out.")


def _ordered(tree: Tree, prefix: str, entries: list[Entry]) -> list[tuple[str, Entry]]:
    """Last first, as a stack takes them; a folder sorts with its slash, so that whole paths come in order."""
    found = {_checked(tree, entry.name): entry for entry in entries}
    if len(found) < len(entries):
        raise Refused(f"{tree.where} lists one name twice: it is not a model, leave it out.")
    ranked = sorted(found.values(), key=lambda e: f"{e.name}/".encode() if e.folder else e.name.encode(), reverse=True)
    return [(prefix + entry.name, entry) for entry in ranked]


def _checked(tree: Tree, name: str) -> str:
    if name in ("", ".", "..") or not name.isprintable() or len(name) > NAME_MAX or set("/\\") & set(name):
        raise Refused(f"{tree.where} lists {name[:80]!r}, which is no file name: do not import from this server.")
    return name


def tree_at(places: Places, uri: str) -> Tree:
    """The files at `uri`, which is no `runs:` or `models:` address any more.

    Raises:
        Refused: a path of this machine from a server that is not of this machine, another host, or a path with `..`.
        InvalidInput: a kind of store that Sluice does not read.
    """
    parts = urlsplit(uri)
    if not uri.isprintable() or ".." in unquote(parts.path).split("/"):
        raise Refused(f"MLflow names {uri[:200]!r} as a model's place, which is no address: do not import it.")
    if parts.scheme in ("mlflow-artifacts", "http", "https"):
        return _proxied(places.rest, uri)
    if parts.scheme in ("s3", "s3a", "s3n"):
        return _in_s3(places, uri)
    if parts.scheme in ("", "file"):
        return _on_disk(places.folder, uri)
    raise InvalidInput(
        f"Sluice does not read models from {parts.scheme}: addresses ({uri[:200]}): copy the model to S3, or leave it"
        " out."
    )


def _proxied(rest: Rest, uri: str) -> Tree:
    given, ours = urlsplit(uri), urlsplit(rest.url)
    path = given.path
    foreign = bool(given.netloc) and given.netloc != ours.netloc
    if given.scheme != "mlflow-artifacts":
        root = ours.path + PROXY
        foreign = given.netloc != ours.netloc or not path.startswith(f"{root}/")
        path = unquote(path.removeprefix(root))
    if foreign or given.query or given.fragment:
        raise Refused(f"{uri[:200]!r} is not served by {rest.url}: import from the server that keeps it.")
    return ProxyTree(rest, path.strip("/"), uri)


def _in_s3(places: Places, uri: str) -> Tree:
    bucket, _, key = uri.partition("://")[2].partition("/")
    prefix = key.strip("/")
    if not bucket or not prefix:
        raise Refused(f"{uri[:200]!r} is a whole bucket, not a model: leave it out.")
    if bucket == places.barred:
        raise Refused(f"{uri[:200]!r} is in the registry's own bucket: do not import it.")
    return S3Tree((places.clients or Clients()).s3(), check_bucket(bucket), prefix)


def _on_disk(base: Path | None, uri: str) -> Tree:
    parts = urlsplit(uri)
    if base is None or parts.netloc not in ("", "localhost"):
        raise Refused(
            f"MLflow keeps the model in its own folder ({uri[:200]}), and Sluice does not read this machine's files"
            " for a server: import from the store itself, on the machine that has it."
        )
    path = (base / (unquote(parts.path) if parts.scheme else uri)).resolve()
    own = any(path.is_relative_to((base / name).resolve()) for name in _FOLDERS)
    if path.exists() and not own and not (path / _MLMODEL).is_file():
        raise Refused(f"{path} is neither in MLflow's folders nor a model with an MLmodel file: leave it out.")
    return DiskTree(path)


class _Listed(Wire):
    path: str
    is_dir: bool = False
    file_size: NonNegativeInt | None = None


class _Listing(Wire):
    files: tuple[_Listed, ...] = ()


class ProxyTree:
    """Files behind the tracking server's artifact proxy."""

    def __init__(self, rest: Rest, root: str, where: str) -> None:
        self._rest, self._root, self.where = rest, root, where

    def entries(self, folder: str) -> list[Entry]:
        """One request; the proxy lists base names."""
        found = self._rest.get(PROXY, _Listing, {"path": self._path(folder)})
        return [Entry(file.path, file.file_size, file.is_dir) for file in found.files]

    def size(self, path: str) -> int | None:
        """One request, whose body is not read."""
        return self._rest.size(self._path(path))

    def chunks(self, path: str, size: int) -> Iterator[bytes]:
        """One request, more where the connection drops."""
        return self._rest.chunks(self._path(path), size)

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}".strip("/")


class S3Tree:
    """Files in S3, with the credentials of the AWS environment."""

    def __init__(self, s3: S3Client, bucket: str, prefix: str) -> None:
        self._s3, self._bucket, self._prefix = s3, bucket, prefix
        self.where = f"s3://{bucket}/{prefix}"

    def entries(self, folder: str) -> list[Entry]:
        """One request for each 1,000 names."""
        prefix, token = self._key(folder) + "/", ""
        found: list[Entry] = []
        while True:
            more = {"ContinuationToken": token} if token else {}
            page = ask_s3(
                self._s3.list_objects_v2, Bucket=self._bucket, Prefix=prefix, Delimiter="/", **more  # type: ignore[arg-type]
            )  # fmt: skip
            keys = [(each["Key"], each["Size"]) for each in page.get("Contents", []) if each["Key"] != prefix]
            found += [Entry(key.removeprefix(prefix), size) for key, size in keys]
            folders = [each["Prefix"] for each in page.get("CommonPrefixes", [])]
            found += [Entry(key.removeprefix(prefix).removesuffix("/"), None, folder=True) for key in folders]
            if len(found) > FILES_MAX:
                raise Refused(f"{self.where} has more than {FILES_MAX} files: it is not a model, leave it out.")
            token = page.get("NextContinuationToken", "")
            if not token:
                return found

    def size(self, path: str) -> int | None:
        """One request."""
        found = head(self._s3, self._bucket, self._key(path))
        return found.size if found else None

    def chunks(self, path: str, size: int) -> Iterator[bytes]:
        """Two requests, more where the connection drops."""
        found = head(self._s3, self._bucket, self._key(path))
        if found is None or found.size != size:
            raise Conflict(f"s3://{self._bucket}/{self._key(path)} was replaced while it was read: start again.")
        yield from get_chunks(self._s3, self._bucket, self._key(path), found)

    def _key(self, path: str) -> str:
        return f"{self._prefix}/{path}" if path else self._prefix


class DiskTree:
    """Files of this machine. Links are refused: they could lead anywhere."""

    def __init__(self, root: Path) -> None:
        self._root, self.where = root, str(root)

    def entries(self, folder: str) -> list[Entry]:
        """What the folder holds; nothing where it is none."""
        try:
            with os.scandir(self._root / folder) as found:
                return [_entry(each) for each in found]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except PermissionError as error:
            raise Refused(f"{error.filename} may not be read by this user: ask for access.") from error

    def size(self, path: str) -> int | None:
        """The size of the regular file at `path`."""
        try:
            found = (self._root / path).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def chunks(self, path: str, size: int) -> Iterator[bytes]:
        """The bytes of the regular file at `path`."""
        whole = self._root / path
        try:
            descriptor = os.open(whole, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except PermissionError as error:
            raise Refused(f"{whole} may not be read by this user: ask for access.") from error
        except OSError as error:
            raise Conflict(f"{whole} was replaced while it was read: start again.") from error
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size != size:
                raise Conflict(f"{whole} was replaced while it was read: start again.")
            while chunk := file.read(CHUNK):
                yield chunk


def _entry(found: os.DirEntry[str]) -> Entry:
    mode = found.stat(follow_symlinks=False)
    if stat.S_ISDIR(mode.st_mode):
        return Entry(found.name, None, folder=True)
    if not stat.S_ISREG(mode.st_mode):
        raise Refused(f"{found.path} is a link or a device, not a file: replace it by what it stands for.")
    return Entry(found.name, mode.st_size)
