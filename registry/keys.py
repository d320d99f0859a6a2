"""The keys of the registry's bucket.

A version's number is written 9999999999 - n with leading zeros in front of n, so that a plain listing, which S3 gives
in order of bytes, is newest first.
"""

from __future__ import annotations

import hashlib
import re

from registry.errors import Refused
from registry.names import VersionRef, check_digest, check_label

MARKER = "sluice.json"
"""Says that this bucket is a registry, and is what the store's promises are probed with."""

_LAST = 9_999_999_999
_VERSION = re.compile(r"models/[^/]+/versions/([0-9]{10})-([1-9][0-9]*)/.+")


def model(name: str) -> str:
    """The model's own record."""
    return f"models/{check_label(name)}/model.json"


def versions(name: str) -> str:
    """What the keys of every version of the model begin with."""
    return f"models/{check_label(name)}/versions/"


def version_folder(ref: VersionRef) -> str:
    """What the keys of a version's facts begin with."""
    return f"{versions(ref.model)}{_LAST - ref.number:010d}-{ref.number}/"


def version(ref: VersionRef) -> str:
    """The version's record."""
    return version_folder(ref) + "version.json"


def fact(ref: VersionRef, kind: str) -> str:
    """A fact that was learnt later: scan, artifact, image."""
    return f"{version_folder(ref)}{kind}.json"


def number_of(key: str) -> int:
    """The number of the version that a key under `versions()` belongs to.

    Raises:
        Refused: no version has such a key.
    """
    match = _VERSION.fullmatch(key)
    number = int(match[2]) if match else 0
    if not match or int(match[1]) != _LAST - number:
        raise Refused(f"{key} was not written by Sluice: remove it from the bucket.")
    return number


def source(name: str, identity: str) -> str:
    """Where it is written from which version on a source may have been registered."""
    return f"models/{check_label(name)}/sources/{hashlib.sha256(identity.encode()).hexdigest()}.json"


def blob(digest: str) -> str:
    """Bytes under their sha256."""
    return f"blobs/sha256/{check_digest(digest).removeprefix('sha256:')}"


def upload(token: str) -> str:
    """Bytes on their way up, whose sha256 is not known yet; safe to delete when a day old."""
    return f"uploads/{token}"
