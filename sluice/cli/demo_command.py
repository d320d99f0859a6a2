"""`sluice demo`: the whole story on this machine."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from sluice.cli.common import add, progressing
from sluice.cli.output import line
from sluice.cli.releases import show_releases

if TYPE_CHECKING:
    from sluice.demo.stack import Stack
    from sluice.demo.story import Ending


_PANEL = "Start here"


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    add(app, _PANEL, demo, "sluice demo --keep")


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack up, to try the commands on.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End a stack that --keep left up, and do nothing else.")] = False,
    folder: Annotated[
        Path, typer.Option("--folder", help="Where the demo keeps its files; what an earlier demo left there goes.")
    ] = Path(".sluice/demo"),
) -> None:
    """Run the whole story here, with no account and no cluster: train, register, package, build, canary, roll back."""
    from sluice.demo.stack import stop_detached

    folder = folder.absolute()
    if stop:
        stop_detached(folder)
        line(f"The stack in {folder} is down.")
        return
    with progressing() as progress:
        from sluice.demo.run import run

        stack, ending = run(folder, keep=keep, progress=progress)
    _show(folder, stack, ending, keep)


def _show(folder: Path, stack: Stack, ending: Ending, keep: bool) -> None:
    line("\nWhat runs where, as git has it:")
    show_releases(ending.releases)
    line("The GitOps repository's log, newest first:\n")
    for commit in ending.log:
        line(f"  {commit.id[:12]}  {commit.subject}")
    line("\nWhere to look next:")
    line(f"  git -C {quote(str(folder / 'gitops.git'))} log --stat     every release is a commit")
    line(f"  ls {quote(str(folder / 'images' / 'digits'))}     an OCI image layout, for skopeo and others")
    if keep:
        line(f"\nThe stack is up ({', '.join(f'{name} {pid}' for name, pid in stack.pids.items())}). Talk to it with:")
        line(f"  . {quote(str(folder / 'env.sh'))}")
        line("  sluice status")
        line("  sluice show digits@2")
        line("  sluice diff digits@1 --to prod --weight 10")
        line(f"and end it with:\n  sluice demo --stop --folder {quote(str(folder))}")
    else:
        line("  sluice demo --keep     leaves the stack up, to try the other commands on")
