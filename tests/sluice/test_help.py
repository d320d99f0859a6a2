"""Help is quick, whole, and has an example for every command."""

import subprocess
import sys

import pytest

from sluice.cli.app import app

COMMANDS = (
    *("demo", "register", "package", "build", "release", "attest", "sbom", "public-key"),
    *(
        "promote",
        "requests",
        "rollback",
        "abort",
        "hold",
        "unhold",
        "holds",
        "status",
        "wait",
        "history",
        "diff",
        "render",
        "init",
    ),
    *("models", "model", "edit", "delete", "versions", "show", "compare", "lineage"),
    *("alias set", "alias remove", "alias history", "aliases", "approve", "reject", "decisions", "sign-off"),
    *("verify", "gc", "events", "rebuild", "export", "import", "doctor", "serve", "token"),
)
SILENT = {"demo", "serve", "token", "sbom", "public-key"}
"""They print for people alone, or nothing but what a program reads."""
_HEAVY = {"boto3", "botocore", "hera", "sagemaker", "moto", "flask", "git"}


def _imported(code: str) -> set[str]:
    script = f"import sys\ntry:\n {code}\nexcept SystemExit: pass\nsys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stderr.split("\n")[-1].split()}


def _run(*arguments: str) -> str:
    return f"from sluice.cli.app import main; sys.argv = {['sluice', *arguments]!r}; main()"


def test_help_imports_nothing_heavy():
    loaded = _imported(_run("--help"))
    assert "typer" in loaded
    assert not loaded & (_HEAVY | {"pydantic_settings", "yaml"})


def test_status_imports_no_aws(workspace):
    loaded = _imported(_run("status", "--gitops", str(workspace.gitops)))
    assert "git" in loaded
    assert not loaded & (_HEAVY - {"git"})


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example(sluice, command):
    shown = sluice(*command.split(), "--help")
    assert shown.code == 0
    assert f"Example: sluice {command}" in shown.out


def test_help_lists_every_command(sluice):
    shown = sluice("--help").out
    assert [command for command in COMMANDS if f" {command.partition(' ')[0]} " not in shown] == []
    named = {group.name for group in app.registered_groups}
    named |= {command.name or command.callback.__name__.replace("_", "-") for command in app.registered_commands}
    assert named == {command.partition(" ")[0] for command in COMMANDS}


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - SILENT))
def test_every_command_that_shows_something_has_json(sluice, command):
    assert "--json" in sluice(*command.split(), "--help").out


def test_version(sluice):
    assert sluice("--version").out.startswith("sluice 0.")


def test_completion_is_there(sluice):
    assert "complete" in sluice("--show-completion", "bash").out.lower() or "--show-completion" in sluice("--help").out
