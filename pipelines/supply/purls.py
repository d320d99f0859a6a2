"""Names for what is not ours (Package URL specification, types `oci` and `pypi`)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from pipelines.image.images import Reference

if TYPE_CHECKING:
    from packageurl import PackageURL

_NAMED = re.compile(r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?) ?(?:\[[^\]]*\])? ?(?P<rest>.*)")
_PIN = re.compile(r"\(?={2,3} ?(?P<version>[A-Za-z0-9.!+_-]+) ?\)?(?: ?(?:;|--hash=).*)?")


class Requirement(NamedTuple):
    """A line of a requirements.txt."""

    line: str
    name: str
    """The package's, or the whole line where it is an address alone."""
    version: str | None = None
    """Where exactly one is wanted."""

    @property
    def package(self) -> PackageURL | None:
        """The purl of the package, where it comes from an index."""
        from packageurl import PackageURL

        return None if "/" in self.line else PackageURL("pypi", None, self.name, self.version)


def image_purl(image: Reference, platform: str = "") -> str:
    """The purl of an image: `pkg:oci/<last part of the repository>@<digest>?repository_url=…`."""
    return image_package(image, platform).to_string()


def image_package(image: Reference, platform: str = "") -> PackageURL:
    """The same, as its parts."""
    from packageurl import PackageURL

    architecture = platform.split("/")[1] if "/" in platform else ""
    told = {"repository_url": image.repository if "/" in image.repository else "", "arch": architecture}
    qualifiers = {name: value for name, value in told.items() if value}
    name = image.repository.rpartition("/")[2].lower()
    return PackageURL("oci", None, name, image.digest, qualifiers)


def read_requirement(line: str) -> Requirement | None:
    """What a line of a requirements.txt asks for; None for an option (PEP 508; pip, "Requirements File Format")."""
    told = " ".join(line.split())
    match = _NAMED.fullmatch(told)
    if told.startswith("-"):
        return None
    if match is None or "://" in told.partition("@")[0]:
        return Requirement(told, told)
    pin = _PIN.fullmatch(match["rest"])
    return Requirement(told, match["name"], pin["version"] if pin else None)
