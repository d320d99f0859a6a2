"""The Dockerfile of an extended base, the same bytes for the same needs (Dockerfile reference)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from shlex import quote

from pipelines.buildkit.needs import Needs
from pipelines.buildkit.requirements import hashed
from registry.errors import InvalidInput
from registry.names import check_image

RECIPE_LABEL = "dev.sluicegate.base.recipe"
REQUIREMENTS = "requirements.txt"
PACKAGES = "packages.txt"
_CONTEXT = "/run/sluice"
_FOLDER = re.compile(r"oci:[\w./-]+(?::[\w.-]+)?", re.ASCII)
_NEXT = " \\\n    "
# lists and packages are kept from one build to the next, and out of the layer
_APT_MOUNTS = (
    "--mount=type=cache,target=/var/cache/apt,sharing=locked",
    "--mount=type=cache,target=/var/lib/apt/lists,sharing=locked",
)
# what these hold is the day's date and nothing that anybody needs
_APT_LEAVINGS = (
    "/var/cache/ldconfig/aux-cache",
    "/var/log/alternatives.log",
    "/var/log/apt/history.log",
    "/var/log/apt/term.log",
    "/var/log/dpkg.log",
)
# by the environment, as a pip that does not know one of these passes over it there
_PIP = (
    "PIP_BREAK_SYSTEM_PACKAGES=1",
    "PIP_DISABLE_PIP_VERSION_CHECK=1",
    "PIP_ROOT_USER_ACTION=ignore",
    "python3 -m pip install --no-input --no-compile --cache-dir=/root/.cache/pip",
)
_PIP_MOUNTS = ("--mount=type=cache,target=/root/.cache/pip", f"--mount=type=bind,target={_CONTEXT}")


def context_files(needs: Needs) -> Mapping[str, bytes]:
    """The files that the Dockerfile reads, by name; they leave nothing in the image."""
    files = {REQUIREMENTS: needs.requirements, PACKAGES: needs.python_packages}
    return {name: "".join(f"{line}\n" for line in lines).encode() for name, lines in files.items() if lines}


def dockerfile(needs: Needs, source: str, recipe: str, user: int) -> bytes:
    """A Dockerfile that begins with the image `source` and ends with the user that the model's server runs as.

    Raises:
        InvalidInput: `source` is neither an image by digest nor one in a folder, `oci:folder:tag`.
    """
    if source.startswith("oci:"):
        if not _FOLDER.fullmatch(source):
            raise InvalidInput(f"{source[:200]!r} cannot stand in a Dockerfile: give the folder a plainer name.")
    else:
        check_image(source)
    lines = [
        "# Made by Sluice: a base image, and what a model needs beside it.",
        f"FROM {source}",
        "USER 0:0",  # by both numbers, since only then BuildKit looks for no /etc/passwd
        *(_apt(needs.system_packages)),
        *(_pip(needs)),
        *map(str, needs.instructions),
        f'LABEL {RECIPE_LABEL}="{recipe}"',
        f"USER {user}:{user}",
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def _apt(packages: Sequence[str]) -> Iterator[str]:
    if packages:
        yield _run(
            *_APT_MOUNTS,
            "apt-get update &&",
            "DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends",
            *(quote(package) for package in packages),
            "&& rm -f",
            *_APT_LEAVINGS,
        )


def _pip(needs: Needs) -> Iterator[str]:
    files = list(context_files(needs))
    # together they are one solution; but where one has hashes, pip would want them for all
    for together in [[name] for name in files] if hashed(needs.requirements) else [files] if files else []:
        yield _run(*_PIP_MOUNTS, *_PIP, *(f"--requirement={_CONTEXT}/{name}" for name in together))


def _run(*words: str) -> str:
    return f"RUN {_NEXT.join(words)}"
