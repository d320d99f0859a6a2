"""What the commands share: options, and the wiring behind them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from registry.errors import InvalidInput

if TYPE_CHECKING:
    from gitops.message import Identity
    from sluice.cli.progress import ShownProgress
    from sluice.wiring import Wiring

Bucket = Annotated[str | None, typer.Option("--bucket", help="The registry's bucket.", rich_help_panel="Settings")]
Gitops = Annotated[
    str | None,
    typer.Option(
        "--gitops", help="The GitOps repository: a URL or a bare repository's path.", rich_help_panel="Settings"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
VersionArgument = Annotated[str, typer.Argument(metavar="MODEL@VERSION", help="A version, such as fraud@7.")]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="A model's name.")]
EnvironmentOption = Annotated[str, typer.Option("--env", metavar="ENV", help="An environment, such as prod.")]


def add(app: typer.Typer, panel: str, command: Callable[..., None], example: str) -> None:
    """Add a command to the application, in a panel of its help and with an example of its own."""
    app.command(rich_help_panel=panel, epilog=f"Example: {example}")(command)


@contextmanager
def wired(bucket: str | None = None, gitops: str | None = None) -> Iterator[Wiring]:
    """The parts, as file, environment and these flags say, for as long as the block runs."""
    from sluice.settings import load
    from sluice.wiring import Wiring

    parts = Wiring(load(bucket=bucket, gitops=gitops))
    try:
        yield parts
    finally:
        parts.close()


@contextmanager
def progressing() -> Iterator[ShownProgress]:
    """Progress for as long as the block runs."""
    from sluice.cli.progress import shown

    with shown() as progress:
        yield progress


def identity(wiring: Wiring) -> Identity:
    """The author of commits: the actor, as `name` or `Name <email>`."""
    from pydantic import ValidationError

    from gitops.message import Identity

    match = re.fullmatch(r"\s*([^<>]+?)\s*<([^<>]+)>\s*", wiring.actor)
    name, email = (match[1], match[2]) if match else (wiring.actor, wiring.actor)
    try:
        return Identity(name=name, email=email)
    except ValidationError as error:
        raise InvalidInput(
            f"{wiring.actor!r} cannot sign a commit: set SLUICE_ACTOR to `Name <email>` in one line."
        ) from error
