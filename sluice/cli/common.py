"""What the commands share: options, and the wiring behind them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from registry.errors import InvalidInput, Refused
from registry.roles import Role

if TYPE_CHECKING:
    from pydantic import BaseModel

    from gitops.message import Identity
    from registry.names import VersionRef
    from sluice.cli.progress import ShownProgress
    from sluice.wiring import Wiring

Bucket = Annotated[str | None, typer.Option("--bucket", help="The registry's bucket.", rich_help_panel="Settings")]
Gitops = Annotated[
    str | None,
    typer.Option(
        "--gitops", help="The GitOps repository: a URL or a bare repository's path.", rich_help_panel="Settings"
    ),
]
As = Annotated[
    Role | None,
    typer.Option(
        "--role",
        help="The role to act in, else SLUICE_ROLE. It keeps you from slips; what keeps people from the bucket is IAM."
        r" \[default: releaser]",
        rich_help_panel="Settings",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
VersionArgument = Annotated[
    str,
    typer.Argument(metavar="MODEL@VERSION", help="A version, such as fraud@7, or by alias: fraud@champion, @latest."),
]
Limit = Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many; by default all.")]
SOURCE = "A finished training job, a model package (group/7), s3://bucket/model.tar.gz, or a path such as ./model."
SourceArgument = Annotated[str, typer.Argument(metavar="SOURCE", help=SOURCE)]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="A model's name.")]
EnvironmentOption = Annotated[str, typer.Option("--env", metavar="ENV", help="An environment, such as prod.")]


M = TypeVar("M", bound="BaseModel")


def add(app: typer.Typer, panel: str, command: Callable[..., None], example: str, *, name: str | None = None) -> None:
    """Add a command to the application, in a panel of its help and with an example of its own."""
    app.command(name, rich_help_panel=panel, epilog=f"Example: {example}")(command)


@contextmanager
def wired(
    bucket: str | None = None, gitops: str | None = None, role: Role | None = None, *, needs: Role = Role.VIEWER
) -> Iterator[Wiring]:
    """The parts, as file, environment and these flags say, for as long as the block runs.

    Raises:
        Refused: whoever asks does not act in the role that this needs, or a higher one.
    """
    from sluice.settings import load
    from sluice.wiring import Wiring

    settings = load(bucket=bucket, gitops=gitops, role=role)
    if not settings.role.allows(needs):
        article = "an" if needs.value[0] == "a" else "a"
        raise Refused(
            f"This is for {article} {needs.value}, and you act as {settings.role.value}: where that is you, set"
            f" SLUICE_ROLE={needs.value}."
        )
    parts = Wiring(settings)
    try:
        yield parts
    finally:
        parts.close()


def resolved(parts: Wiring, text: str) -> VersionRef:
    """The version that `fraud@7`, `fraud@champion` or `fraud@latest` means; a number needs no request.

    Raises:
        InvalidInput: another shape.
        NotFound: there is no such alias.
    """
    from registry.names import VersionRef, parse_reference

    ref = parse_reference(text)
    return ref if isinstance(ref, VersionRef) else parts.registry.resolve(ref)


def made(kind: type[M], **fields: object) -> M:
    """A record of what a person gave.

    Raises:
        InvalidInput: something of it does not fit.
    """
    from pydantic import ValidationError

    try:
        return kind(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = " ".join(str(part)[:60] for part in first["loc"] if part != "[key]")
        raise InvalidInput(f"The {where} does not fit ({first['msg'].removeprefix('Value error, ')}).") from error


def said(text: str, option: str, *, needed: bool = False) -> str:
    """What a person says of why they do something.

    Raises:
        InvalidInput: it is too long, not text, or missing where it is needed.
    """
    from pydantic import TypeAdapter, ValidationError

    from registry.limits import Reason

    if needed and not text.strip():
        raise InvalidInput(f"{option} is empty: say in a sentence why.")
    try:
        return TypeAdapter(Reason).validate_python(text)
    except ValidationError as error:
        told = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InvalidInput(f"What {option} says does not fit ({told}).") from error


def pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    """What was given as NAME=VALUE, once or more often.

    Raises:
        InvalidInput: there is no `=`, or a name is given twice.
    """
    found: dict[str, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidInput(f"{text[:80]!r} is no pair: write it as {option} NAME=VALUE.")
        if name in found:
            raise InvalidInput(f"{option} {name[:80]} is given twice: give it once.")
        found[name] = value
    return found


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
