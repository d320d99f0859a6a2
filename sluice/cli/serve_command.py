"""`sluice serve`, the HTTP API; `sluice token`, what a machine shows it."""

from __future__ import annotations

from typing import Annotated

import typer

from sluice.cli.common import Bucket, add
from sluice.cli.output import line

_PANEL = "Server"


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, _PANEL, serve, "sluice serve --port 0")
    add(app, _PANEL, token, "sluice token ci")


def serve(
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port; 0 picks a free one. [default: 8080]")] = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Processes that answer. [default: 1]")] = None,
    bucket: Bucket = None,
) -> None:
    """Serve the HTTP API. Beyond loopback it needs [serve] in the settings to tell who asks."""
    from sluice.settings import load

    given = {"host": host, "port": port, "workers": workers}
    settings = load(bucket=bucket, serve={name: value for name, value in given.items() if value is not None} or None)
    from sluice.api.parts import Served
    from sluice.api.server import listen, run, url_of

    parts = Served(settings)
    _ = parts.registry, parts.actor  # before a port is opened, so that what is not set is told at once
    parts.close()
    sock = listen(settings)
    line(f"Sluice listens on {url_of(sock)}")
    run(settings, sock)


def token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the machine is called, such as ci.")],
) -> None:
    """Make a token for a machine, shown this once, and the lines of settings that let it in."""
    from pydantic import ValidationError

    from registry.errors import InvalidInput
    from sluice.api.config import StaticToken
    from sluice.api.tokens import hash_of, new_token

    made = new_token()
    try:
        known = StaticToken(name=name, hash=hash_of(made))
    except ValidationError as error:
        raise InvalidInput(
            f"{name[:80]!r} cannot name a token: use lower-case letters, digits, dots, hyphens and underscores."
        ) from error
    line(made)
    line(f"\nGive it to {known.name}; it is not kept. In the server's sluice.toml:\n\n[[serve.tokens]]")
    line(f'name = "{known.name}"\nhash = "{known.hash}"\n\n[[serve.grants]]')
    line(f'who = "token:{known.name}"\nrole = "releaser"\nmodels = "*"')
