"""The README that `sluice init` writes into a GitOps repository names commands that there are."""

import re
import shlex

import pytest
import typer

from gitops.scaffold import scaffold
from sluice.cli.app import app

README = scaffold(["prod"], repo_url="https://git.example.com/acme/models.git")["README.md"].decode()
_LINES = re.findall(r"^    (sluice .*?)(?: +#.*)?$", README, re.MULTILINE)
_INLINE = [command for command in re.findall(r"`(sluice [^`]+)`", README) if "…" not in command]


def test_there_are_commands():
    assert {"diff", "promote", "wait", "rollback", "abort", "hold", "holds", "unhold"} == {
        line.split()[1] for line in _LINES
    }
    assert {"sluice render", "sluice render --check", "sluice status"} <= set(_INLINE)


@pytest.mark.parametrize("line", sorted({*_LINES, *_INLINE}))
def test_each_can_be_given_as_it_stands(line):
    _, name, *arguments = shlex.split(line)
    group = typer.main.get_command(app)
    command = group.get_command(typer.Context(group), name)
    assert command is not None
    if line in _LINES or arguments:  # else it is only spoken of
        command.make_context(name, arguments)  # reads the command line as it would to run it


def test_it_is_one_page():
    assert len(README.splitlines()) < 100
    assert max(map(len, README.splitlines())) <= 120
