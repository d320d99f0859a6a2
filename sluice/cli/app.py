"""`sluice`: the commands put together, and what becomes of an error."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

from registry.errors import SluiceError
from registry.text import plain
from sluice.cli import (
    alias_commands,
    approval_commands,
    bucket_commands,
    demo_command,
    doctor_command,
    gitops_commands,
    history_commands,
    image_commands,
    model_commands,
    moving_commands,
    promote_commands,
    register_commands,
    release_commands,
    request_commands,
    rollback_commands,
    serve_command,
    status_commands,
    version_commands,
)

EPILOG = (
    "Exit codes: 2 bad input, 3 not found, 4 refused, 5 conflict, 6 unreachable, 124 out of time, 130 interrupted,"
    " 1 anything else."
)

app = typer.Typer(
    name="sluice",
    help="From a SageMaker training job to weighted traffic on EKS and back, with git as the only switch.",
    epilog=EPILOG,
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
image_commands.add_to(app)
promote_commands.add_to(app)
request_commands.add_to(app)
rollback_commands.add_to(app)
status_commands.add_to(app)
history_commands.add_to(app)
gitops_commands.add_to(app)
register_commands.add_to(app)
model_commands.add_to(app)
version_commands.add_to(app)
alias_commands.add_to(app)
approval_commands.add_to(app)
bucket_commands.add_to(app)
moving_commands.add_to(app)
doctor_command.add_to(app)
serve_command.add_to(app)


def main() -> None:
    """Run the command line; an error of Sluice's is one sentence on standard error, and its exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminated)
    if sys.stdout is None:  # closed by whoever started us
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  # for as long as the process lives
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except SluiceError as error:
        _fail(str(error), error.exit_code, getattr(error, "details", ""))
    except (typer.Abort, KeyboardInterrupt):
        _fail("Interrupted, and what was started is ended.", 130)
    except BrokenPipeError:
        # whoever read the output went away; point it elsewhere so that the interpreter's last flush is quiet
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(f"{error.filename or 'The output'} cannot be used: {error.strerror or error}.", 1)
    except typer.TyperException as error:  # a command line that cannot be parsed
        said = error.format_message().strip().rstrip(".").replace("\n", " ")
        context = getattr(error, "ctx", None)
        _fail(f"{said}: see `{context.command_path if context else 'sluice'} --help`.", error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(sentence: str, code: int, details: str = "") -> NoReturn:
    sys.stderr.write(plain(f"sluice: {sentence}\n"))
    if details:
        sys.stderr.write(plain(f"\n{details}\n"))
    sys.exit(code)


def _terminated(number: int, frame: FrameType | None) -> None:
    del frame
    raise SystemExit(128 + number)
