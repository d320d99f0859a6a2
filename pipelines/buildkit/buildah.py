"""buildah, for machines without BuildKit (buildah-build(1), buildah-push(1)); it reads bases in folders, too."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pipelines.buildkit.running import environment, run, steps
from pipelines.buildkit.tool import EPOCH, Extension, Logins, Work, plain_http, workplace
from registry.errors import SluiceError
from registry.names import check_digest
from registry.progress import Progress

_STEP = re.compile(r"STEP (\d+/\d+: .+)")


class Buildah:
    """buildah; options that stand before its own commands, such as `--root`, go into `command`."""

    def __init__(
        self, command: Sequence[str] = ("buildah",), seconds: float = 3600, environ: Mapping[str, str] = os.environ
    ) -> None:
        self._command, self._seconds, self._environ = tuple(command), seconds, environ

    def build(self, wanted: Extension, logins: Logins, progress: Progress) -> str:
        """As in `BaseBuilder`. The image is named by its id until it is pushed, so that builders do not meet."""

        with workplace(wanted, logins) as work:
            env = environment(self._environ, {"REGISTRY_AUTH_FILE": str(work.login / "config.json")})

            def ask(*arguments: str, tell: Callable[[str], None] = lambda _: None) -> None:
                needed = f"The model needs {wanted.why}"
                run((*self._command, *arguments), env, self._seconds, tell, needed=needed)

            image, pushed = work.result.with_name("image"), work.result.with_name("digest")
            ask(*build_arguments(wanted, work, image), tell=steps(_STEP, wanted.what, progress))
            made = image.read_text().strip()
            try:
                ask(*push_arguments(made, wanted.target, pushed))
            finally:
                with suppress(SluiceError):  # only disk is lost, and `buildah prune` finds it
                    ask("rmi", made)
            return check_digest(pushed.read_text().strip())


def build_arguments(wanted: Extension, work: Work, image: Path) -> tuple[str, ...]:
    """The arguments for a build that writes the id of what it made into the file `image`."""
    return (
        "build",
        "--format=oci",
        "--pull",
        "--identity-label=false",  # which would name buildah's version in the image
        f"--timestamp={EPOCH}",
        f"--platform={wanted.platform}",
        f"--tls-verify={'false' if plain_http(wanted.source) else 'true'}",
        f"--file={work.recipe / 'Dockerfile'}",
        f"--iidfile={image}",
        str(work.context),
    )


def push_arguments(image: str, target: str, pushed: Path) -> tuple[str, ...]:
    """The arguments for a push that writes the digest of what it pushed into the file `pushed`."""
    verified = "false" if plain_http(target) else "true"
    place = target if target.startswith("oci:") else f"docker://{target}"
    return ("push", f"--tls-verify={verified}", f"--digestfile={pushed}", image, place)
