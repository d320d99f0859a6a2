"""BuildKit, by its command line: `buildctl`, or `buildctl-daemonless.sh` in a pod of its own (BuildKit's README)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.buildkit.running import environment, run, steps
from pipelines.buildkit.tool import EPOCH, Extension, Logins, Work, plain_http, workplace
from registry.errors import InvalidInput, SluiceError
from registry.names import Digest
from registry.progress import Progress

_STEP = re.compile(r"#\d+ (\[(?!internal\]).+)")
_RESULT_MAX = 16 << 20


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    digest: Digest = Field(alias="containerimage.digest")


class Buildctl:
    """BuildKit at the daemon that `command` and BUILDKIT_HOST name, or in a daemon of its own."""

    def __init__(
        self, command: Sequence[str] = ("buildctl",), seconds: float = 3600, environ: Mapping[str, str] = os.environ
    ) -> None:
        self._command, self._seconds, self._environ = tuple(command), seconds, environ

    def build(self, wanted: Extension, logins: Logins, progress: Progress) -> str:
        """As in `BaseBuilder`."""
        if wanted.in_folder:
            raise InvalidInput(
                f"The model needs {wanted.why}, and BuildKit reads bases from registries only: set a base in a registry"
                ' under [bases] and a `registry` in sluice.toml, or tool = "buildah" under [buildkit].'
            )

        tell = steps(_STEP, wanted.what, progress)
        with workplace(wanted, logins) as work:
            argv = (*self._command, *build_arguments(wanted, work))
            env = environment(self._environ, {"DOCKER_CONFIG": str(work.login)})
            run(argv, env, self._seconds, tell, needed=f"The model needs {wanted.why}")
            return _digest(work, self._command[0])


def build_arguments(wanted: Extension, work: Work) -> tuple[str, ...]:
    """The arguments for a build. Nothing in them is secret.

    The cache is a help and no more: it may be missing at first, and may not be writable where tags never move.
    """
    repository, _, _ = wanted.target.rpartition(":")
    cache = f"type=registry,ref={repository}:cache-{wanted.platform.replace('/', '-')[:100]}"
    output = f"type=image,name={wanted.target},push=true,oci-mediatypes=true,rewrite-timestamp=true"
    return (
        "build",
        "--progress=plain",
        "--frontend=dockerfile.v0",
        f"--local=context={work.context}",
        f"--local=dockerfile={work.recipe}",
        f"--opt=platform={wanted.platform}",
        f"--opt=build-arg:SOURCE_DATE_EPOCH={EPOCH}",
        f"--output={output}{',registry.insecure=true' if plain_http(wanted.target) else ''}",
        f"--export-cache={cache},mode=max,image-manifest=true,oci-mediatypes=true,ignore-error=true",
        f"--import-cache={cache}",
        f"--metadata-file={work.result}",
    )


def _digest(work: Work, tool: str) -> str:
    try:
        with work.result.open("rb") as file:
            return _Result.model_validate_json(file.read(_RESULT_MAX)).digest
    except (FileNotFoundError, ValidationError) as error:
        raise SluiceError(f"{tool} did not say what it pushed: install BuildKit 0.15 or newer.") from error
