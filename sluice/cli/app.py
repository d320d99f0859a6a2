"""`sluice`: the commands put together, and what becomes of an error."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from registry.errors import SluiceError
from sluice.cli import demo_command, gitops_commands, registry_commands, release_commands

EPILOG = "Exit codes: 2 bad input, 3 not found, 4 refused, 5 conflict, 6 unreachable, 1 anything else."

app = typer.Typer(
    name="sluice",
    help="From a SageMaker training job to weighted traffic on EKS and back, with git as the only switch.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"sluice {version('sluicegate')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    del version


demo_command.add_to(app)
release_commands.add_to(app)
gitops_commands.add_to(app)
registry_commands.add_to(app)


def main() -> None:
    """Run the command line; an error of Sluice's is one sentence on standard error, and its exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        app()
    except SluiceError as error:
        sys.stderr.write(f"sluice: {error}\n")
        details = getattr(error, "details", "")
        if details:
            sys.stderr.write(f"\n{details}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # whoever read the output went away; point it elsewhere so that the interpreter's last flush is quiet
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _terminated(number: int, frame: FrameType | None) -> None:
    del frame
    raise SystemExit(128 + number)
